"""The posterior against an integral done by brute force, and its freedom from the winner's curse by simulation."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.search.estimate import DRAWS, RATIOS_L, Posterior, chances, posterior

from .worlds import board_of, generator


def reference(gains, x=None):
    """The same model, written with the full covariance of every single run: a and b by generalised least squares.

    With a screening, one observation of the slope (1) and one of the spread (the variance of x) come beforehand.
    """
    v = 0.0 if x is None else float(np.var(x))
    before = np.zeros((1, 1)) if x is None else np.diag([0.0, v])
    runs = sum(map(len, gains)) + (0 if x is None else 2)
    rows = [(i, y) for i, runs in enumerate(gains) for y in runs]
    y = np.array([value for _, value in rows])
    member = np.array([[float(i == j) for j in range(len(gains))] for i, _ in rows])
    design = np.ones((len(rows), 1)) if x is None else np.stack([np.ones(len(rows)), member @ x], axis=1)
    everyone = np.ones((len(gains), 1)) if x is None else np.stack([np.ones(len(gains)), x], axis=1)
    parts = []
    for ratio in RATIOS_L:
        covariance = member @ member.T + ratio * np.eye(len(rows))  # in units of spread²
        inverse = np.linalg.inv(covariance)
        line = np.linalg.solve(design.T @ inverse @ design + before, design.T @ inverse @ y + before.sum(1))
        left = y - design @ line
        spread2 = (left @ inverse @ left + (0 if x is None else v * (line[1] - 1) ** 2 + v)) / runs
        log_likelihood = -0.5 * (np.linalg.slogdet(covariance)[1] + runs * np.log(spread2))
        mean = everyone @ line + member.T @ inverse @ left
        variance = spread2 * (1 - np.einsum("ji,jk,ki->i", member, inverse, member))
        parts.append((log_likelihood - np.log2(ratio) ** 2 / 8, mean, variance, ratio * spread2))
    weights = np.exp(np.array([part[0] for part in parts]) - max(part[0] for part in parts))
    weights /= weights.sum()
    mean = sum(w * part[1] for w, part in zip(weights, parts, strict=True))
    variance = sum(w * (part[2] + (part[1] - mean) ** 2) for w, part in zip(weights, parts, strict=True))
    noise2 = sum(w * part[3] for w, part in zip(weights, parts, strict=True))
    return mean, np.sqrt(variance), np.sqrt(noise2)


@given(
    st.lists(st.integers(0, 4), min_size=3, max_size=9).filter(lambda n: sum(k > 0 for k in n) >= 3), st.integers(0, 99)
)
def test_the_posterior_is_the_integral_done_the_long_way(counts, seed):
    rng = generator(seed)
    gains = [rng.normal(rng.normal(), 1, n).tolist() for n in counts]
    mean, sd, noise = reference(gains)
    found = posterior(board_of(gains))
    assert found.mean[0] == found.sd[0] == 0, "start_from is known"
    assert found.mean[1:] == pytest.approx(mean, abs=1e-6)
    assert found.sd[1:] == pytest.approx(sd, abs=1e-5)
    assert found.noise == pytest.approx(noise, rel=1e-6)


@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=9).filter(lambda n: sum(k > 0 for k in n) >= 4), st.integers(0, 99)
)
def test_a_screened_population_has_its_prior_on_a_line(counts, seed):
    rng = generator(seed)
    theta = rng.normal(0, 1, len(counts))
    gains = [
        {0: [float(rng.normal(t / 2, 0.3))], 1: rng.normal(t, 1, n).tolist()}
        for t, n in zip(theta, counts, strict=True)
    ]
    mean, sd, _ = reference([shown[1] for shown in gains], np.array([shown[0][0] for shown in gains]))
    found = posterior(board_of(gains, costs=(0.25, 1.0)), screen=0)
    assert found.mean[1:] == pytest.approx(mean, abs=1e-6)
    assert found.sd[1:] == pytest.approx(sd, abs=1e-5)


def test_nothing_observed_is_nothing_known():
    found = posterior(board_of([[], []]))
    assert found.mean.tolist() == [0, 0, 0] and found.sd.tolist() == [0, 1, 1]


def test_before_anybody_is_deep_the_screening_is_believed_as_far_as_it_spreads():
    found = posterior(board_of([{0: [0.1]}, {0: [0.3]}], costs=(0.25, 1.0)), screen=0)
    assert found.mean == pytest.approx([0, 0.1, 0.3]) and found.sd == pytest.approx([0, 0.1, 0.1])


def test_one_that_is_deep_leaves_the_others_their_slope_and_their_spread():
    """Who looked better on the screening than the one that is deep still promises more, and is not known exactly."""
    found = posterior(board_of([{0: [0.1], 1: [0.2]}, {0: [0.3]}, {0: [-0.1]}], costs=(0.25, 1.0)), screen=0)
    assert found.mean[2:] == pytest.approx([0.4, 0.0], abs=1e-9)
    assert (found.sd[2:] > 0.05).all() and 0 < found.sd[1] < found.sd[2]


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_the_posterior_takes_most_of_the_winners_curse_away(ratio):
    """60 candidates, the ten that look best looked at twice more: the largest mean is biased, its posterior is not."""
    raw, shrunk = [], []
    for seed in range(300):
        rng = generator(seed)
        theta = rng.normal(0, 1, 60)
        gains = [[float(rng.normal(t, ratio))] for t in theta]
        for i in np.argsort([-shown[0] for shown in gains])[:10]:
            gains[i] += rng.normal(theta[i], ratio, 2).tolist()
        found = posterior(board_of(gains)).mean[1:]
        means = np.array([np.mean(shown) for shown in gains])
        raw.append(means.max() - theta[means.argmax()])
        shrunk.append(found.max() - theta[found.argmax()])
    assert np.mean(raw) > 0.15, "in units of the spread"
    # Ten looked at again say little of how noise and spread compare: about equal is what is taken for granted.
    assert abs(np.mean(shrunk)) < min(0.17, 0.55 * np.mean(raw))


@pytest.mark.parametrize(("gap", "sd"), [(0.0, 1.0), (0.5, 0.5), (2.0, 0.7)])
def test_of_two_the_chance_to_be_the_best_is_the_normal_one(gap, sd):
    """P(a > b) = Phi((a - b) / sqrt(sd_a² + sd_b²)); start_from, who is known, leads nobody that lies above it."""
    known = Posterior(np.array([0.0, 3.0 + gap, 3.0]), np.array([0.0, sd, sd]), 1.0)
    found = chances(known, np.arange(3), generator(7))
    expected = 0.5 * (1 + erf(gap / (2 * sd)))
    assert found.sum() == pytest.approx(1) and found[0] < 0.01
    assert found[1] == pytest.approx(expected, abs=4 * (expected * (1 - expected) / DRAWS) ** 0.5 + 1e-3)

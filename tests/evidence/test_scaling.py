"""Laws along the ladder: by hand, by simulation, and predictions that come before what they foretell."""

import json
import random
import statistics
import subprocess

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.core.pattern import pattern_of
from asiarc.evidence.scaling import MeasuredRung, Prediction, predict, predict_shrinking, score, turns
from tests.rigs import scaling

SMALL = MeasuredRung("100k", 1e5, {"a": [2.0, 2.2], "b": [2.4, 2.6], "c": [3.0, 3.2]})
LARGE = MeasuredRung("300k", 1e6, {"a": [1.9, 2.1], "b": [1.8, 2.0], "c": [2.6, 2.8]})


def test_one_rung_says_that_distances_stay():
    """By hand: pooled variance 0.02 with 3 degrees, t = 3.182; a pair of 4 new seeds: sqrt(2 * 0.02 (1/2 + 1/4))."""
    found = predict([SMALL], 1e6, seeds=4)
    assert found.order == ["a", "b", "c"]
    assert found.mixers["a"].value == pytest.approx(2.1 - (2.1 + 2.5 + 3.1) / 3)
    pair = found.pairs["a", "b"]
    assert pair.value == pytest.approx(-0.4)
    assert pair.high - pair.value == pytest.approx(3.18245 * (2 * 0.02 * 0.75) ** 0.5, rel=1e-4)
    assert not pair.tells and found.pairs["a", "c"].tells


def test_two_rungs_are_a_line_in_the_logarithm():
    """One decade gave b 0.5 on a; another gives it 0.5 again, and the noise of both rungs weighs 2 and -1."""
    found = predict([SMALL, LARGE], 1e7, seeds=2)
    assert found.pairs["a", "b"].value == pytest.approx(2 * 0.1 - -0.4)
    assert found.order[0] == "b"
    radius = found.pairs["a", "b"].high - found.pairs["a", "b"].value
    assert radius == pytest.approx(2.44691 * (2 * 0.02 * (4 / 2 + 1 / 2 + 1 / 2)) ** 0.5, rel=1e-4)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-0.3, 0.3)), min_size=2, max_size=6), st.floats(-5, 5))
def test_a_line_is_foretold_to_the_digit_whatever_level_all_share(laws, level):
    def rung(decade):
        losses = {str(i): [level * decade + a + b * decade + noise for noise in (-1e-3, 1e-3)]
                  for i, (a, b) in enumerate(laws)}  # fmt: skip
        return MeasuredRung(str(decade), 10.0**decade, losses)

    found = predict([rung(5), rung(6)], 1e7, seeds=2)
    for mixer, distance in rung(7).distances().items():
        assert found.mixers[mixer].value == pytest.approx(distance, abs=1e-6)


def test_intervals_cover_what_they_say_where_the_law_holds():
    draw = random.Random(0)
    laws = [(draw.uniform(2, 3), draw.uniform(-0.4, 0)) for _ in range(5)]

    def rung(decade, seeds):
        losses = {str(i): [a + b * decade + draw.gauss(0, 0.03) for _ in range(seeds)] for i, (a, b) in enumerate(laws)}
        return MeasuredRung(str(decade), 10.0**decade, losses)

    shares = [score(predict([rung(5, 5), rung(5.5, 4)], 1e6, seeds=3), rung(6, 3)).coverage for _ in range(200)]
    assert 0.92 <= statistics.fmean(shares) <= 0.98


def shrinking(decade, places, exponent, seeds=2, noise=1e-3, draw=None):
    """A rung on which every mixer is at its place times N^-g, from a level that all share."""
    def off(seed):
        return draw.gauss(0, noise) if draw else noise * (-1) ** seed

    losses = {str(i): [5 - decade + place * 10 ** (-exponent * (decade - 5)) + off(seed) for seed in range(seeds)]
              for i, place in enumerate(places)}  # fmt: skip
    return MeasuredRung(str(decade), 10.0**decade, losses)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=6), st.floats(0.0, 1.5))
def test_distances_that_shrink_alike_are_foretold_to_the_digit(places, exponent):
    found = predict_shrinking([shrinking(decade, places, exponent) for decade in (5, 5.5)], 1e6)
    for mixer, distance in shrinking(6, places, exponent).distances().items():
        assert found.mixers[mixer].value == pytest.approx(distance, abs=1e-4)


def test_what_a_law_leaves_is_in_its_intervals_and_covers_as_it_says():
    draw = random.Random(0)
    places = [draw.uniform(-1, 1) for _ in range(8)]

    def rung(decade):
        return shrinking(decade, places, 0.8, seeds=1, noise=0.02, draw=draw)

    shares = []
    for _ in range(200):
        below = [MeasuredRung(one.name, one.parameters, {m: [v[0], v[0]] for m, v in one.losses.items()})
                 for one in (rung(5), rung(5.5))]  # fmt: skip
        shares.append(score(predict_shrinking(below, 1e6), rung(6)).coverage)
    assert 0.9 <= statistics.fmean(shares) <= 0.99


def test_where_all_come_together_a_line_turns_the_order_over_and_shrinking_keeps_it():
    places = [-0.4, -0.1, 0.1, 0.4]
    below = [shrinking(5, places, 0.8), shrinking(5.5, places, 0.8)]
    assert predict_shrinking(below, 1e7).order == ["0", "1", "2", "3"]
    assert predict(below, 1e7, 3).order == ["3", "2", "1", "0"]
    with pytest.raises(EvidenceError, match="takes two rungs"):
        predict_shrinking(below[:1], 1e7)


def test_from_two_rungs_both_laws_are_foretold_and_scored(tmp_path):
    places = [-0.4, -0.1, 0.1, 0.4]
    below, then = [shrinking(5, places, 0.8), shrinking(5.5, places, 0.8)], shrinking(6.5, places, 0.8)
    record = scaling.foretell("1M", below, "text", then.parameters)
    assert record["law"] == "shrinking" and [*record["beside"]] == ["line"]
    (tmp_path / f"{then.name}.json").write_text(json.dumps(record))
    told = {one.law: one.score.right for one in scaling.judged([then], tmp_path)}
    assert told == {"shrinking": 6, "line": 0}


def test_the_score_counts_pairs_and_what_was_told_apart():
    found = predict([SMALL], 1e6, seeds=2)
    s = score(found, LARGE)
    assert (s.right, s.pairs) == (2, 3)  # b has passed a
    assert s.told == 1 and s.told_right == 1  # a and c alone were told apart
    assert Prediction.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    with pytest.raises(EvidenceError, match="no trial of c"):
        score(found, MeasuredRung("300k", 1e6, {"a": [1.0], "b": [1.0]}))


def test_an_order_turns_where_the_gap_is_nothing():
    assert turns([SMALL, LARGE], "a", "c") == []
    [size] = turns([SMALL, LARGE], "a", "b")
    assert size == pytest.approx(10 ** (5 + 0.4 / 0.5))


@pytest.mark.parametrize(
    ("rungs", "parameters", "why"),
    [
        ([], 1e6, "nothing is trained below"),
        ([SMALL, MeasuredRung("x", 2e5, {"a": [1, 2]})], 1e6, "differ in b, c"),
        ([MeasuredRung("x", 1e5, {"a": [1.0], "b": [2.0]})], 1e6, "no noise can be seen"),
        ([LARGE], 1e6, "not below"),
    ],
)
def test_what_cannot_be_foretold_is_said(rungs, parameters, why):
    with pytest.raises(EvidenceError, match=why):
        predict(rungs, parameters, 3)


# --- the rig ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    return tmp_path, git


def test_a_rung_is_trained_only_after_its_prediction_is_committed(repository):
    folder, git = repository
    scaling.require_foretold("100k", folder)  # nothing is below it
    with pytest.raises(EvidenceError, match="foretold before it is trained"):
        scaling.require_foretold("300k", folder)
    (folder / "300k.json").write_text("{}")
    with pytest.raises(EvidenceError, match="and commit"):
        scaling.require_foretold("300k", folder)
    git("add", "300k.json")
    git("commit", "-qm", "foretold")
    scaling.require_foretold("300k", folder)
    assert len(scaling.committed(folder / "300k.json")) == 40
    (folder / "300k.json").write_text('{"bent": 1}')
    with pytest.raises(EvidenceError, match="and commit"):
        scaling.require_foretold("300k", folder)


def test_the_table_says_what_became_of_a_prediction(repository):
    folder, git = repository
    record = scaling.foretell("300k", [SMALL], "text", 1e6)
    assert record["from"]["100k"]["losses"] == SMALL.losses
    (folder / "300k.json").write_text(json.dumps(record))
    git("add", ".")
    git("commit", "-qm", "foretold")
    rungs = [MeasuredRung("100k", 1e5, {"mamba2": [2.0, 2.2], "gated_delta_net": [2.4, 2.6], "c": [3.0, 3.2]})]
    rungs.append(MeasuredRung("300k", 1e6, {"mamba2": [1.9, 2.1], "gated_delta_net": [1.8, 2.0], "c": [2.6, 2.8]}))
    renamed = {"mamba2": "a", "gated_delta_net": "b", "c": "c"}
    judged = scaling.judged([MeasuredRung("300k", 1e6, {renamed[m]: v for m, v in rungs[1].losses.items()})], folder)
    text = scaling.write(folder, rungs, judged)
    assert f"| 300k | line | {judged[0].commit[:10]} | 2 of 3 | 2 of 2 |" in text
    assert "turns at 630,957 parameters" in text
    assert (folder / "ladder.svg").exists() and json.loads((folder / "table.json").read_text())["scores"]


def test_every_size_trains_the_same_mixers_and_hybrids_with_tuned_rates():
    for size in scaling.SIZES:
        study = scaling.rung_of(size, "text")
        assert len(study.mixers) >= 9 and len(study.learning_rates) == 3 and study.seeds >= 3
        hybrid = study.request("mamba2 3:1", "text", "0", "full")
        assert pattern_of(hybrid.source) == ("mamba2",) * 3 + ("softmax_attention",)
        assert set(hybrid.mixers) == {"mamba2", "softmax_attention"} and hybrid.recipe.num_layers % 4 == 0
        tuning = study.request("mamba2", "text", "tuning/0", "full", rate=1e-3, purpose=" tuning")
        assert tuning.recipe.steps * scaling.Rung.TUNED_ON <= hybrid.recipe.steps and tuning.stage != hybrid.stage
    tokens = [scaling.SIZES[name].recipe.tokens / scaling._parameters(name) for name in ("100k", "1M")]
    assert max(tokens) / min(tokens) < 1.3  # in proportion


def test_recall_is_given_the_same_steps_at_every_size():
    rungs = [scaling.rung_of(size, "mixed:zipf") for size in scaling.SIZES]
    assert len({rung.recipe("mixed:zipf", "full").steps for rung in rungs}) == 1
    for rung in rungs:
        tuning = rung.request("mamba2", "mixed:zipf", "tuning/0", "full", rate=1e-3, purpose=" tuning")
        assert tuning.recipe.steps == rung.recipe("mixed:zipf", "full").steps
    assert scaling.folder_of("mixed:zipf", None) != scaling.folder_of("text", None)


def test_the_best_discoveries_climb_and_nobody_else(tmp_path):
    file = tmp_path / "table.json"
    assert scaling.survivors(file) == {}
    means = {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.05}
    rows = [{"name": name, "mean": mean, "is_discovery": name != "d"} for name, mean in means.items()]
    file.write_text(json.dumps({"finalists": rows, "sources": {name: f"# {name}" for name in means}}))
    assert scaling.survivors(file) == {"a": "# a", "c": "# c"}


def test_without_trials_the_rig_says_what_to_do(tmp_path):
    with Archive(tmp_path):
        pass
    found = CliRunner().invoke(scaling.main, ["table", "--store", str(tmp_path), "--output", str(tmp_path)])
    assert isinstance(found.exception, EvidenceError) and "train --rung 100k" in str(found.exception)

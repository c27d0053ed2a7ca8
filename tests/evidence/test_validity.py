"""A task is valid where the controls are behind, by an interval and by enough; by hand, and by tasks that are not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.errors import EvidenceError
from asiarc.evidence.validity import examined, memory_share

SEEDS = [str(seed) for seed in range(5)]
NOISE = (0.00, 0.01, -0.01, 0.005, -0.005)


def around(mean, turn=0):
    return {seed: mean + NOISE[(place + turn) % 5] for place, seed in enumerate(SEEDS)}


def found(mixers, controls, **given):
    asked = {"uninformed": 4.5, "higher_is_better": False, "share": 0.05} | given
    return examined(
        {name: around(mean) for name, mean in mixers.items()},
        {name: around(mean, 2) for name, mean in controls.items()},
        **asked,
    )


def test_share_by_hand():
    assert memory_share(best=2.0, control=2.5, uninformed=4.5) == pytest.approx(0.2)
    assert memory_share(best=0.9, control=0.3, uninformed=0.1) == pytest.approx(0.75)  # accuracies
    with pytest.raises(EvidenceError, match="nothing was learnt"):
        memory_share(best=4.5, control=4.6, uninformed=4.5)


def test_a_task_that_measures_memory():
    finding = found({"mamba2": 2.0, "delta_net": 2.1}, {"local_filter": 2.5, "bag_of_ngrams": 2.4})
    assert finding.is_valid
    assert (finding.best, finding.ahead, finding.mixers) == ("mamba2", 2, 2)
    assert finding.share == pytest.approx(0.4 / 2.5)
    assert finding.gains["local_filter"].num_comparisons == 4


@pytest.mark.parametrize(
    ("mixers", "controls", "why"),
    [
        ({"mamba2": 2.350, "delta_net": 2.753}, {"local_filter": 2.352}, "an interval that holds zero"),
        ({"mamba2": 2.35}, {"local_filter": 2.41}, "ahead, by too small a share"),
        ({"mamba2": 2.0}, {"local_filter": 2.5, "window": 1.9}, "one control is ahead"),
    ],
)
def test_a_task_that_does_not(mixers, controls, why):
    finding = found(mixers, controls)
    assert not finding.is_valid, why
    assert finding.reason.startswith("not shown to measure memory")


def test_the_text_at_quick_is_told_to_measure_no_memory():
    """The finding that controls are there for: no memory ahead of two mixers with one, level with the third."""
    finding = found({"delta_net": 2.753, "gated_delta_net": 2.448, "mamba2": 2.350}, {"local_filter": 2.396})
    assert not finding.is_valid
    assert finding.ahead == 1


def test_accuracies_turn_the_sign():
    assert found({"a": 0.9}, {"c": 0.3}, uninformed=0.1, higher_is_better=True).is_valid
    assert not found({"a": 0.3}, {"c": 0.9}, uninformed=0.1, higher_is_better=True).is_valid


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 4.0), st.floats(0.0, 2.0))
def test_a_better_control_never_makes_a_task_valid(best, worse):
    here = found({"m": best}, {"c": best + worse}, uninformed=7.0)
    better = found({"m": best}, {"c": best + worse / 2}, uninformed=7.0)
    assert here.is_valid or not better.is_valid


@pytest.mark.parametrize(
    ("mixers", "controls"), [({}, {"c": around(1)}), ({"m": around(1)}, {}), ({"m": {}}, {"c": {}})]
)
def test_a_side_that_is_missing_is_an_error(mixers, controls):
    with pytest.raises(EvidenceError):
        examined(mixers, controls, uninformed=1.0, higher_is_better=False, share=0.1)

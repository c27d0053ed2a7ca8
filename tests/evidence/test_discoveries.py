"""What is called a discovery, from values whose order is known."""

import random

import pytest

from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.models.controls import CONTROL_NAMES
from tests.rigs import discoveries


def values(**levels):
    """Losses by task, mixer and seed: everything at 1.0 but for what is named, with a little noise of its own."""
    draws = random.Random(0)
    names = [*discoveries.alone(), "ahead", "level", "behind_one"]
    some = {name: {str(seed): levels.get(name, 1.0) + draws.gauss(0, 0.02) for seed in range(5)} for name in names}
    return {discoveries.DECIDES: some, discoveries.BESIDE: some}


def judged(found):
    return {one.name: one for one in discoveries.judged(found, ["ahead", "level", "behind_one"])}


def test_one_is_a_discovery_only_where_it_is_ahead_of_every_mixer():
    found = values(ahead=0.5, behind_one=0.7, kda=0.65)
    told = judged(found)
    assert [name for name, one in told.items() if one.is_discovery] == ["ahead"]
    assert told["ahead"].weakest == told["behind_one"].weakest == "kda"
    assert told["ahead"].effect.mean == pytest.approx(0.15, abs=0.03) and told["behind_one"].p_value > 0.5
    assert told["behind_one"].over_start.low > 0, "ahead of the start is not enough"


def test_a_control_that_is_ahead_takes_no_discovery_away():
    """It is no mixer that anybody claims is good; that it is ahead is the task's fault, which its validity tells."""
    assert judged(values(ahead=0.5, **dict.fromkeys(CONTROL_NAMES, 0.1)))["ahead"].is_discovery


def test_noise_alone_is_an_empty_gallery_and_says_so():
    found = values()
    told = discoveries.judged(found, ["ahead", "level"])
    assert not any(one.is_discovery for one in told)
    assert "0 of 2 finalists are ahead" in discoveries.markdown(told, found, ["ahead", "level"])


def test_all_that_entered_pay_for_one_another():
    found = values(ahead=0.93)
    alone = discoveries.judged(found, ["ahead"])[0]
    beside = judged(found)["ahead"]
    assert beside.adjusted > alone.adjusted == pytest.approx(alone.p_value)


@pytest.mark.parametrize("task", [discoveries.DECIDES, discoveries.BESIDE])
def test_one_that_was_not_scored_on_three_seeds_is_not_judged_but_has_entered(task):
    found = values(ahead=0.93)
    found[task] = found[task] | {"level": {"0": 1.0}}
    told = judged(found)
    assert set(told) == {"ahead", "behind_one"}
    assert told["ahead"].adjusted == pytest.approx(3 * told["ahead"].p_value)
    text = discoveries.markdown(list(told.values()), found, ["ahead", "level", "behind_one"])
    assert "of 3 finalists" in text and "compared with nothing: level." in text


def test_a_mixer_of_the_panel_without_scores_is_named_where_every_mixer_is_said():
    found = values(ahead=0.5)
    found[discoveries.DECIDES]["kda"] = {}
    told = discoveries.judged(found, ["ahead"])
    assert "compared with nothing: kda." in discoveries.markdown(told, found, ["ahead"])


def test_an_unfinished_search_has_no_finalists(tmp_path):
    with Archive(tmp_path) as archive, pytest.raises(EvidenceError, match="no finished search"):
        discoveries.leading(archive, "asi_arch", 3)

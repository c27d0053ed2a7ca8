"""What is called a discovery, from values whose order is known."""

import random
from types import SimpleNamespace

import pytest
from scipy.stats import t

from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.models.baselines import PANEL_NAMES
from asiarc.models.controls import CONTROL_NAMES
from tests.rigs import discoveries


def values(**levels):
    """Losses by task, mixer and seed: everything at 1.0 but for what is named, with a little noise of its own."""
    draws = random.Random(0)
    names = [*discoveries.alone(), "ahead", "level", "behind_one"]
    some = {name: {str(seed): levels.get(name, 1.0) + draws.gauss(0, 0.02) for seed in range(5)} for name in names}
    return {discoveries.DECIDES: some, discoveries.BESIDE: some}


def markdown(told, found, finalists):
    parts = {"recurring": 3.0, "new": 5.0}
    reading = discoveries.Read(dict.fromkeys(finalists, 0.97), dict.fromkeys([*finalists, discoveries.START], parts))
    return discoveries.markdown(told, found, finalists, found[discoveries.DECIDES], reading)


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
    assert "0 of 2 finalists are ahead" in markdown(told, found, ["ahead", "level"])


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
    text = markdown(list(told.values()), found, ["ahead", "level", "behind_one"])
    assert "of 3 finalists" in text and "compared with nothing: level." in text


def test_a_mixer_of_the_panel_without_scores_is_named_where_every_mixer_is_said():
    found = values(ahead=0.5)
    found[discoveries.DECIDES]["kda"] = {}
    told = discoveries.judged(found, ["ahead"])
    assert "compared with nothing: kda." in markdown(told, found, ["ahead"])


def test_a_gain_is_welchs():
    """By hand: means 1 and 3, variances 1 and 4 over 3 and 4: 1/3 + 1 of variance, (4/3)^2 / (1/18 + 1/3) degrees."""
    some = {"a": dict(zip("123", (0.0, 1.0, 2.0), strict=True)), "b": dict(zip("1234", (1, 1, 5, 5), strict=True))}
    some["b"] = {seed: 3 + (value - 3) * (3 / 4) ** 0.5 for seed, value in some["b"].items()}
    found = discoveries.gain(some, "a", "b")
    degrees = (4 / 3) ** 2 / (1 / 18 + 1 / 3)
    assert found.mean == pytest.approx(2) and found.n == 3
    assert found.high - 2 == pytest.approx(t.ppf(0.975, degrees) * (4 / 3) ** 0.5)
    assert found.p_value == pytest.approx(2 * t.sf(2 / (4 / 3) ** 0.5, degrees))


def test_the_second_look_is_of_the_best_of_the_first_on_other_seeds_and_the_rates_found_there():
    names = [f"finalist_{number:02}" for number in range(20)]
    study = discoveries.study({name: f'"""{name}"""\n' for name in names})
    rates = {name: 1e-3 * number for number, name in enumerate(study.mixers, 1)}
    scores = {name: {str(seed): 1.0 for seed in range(5)} for name in study.mixers}
    scores |= {name: {str(seed): number / 100 for seed in range(5)} for number, name in enumerate(names)}
    scores["finalist_03"] = {"0": 0.0}  # too few seeds
    first = SimpleNamespace(study=study, rates=rates, values=lambda name, task: scores[name])
    again = discoveries.second(first)
    entered = [name for name in again.mixers if name in names]
    assert entered == [name for name in names if name != "finalist_03"][: discoveries.ENTER]
    assert set(again.mixers) - set(names) == set(PANEL_NAMES)
    requests = again.requests(list(again.mixers), again.rates, "full")
    assert len(requests) == again.trials("full")[0][0]
    asked = [key for key in requests if key[0] == discoveries.START]
    assert len(asked) == discoveries.SEEDS_OF_START > discoveries.SEEDS_AGAIN
    assert {request.recipe.learning_rate for key, request in requests.items() if key[0] == "kda"} == {rates["kda"]}
    seeds = {request.seed for request in requests.values()}
    assert not seeds & {study.request("kda", discoveries.DECIDES, str(seed), "full").seed for seed in range(30)}


def test_what_is_memory_is_told_apart_from_what_is_near():
    """By hand: control 3, nobody informed 4, a finalist at 1: two of three bits are memory."""
    names = ["delta_net", *CONTROL_NAMES, "finalist"]
    levels = dict.fromkeys(names, 3.0) | {"finalist": 1.0}
    novelty = {"delta_net": (6.0, 8.0), "finalist": (4.0, 7.5)}

    def trial(name, task):
        recurring, new = novelty.get(name, (0.0, 0.0))
        within = {"positions": [], "novelty": {"recurring": [2, recurring], "new": [2, new]}, "uninformed": 4.0}
        return SimpleNamespace(address=name, task=task, details={"within": within}, value=levels[name])

    first = SimpleNamespace(
        study=SimpleNamespace(addresses={name: name for name in names}),
        trials=[trial(name, task) for name in names for task in (discoveries.DECIDES, discoveries.BESIDE)],
        values=lambda name, task: {"0": levels[name]},
    )
    found = discoveries.read(first, ["finalist"])
    assert found.shares == {"finalist": pytest.approx(2 / 3)}
    assert found.on_prose("finalist") == "+1.000 / +0.250"


def test_an_unfinished_search_has_no_finalists(tmp_path):
    with Archive(tmp_path) as archive, pytest.raises(EvidenceError, match="no finished search"):
        discoveries.leading(archive, "asi_arch", 3)

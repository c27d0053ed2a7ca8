"""The analyst: it compares like with like, its numbers are plain means, its words follow their signs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of
from asiarc.archive.gains import Gains

tag_sets = st.frozensets(st.sampled_from([f"{name}={value}" for name in "abc" for value in "xy"]))
worth = st.floats(-1, 1)
populations = st.lists(st.tuples(tag_sets, worth), max_size=12)
START = "start"


def gains(scores, task="text"):
    """Gains of losses given as {steps: {mixer: [loss of seed 0, 1, ...]}}; None where a seed is missing."""
    sign = -1 if task == "text" else 1
    found = {
        (task, steps): {
            (mixer, str(seed)): sign * loss for mixer, some in rung.items() for seed, loss in enumerate(some)
            if loss is not None
        }
        for steps, rung in scores.items()
    }  # fmt: skip
    return Gains(found, (task,))


def seen(name, tags="", by_task=None, saturated=()):
    return Observation(name, name, frozenset(tags.split()), by_task or {}, frozenset(saturated))


def insight(scores, child=None, parent=None, siblings=(), effects=None, start=None):
    """What is said of "child" with these losses."""
    found = gains(scores)
    child = child or seen("child", by_task=found.by_task("child", START))
    parent = parent or seen("parent")
    return analyse(child, parent, list(siblings), effects or {}, found, start=start or seen(START))


def observed(population):
    seen_ones = [seen(str(i), " ".join(sorted(tags))) for i, (tags, _) in enumerate(population)]
    return seen_ones, {str(i): one for i, (_, one) in enumerate(population)}


@given(populations, st.integers(1, 4))
def test_an_effect_is_the_mean_with_minus_the_mean_without(population, minimum):
    effects = mechanism_effects(*observed(population), minimum)
    for tag in {tag for tags, _ in population for tag in tags}:
        have = [one for tags, one in population if tag in tags]
        lack = [one for tags, one in population if tag not in tags]
        if min(len(have), len(lack)) < minimum:
            assert tag not in effects
        else:
            assert effects[tag].mean == pytest.approx(sum(have) / len(have) - sum(lack) / len(lack), abs=1e-12)
            assert (effects[tag].have, effects[tag].lack) == (len(have), len(lack)) and effects[tag].radius >= 0


def test_who_stands_on_another_rung_takes_no_part_in_an_effect():
    """A deeper rung brings everybody more; a mechanism that only the promoted have would get the credit."""
    population = [seen(name, tags) for name, tags in (("a", "m=x"), ("b", "m=x"), ("c", ""), ("d", ""), ("e", "m=x"))]
    found = gains({60: dict(a=[3.0], b=[3.0], c=[3.0], d=[3.0]), 500: dict(a=[2.0], b=[2.0], e=[2.0])})
    side_by_side = found.side_by_side("abcde")
    assert side_by_side.keys() == set("abcd")
    assert mechanism_effects(population, side_by_side)["m=x"].mean == pytest.approx(0.0)
    everybody = {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0, "e": 1.0}  # each at its own deepest rung: today's fault
    assert mechanism_effects(population, everybody)["m=x"].mean == 1.0


def test_one_holder_is_no_evidence():
    population = [(frozenset({"m=new"}), 0.9), (frozenset(), 0.0), (frozenset(), 0.1)]
    assert mechanism_effects(*observed(population)) == {}
    effect = mechanism_effects(*observed([*population, (frozenset({"m=new"}), 0.7)]))["m=new"]
    assert effect.mean == pytest.approx(0.75) and str(effect).endswith("(2 have it, 2 lack it)")


def test_a_promoted_child_is_compared_with_its_parent_where_both_stand():
    """Behind its parent by 0.08 on their own deepest rungs, ahead of it on the one that both have."""
    scores = {60: dict(start=[3.0], parent=[2.9], child=[2.8]), 125: dict(start=[2.5], child=[2.48])}
    assert (2.5 - 2.48) - (3.0 - 2.9) < -0.07, "gains of different rungs say behind"
    text = insight(scores, seen("child", "m=new"), seen("parent", "m=old")).text
    assert "It is 0.100 bits a byte ahead of its parent parent at 60 steps, seed 0." in text
    assert "over" not in text and text.startswith("child is 0.020 bits a byte ahead of start at 125 steps, seed 0.")
    assert "It has m=new instead of m=old." in text


def test_where_no_rung_is_shared_nothing_is_said_of_the_difference():
    found = insight({60: dict(start=[3.0], parent=[2.9]), 125: dict(start=[2.5], child=[2.0])})
    assert "It shares no rung with its parent parent." in found.text
    assert found.mechanisms == ()


@pytest.mark.parametrize(("gain", "said"), [(0.3, "0.300 bits a byte ahead of"), (-0.3, "0.300 bits a byte behind"),
                                            (0.019, "cannot be told from"), (0.0, "cannot be told from")])  # fmt: skip
def test_the_words_on_the_parent_follow_the_sign_and_the_noise(gain, said):
    text = insight({60: dict(start=[3.0], parent=[3.0], child=[3.0 - gain])}).text
    assert said + " its parent parent" in text and "at 60 steps, seed 0" in text


def test_what_seeds_cannot_tell_apart_is_called_so_with_its_interval():
    noisy = dict(start=[3.0, 3.2], parent=[2.9, 2.7], child=[2.8, 2.78])
    text = insight({60: noisy}).text
    assert "It cannot be told from its parent parent (+0.010 [-" in text and "at 60 steps, seeds 0 and 1)" in text


def test_nothing_is_said_of_choices_where_the_grammar_did_not_write_it():
    scores = {60: dict(start=[3.0], parent=[2.9], child=[2.8])}
    assert "instead of" not in insight(scores, seen("child"), seen("parent", "m=old convolution=4")).text


def test_the_weakest_task_is_the_one_with_the_least_gain_of_those_with_any_left():
    scores = {("text", 60): {("child", "0"): -2.9, (START, "0"): -3.0},
              ("overwrite", 45): {("child", "0"): 0.6, (START, "0"): 1.0},
              ("reset", 45): {("child", "0"): 1.0, (START, "0"): 1.0}}  # fmt: skip
    found = Gains(scores, ("text",))
    child = seen("child", by_task=found.by_task("child", START))
    told = analyse(child, seen("parent"), [], {}, found, start=seen(START))
    assert told.weakness == "overwrite"
    assert "Weakest on overwrite (-0.400 accuracy against start at 45 steps, seed 0)." in told.text
    full = seen("child", by_task={"reset": child.gains["reset"]}, saturated={"reset"})
    told = analyse(full, seen("parent"), [], {}, found, start=seen(START))
    assert told.weakness == "" and "Weakest" not in told.text


def test_the_best_sibling_is_named_only_where_it_is_ahead_by_more_than_noise():
    scores = {60: dict(start=[3.0], parent=[3.0], child=[2.9], near=[2.885], far=[2.8], farthest=[2.7])}
    near, far, farthest = seen("near", "m=b"), seen("far", "m=b"), seen("farthest", "m=c n=d")
    child = seen("child", "m=a")
    assert "sibling" not in insight(scores, child, siblings=[near]).text
    text = insight(scores, child, siblings=[near, far, farthest]).text
    assert "Its sibling farthest is 0.200 bits a byte ahead of it at 60 steps, seed 0, with m=c, n=d." in text
    deeper = {60: dict(start=[3.0], child=[2.9]), 500: dict(start=[2.5], far=[1.0])}
    assert "sibling" not in insight(deeper, child, siblings=[far]).text


def effect(mean):
    """The effect of m=new with so large a mean."""
    population = [(frozenset({"m=new"}), mean)] * 2 + [(frozenset(), 0.0)] * 2
    return mechanism_effects(*observed(population))


def test_what_helped_is_favoured_and_what_hurt_is_avoided():
    parent, child = seen("parent", "m=old"), seen("child", "m=new")

    def mechanisms(gain, effects=None):
        scores = {60: dict(start=[3.0], parent=[3.0], child=[3.0 - gain])}
        return insight(scores, child, parent, effects=effects).mechanisms

    assert mechanisms(0.3) == ("m=new",)
    assert mechanisms(-0.3, effect(-0.1)) == ("-m=new",)
    assert mechanisms(-0.3) == (), "one loss alone condemns nothing"
    assert mechanisms(-0.3, effect(0.1)) == ("m=new",)
    assert mechanisms(0.01, effect(0.01)) == ()


def test_the_populations_leading_mechanism_is_passed_on_unless_the_child_has_it():
    scores = {60: dict(start=[3.0], parent=[3.0], child=[3.0])}
    found = insight(scores, seen("child", "d=1"), effects=effect(0.5))
    assert found.mechanisms == ("m=new",) and "m=new goes with +0.500 ± 0.000 (2 have it, 2 lack it)" in found.text
    assert "population" not in insight(scores, seen("child", "m=new"), effects=effect(0.5)).text


@settings(max_examples=30)
@given(worth, worth, tag_sets, tag_sets, populations)
def test_no_mechanism_is_favoured_and_avoided_at_once_and_all_is_backed(mine, theirs, tags, its, population):
    effects = mechanism_effects(*observed(population))
    child, parent = seen("child", " ".join(sorted(tags))), seen("parent", " ".join(sorted(its)))
    scores = {60: dict(start=[0.0], parent=[theirs], child=[mine])}
    found = insight(scores, child, parent, effects=effects)
    assert found == insight(scores, child, parent, effects=effects)
    favoured = {tag for tag in found.mechanisms if not tag.startswith("-")}
    avoided = {tag[1:] for tag in found.mechanisms if tag.startswith("-")}
    assert not favoured & avoided and len(found.mechanisms) == len(favoured) + len(avoided)
    step = theirs - mine
    for tag in favoured:
        assert (tag in effects and effects[tag].mean > 0.02) or (step >= 0.02 and tag in child.tags - parent.tags)
    for tag in avoided:
        assert effects[tag].mean < 0 and step <= -0.02 and tag in child.tags - parent.tags


def test_tags_are_the_choices_of_a_genome():
    assert tags_of({"memory": "delta", "steps": 2, "lean": True}) == {"memory=delta", "steps=2", "lean=True"}
    assert tags_of(None) == tags_of({}) == frozenset()

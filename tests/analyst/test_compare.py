"""The analyst: its numbers are plain means, its words follow their signs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.analyst.compare import Observation, analyse, mechanism_effects, tags_of

NOISE = 0.02
tag_sets = st.frozensets(st.sampled_from([f"{name}={value}" for name in "abc" for value in "xy"]))
gains = st.floats(-1, 1)
observations = st.builds(
    Observation,
    address=st.text("0123456789abcdef", min_size=4, max_size=4),
    name=st.text("klmnop", min_size=1, max_size=4),
    tags=tag_sets,
    gain=gains,
    gains=st.dictionaries(st.sampled_from(["text", "overwrite", "reset"]), gains),
)
populations = st.lists(observations, max_size=12)


def seen(name="child", gain=0.0, tags="", gains=None):
    return Observation(name, name, frozenset(tags.split()), gain, gains or {})


def insight(child, parent=None, siblings=(), effects=None):
    parent = parent or seen("parent")
    return analyse(child, parent, list(siblings), effects or {}, start_name="delta_net", noise=NOISE)


@given(populations, st.integers(1, 4))
def test_an_effect_is_the_mean_with_minus_the_mean_without(population, minimum):
    effects = mechanism_effects(population, minimum)
    for tag in {tag for one in population for tag in one.tags}:
        have = [one.gain for one in population if tag in one.tags]
        lack = [one.gain for one in population if tag not in one.tags]
        if min(len(have), len(lack)) < minimum:
            assert tag not in effects
        else:
            assert effects[tag] == pytest.approx(sum(have) / len(have) - sum(lack) / len(lack), abs=1e-12)


@given(populations)
def test_effects_follow_from_the_population_as_a_whole(population):
    """Neither the order nor a common shift of all gains matters."""
    shifted = [Observation(o.address, o.name, o.tags, o.gain + 1, o.gains) for o in reversed(population)]
    effects = mechanism_effects(population)
    assert mechanism_effects(shifted) == pytest.approx(effects, abs=1e-9)
    assert list(effects) == sorted(effects)


def test_one_holder_is_no_evidence():
    population = [seen("a", 0.9, "m=new"), seen("b", 0.0), seen("c", 0.1)]
    assert mechanism_effects(population) == {}
    assert mechanism_effects([*population, seen("d", 0.7, "m=new")]) == {"m=new": pytest.approx(0.75)}


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (0.3, "is ahead of"),
        (-0.3, "is behind"),
        (0.019, "cannot be told from"),
        (-0.019, "cannot be told from"),
        (0.0, "cannot be told from"),
    ],
)
def test_the_verdict_on_the_parent_follows_the_sign_and_the_noise(gain, verdict):
    text = insight(seen(gain=0.5 + gain, tags="m=new"), seen("parent", 0.5, "m=old")).text
    assert f"it {verdict} its parent parent ({gain:+.3f})" in text
    assert "With m=new instead of m=old" in text
    assert f"child gains {0.5 + gain:+.3f} over delta_net." in text


def test_without_a_named_change_it_says_so():
    assert "With nothing that the grammar names it cannot be told" in insight(seen(), seen("parent")).text


def test_the_weakest_task_is_the_one_with_the_least_gain():
    found = insight(seen(gains={"text": 0.1, "overwrite": -0.4, "reset": 0.0}))
    assert found.weakness == "overwrite"
    assert "Weakest on overwrite (-0.400 against delta_net)." in found.text
    assert insight(seen(gains={"b": 0.1, "a": 0.1})).weakness == "a"
    nothing = insight(seen())
    assert nothing.weakness == "" and "Weakest" not in nothing.text


def test_the_best_sibling_is_named_only_where_it_is_ahead_by_more_than_noise():
    child = seen(gain=0.1, tags="m=a")
    near, far, farthest = (seen("near", 0.115, "m=b"), seen("far", 0.2, "m=b"), seen("farthest", 0.3, "m=c n=d"))
    assert "sibling" not in insight(child, siblings=[near]).text
    text = insight(child, siblings=[near, far, farthest]).text
    assert "Its sibling farthest is 0.200 ahead with m=c, n=d." in text and "sibling far " not in text
    assert "ahead with the same choices." in insight(child, siblings=[seen("twin", 0.3, "m=a")]).text


def test_what_helped_is_favoured_and_what_hurt_is_avoided():
    parent = seen("parent", 0.0, "m=old")
    assert insight(seen(gain=0.3, tags="m=new"), parent).mechanisms == ("m=new",)
    assert insight(seen(gain=-0.3, tags="m=new"), parent, effects={"m=new": -0.1}).mechanisms == ("-m=new",)
    assert insight(seen(gain=-0.3, tags="m=new"), parent).mechanisms == (), "one loss alone condemns nothing"
    assert insight(seen(gain=-0.3, tags="m=new"), parent, effects={"m=new": 0.1}).mechanisms == ("m=new",)
    assert insight(seen(gain=0.01, tags="m=new"), parent, effects={"m=new": 0.01}).mechanisms == ()


def test_the_populations_two_leading_mechanisms_are_passed_on_unless_the_child_has_them():
    effects = {"a=1": 0.5, "b=1": 0.4, "c=1": 0.3, "d=1": 0.6, "e=1": 0.019, "f=1": -0.9}
    found = insight(seen(tags="d=1"), seen("parent", tags="d=1"), effects=effects)
    assert found.mechanisms == ("a=1", "b=1")
    assert "In the population so far a=1 goes with +0.500, b=1 goes with +0.400." in found.text
    assert "population" not in insight(seen(), effects={"e=1": 0.019, "f=1": -0.9}).text


@given(observations, observations, populations, populations)
def test_no_mechanism_is_favoured_and_avoided_at_once_and_all_is_backed(child, parent, siblings, population):
    effects = mechanism_effects(population)
    found = insight(child, parent, siblings, effects)
    assert found == insight(child, parent, siblings, effects)
    favoured = {tag for tag in found.mechanisms if not tag.startswith("-")}
    avoided = {tag[1:] for tag in found.mechanisms if tag.startswith("-")}
    assert not favoured & avoided and len(found.mechanisms) == len(favoured) + len(avoided)
    step = child.gain - parent.gain
    for tag in favoured:
        assert effects.get(tag, 0) > NOISE or (step > NOISE and tag in child.tags - parent.tags)
    for tag in avoided:
        assert effects[tag] < 0 and step < -NOISE and tag in child.tags - parent.tags
    assert ("is ahead of its parent" in found.text) == (step >= NOISE)
    assert ("is behind its parent" in found.text) == (step <= -NOISE)


def test_tags_are_the_choices_of_a_genome():
    assert tags_of({"memory": "delta", "steps": 2, "lean": True}) == {"memory=delta", "steps=2", "lean=True"}
    assert tags_of(None) == tags_of({}) == frozenset()

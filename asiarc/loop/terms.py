"""What a proposal is told of its campaign: what is measured and allowed, what is at stake, what is believed.

Everything is read off the campaign's own plan, its bench and its search; what the grammar reads none of is made for
other researchers only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asiarc.analyst.calibration import scored_predictions
from asiarc.analyst.compare import Observation, mechanism_effects
from asiarc.analyst.sources import is_local
from asiarc.archive.gains import Gains
from asiarc.campaign.recipe import hidden_for, total
from asiarc.core.proposal import Belief, Foretold, MechanismEffect, Rival, TaskTerms, Terms, Worth
from asiarc.core.recipe import StageName, StagePlan
from asiarc.loop.trials import Bench
from asiarc.search.campaign import Believed
from asiarc.tasks import get_task

EFFECTS = 8  # mechanisms, those with the largest effects
FORETOLD = 20  # predictions, the latest
SIZES = (1.0, 1.5, 2.0)  # of start_from's mixer, whose MLPs are told


def terms_of(bench: Bench, gains: Gains) -> Terms:
    """The terms of a campaign, with the baselines as they stand in explore."""
    campaign, plan = bench.campaign, bench.plan("explore")
    return Terms(
        start_from=campaign.start_from,
        recipe=plan.text,
        rungs=plan.rungs,
        stakes=tuple(_stakes(bench, plan)),
        tasks=tuple(map(_task, campaign.explore.tasks)),
        caps=bench.caps(),
        hidden=_hidden(bench, plan),
        baselines=tuple(_rival(bench, gains, name, address) for name, address in bench.baselines.items()),
    )


def _task(name: str) -> TaskTerms:
    task = get_task(name)
    unit = "accuracy, more is better" if task.higher_is_better else "bits a byte, less is better"
    return TaskTerms(name=name, summary=task.summary, unit=unit, role=task.role, chance=task.chance)


def _rival(bench: Bench, gains: Gains, name: str, address: str) -> Rival:
    by_task = gains.by_task(address, bench.start) if address != bench.start else {}
    standing = "; ".join(f"{task}: {gain.than(bench.campaign.start_from)}" for task, gain in sorted(by_task.items()))
    source = bench.source(address)
    return Rival(name=name, address=address, source=source, standing=standing, is_local=is_local(source))


def _stakes(bench: Bench, plan: StagePlan) -> Iterator[str]:
    """What each rung and stage decides, in steps and tokens."""
    campaign, window = bench.campaign, plan.text.batch_size * plan.text.seq_len
    candidates = campaign.budget.at(bench.tier).candidates
    yield (
        f"explore: {candidates} candidates. Each is trained for {plan.rungs[0]} steps ({plan.rungs[0] * window:,} "
        "tokens) with one seed: that decides whether it is looked at again."
    )
    for rung, steps in enumerate(plan.rungs[1:], start=1):
        share = plan.keep**rung
        yield f"The budget brings about {100 * share:.0f} % to {steps} steps ({steps * window:,} tokens)."
    if campaign.verify is None:
        return
    entrants: dict[StageName, str] = {"verify": f"the {campaign.finalists} that lead", "confirm": "the winner of these"}
    for stage, who in entrants.items():
        later = bench.plan(stage)
        yield (
            f"{stage}: {who}, {later.rungs[-1]} steps at d_model {later.text.d_model} and {later.text.num_layers} "
            f"layers on {bench.seeds(stage)} fresh seeds, against every baseline."
        )


def _hidden(bench: Bench, plan: StagePlan) -> dict[int, int]:
    """The width of the MLP by the parameters of the mixer, start_from's first; empty where sizes are not matched."""
    recipe, size = plan.text, bench.sizes[0]
    is_measured = (size.d_model, size.num_heads) == (recipe.d_model, recipe.num_heads)
    if "parameters" not in bench.campaign.match or not recipe.mlp_ratio or not is_measured:
        return {}
    own = int(bench.measures(bench.start)["parameters"])
    target = total(recipe, own, round(recipe.mlp_ratio * recipe.d_model))
    mixers = [round(own * share) for share in SIZES]
    return {mixer: hidden_for(recipe, target, mixer) for mixer in mixers}


def belief_of(
    believed: Sequence[Believed], names: Mapping[int, tuple[str, str]], effects: Sequence[MechanismEffect]
) -> Belief:
    """What the search believes of those whose (name, address) are given by number, and of each mechanism."""
    worths = [
        Worth(name=names[one.number][0], address=names[one.number][1], mean=one.mean, sd=one.sd, chance=one.chance)
        for one in believed
        if one.number in names
    ]
    return Belief(worths=tuple(worths), effects=tuple(effects))


def effects_of(population: Sequence[Observation], gains: Gains) -> list[MechanismEffect]:
    """The mechanisms that go with most, for better or worse, on the rung that most of the population stand on."""
    found = mechanism_effects(population, gains.side_by_side(seen.address for seen in population))
    largest = sorted(found, key=lambda tag: (-abs(found[tag].mean), tag))[:EFFECTS]
    return [
        MechanismEffect(mechanism=tag, mean=e.mean, radius=e.radius, have=e.have, lack=e.lack)
        for tag in largest
        for e in (found[tag],)
    ]


def foretold_of(
    proposals: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], gains: Gains, start: str
) -> tuple[Foretold, ...]:
    """The latest predictions of a run that could be scored, in order."""
    found: list[Foretold] = []
    for row in reversed(proposals):
        if len(found) >= FORETOLD:
            break
        found += [
            Foretold(name=row["name"], task=s.task, predicted=s.predicted, size=s.size, happened=s.happened,
                     change=s.change)
            for _, s in reversed(scored_predictions([row], results, gains, start))
        ]  # fmt: skip
    return tuple(found[::-1][-FORETOLD:])

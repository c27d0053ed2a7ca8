"""What a proposal's prompt holds, section by section: what is asked and allowed, what is known, and how surely.

A section comes with a priority: where the budget ends, what matters least for a sound proposal goes first. Which
relative and which baseline is shown in full is drawn by the seed: context varies on purpose, as in the paper
(section 3.2). Gains that cannot be told apart are said to be that, not told as two numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import hypot

from asiarc.cognition.base import entry_of
from asiarc.core.proposal import (
    Belief,
    CognitionHit,
    Context,
    Failure,
    Foretold,
    MechanismEffect,
    Relative,
    Rival,
    Terms,
    Worth,
)
from asiarc.core.recipe import TrialRecipe
from asiarc.core.seeds import rng_of
from asiarc.evidence.shares import Z, wilson
from asiarc.researcher.section import Section, brief, coarse
from asiarc.researcher.signatures import operators

BELIEF = "what the search believes, and how surely"
LEADING = 8  # candidates that the belief names
SHOWN = 6  # predictions, of those that are counted
UNITS = {"state_bytes": "bytes of state a sequence", "flops": "FLOP a token", "parameters": "parameters"}


def sections_of(context: Context) -> list[Section]:
    """The sections of a prompt in reading order. What an edit needs and what decides is kept longest, then what was
    learned here, then what others wrote."""
    rng = rng_of(context.seed, "contents")
    relatives = [*context.references, *context.siblings]
    rng.shuffle(relatives)
    in_full = rng.choice(relatives) if relatives else None
    terms = [_terms(context.terms), *_baselines(context.terms)] if context.terms else []
    rivals = [rival for rival in context.terms.baselines if rival.source] if context.terms else []
    rng.shuffle(rivals)
    return [
        *terms,
        *_parent(context.parent),
        *_belief(context.belief, context.parent.address),
        *_foretold(context.foretold),
        *_failed(context.failed),
        Section("operators of asiarc.kernels", operators(), 4),
        *_cognition(context.cognition),
        *(_summary(relative, in_full=relative is in_full) for relative in relatives),
        *(_source(rival, 7 + number) for number, rival in enumerate(rivals) if rival.address != context.parent.address),
    ]


# --- what is asked and allowed ----------------------------------------------------------------------------------------


def _terms(terms: Terms) -> Section:
    lines = [*_measured(terms), *terms.stakes, *_allowed(terms)]
    return Section("what is measured, what decides and what is allowed", "\n".join(lines), 0)


def _measured(terms: Terms) -> Iterator[str]:
    for task in terms.tasks:
        chance = "" if task.chance is None else f", chance {task.chance:.2f}"
        role = {"decides": "decides", "capability": "must not be lost", "reported": "is reported"}[task.role]
        yield f"{task.name} ({task.unit}{chance}) {role}: {task.summary}"
    yield _recipe(terms.recipe)


def _recipe(recipe: TrialRecipe) -> str:
    return (
        f"Text: d_model {recipe.d_model}, num_heads {recipe.num_heads}, {recipe.num_layers} layers of mixer and MLP, "
        f"windows of {recipe.seq_len} tokens ({recipe.tokenizer}), {recipe.batch_size} a step, AdamW with a peak rate "
        f"of {recipe.learning_rate:g} for all."
    )


def _allowed(terms: Terms) -> Iterator[str]:
    for resource, most in terms.caps.items():
        if resource in UNITS:
            yield f"A mixer has at most {most:,.0f} {UNITS[resource]}."
        else:
            yield f"It takes at most {most:g} times the {resource} of {terms.start_from}."
    if terms.hidden:
        (own, width), *others = terms.hidden.items()
        told = ", ".join(f"one of {mixer:,} leaves {hidden}" for mixer, hidden in others)
        yield (
            f"Models are brought to one size by the width of their MLPs: the mixer of {terms.start_from} has {own:,} "
            f"parameters and leaves {width} hidden units, {told}."
        )


def _baselines(terms: Terms) -> list[Section]:
    """How the baselines stand; what a mixer without memory gains is the share of a gain that is local."""
    others = [rival for rival in terms.baselines if rival.name != terms.start_from]
    lines = [f"{terms.start_from}: every gain is over it"]
    lines += [f"{rival.name}: {coarse(rival.standing) or 'not trained yet'}{_local(rival)}" for rival in others]
    return [Section("how the baselines stand", "\n".join(lines), 1)]


def _local(rival: Rival) -> str:
    return "; it has filters and no memory: as much of a gain is local" if rival.is_local else ""


def _source(rival: Rival, priority: int) -> Section:
    return Section(f"baseline {rival.name} ({rival.address}): source", rival.source, priority)


# --- what is known ----------------------------------------------------------------------------------------------------


def _parent(parent: Relative) -> list[Section]:
    results = [f"results: {_scores(parent)}"]
    if parent.motivation:
        results.append(f"idea: {brief(parent.motivation)}")
    if parent.insight:
        results.append(f"analysis: {brief(coarse(parent.insight), 900)}")
    head = f"{parent.name} ({parent.address})"
    return [Section(f"parent {head}: source", parent.source, 0), Section(f"parent {head}", "\n".join(results), 1)]


def _belief(belief: Belief | None, parent: str) -> list[Section]:
    """Who leads and how surely, where a look is worth most, and what goes with each mechanism."""
    if belief is None or not belief.worths:
        return []
    shown = belief.worths[:LEADING]
    shown += tuple(one for one in belief.worths[LEADING:] if one.address == parent)
    lines = [f"gains on the last rung, believed from {len(belief.worths) - 1} candidates and the start:"]
    lines += [_worth(one, belief.worths[0]) for one in shown]
    lines += map(_effect, belief.effects)
    return [Section(BELIEF, "\n".join(lines), 2)]


def _worth(one: Worth, first: Worth) -> str:
    """One candidate's worth; its chance in steps of 5 %, which no rounding of another machine moves far."""
    apart = abs(one.mean - first.mean) > Z * hypot(one.sd, first.sd)
    ties = "" if one is first or apart else ", cannot be told from the first"
    chance = f"{5 * round(20 * one.chance)} % to be the best" if one.chance >= 0.025 else "hardly the best"
    return f"{one.name} ({one.address}): {round(one.mean, 2) + 0.0:+.2f} {_within(Z * one.sd)}, {chance}{ties}"


def _within(radius: float) -> str:
    return f"± {radius:.2f}" if radius >= 0.005 else "± less than 0.01"


def _effect(effect: MechanismEffect) -> str:
    unclear = "" if abs(effect.mean) > effect.radius else ", cannot be told from none"
    size = f"{round(effect.mean, 2) + 0.0:+.2f} {_within(effect.radius)}"
    return f"{effect.mechanism} goes with {size} ({effect.have} have it, {effect.lack} lack it){unclear}"


def _foretold(foretold: Sequence[Foretold]) -> list[Section]:
    """What was predicted before training and what came, the latest last, and how often the direction was right."""
    if not foretold:
        return []
    right = sum(one.predicted == one.happened for one in foretold)
    low, high = wilson(right, len(foretold))
    lines = [f"directions right: {right} of {len(foretold)} ({right / len(foretold):.2f} [{low:.2f}, {high:.2f}])"]
    lines += [
        f"- {one.name}: {one.task} {one.predicted}{f' by {one.size:g}' if one.size else ''} predicted, "
        f"{one.happened} happened ({round(one.change, 2) + 0.0:+.2f})"
        for one in foretold[-SHOWN:]
    ]
    return [Section("the latest predictions against what was measured", "\n".join(lines), 3)]


def _failed(failed: Sequence[Failure]) -> list[Section]:
    lines = [f"- {f.name or f.address}: {f.gate}: {brief(f.reason, 300)}" for f in failed]
    return [Section("what was turned away lately, and why", "\n".join(lines), 2)] if lines else []


def _cognition(hits: Sequence[CognitionHit]) -> list[Section]:
    """Entries of the base, as they stand in it."""
    sections = []
    for hit in hits:
        entry = entry_of(hit)
        words = (entry.problem, entry.mechanism, entry.equation, f"Limits: {entry.limits}")
        sections.append(Section(f"paper {hit.entry}: {hit.title}", "\n".join(words), 5))
    return sections


def _summary(relative: Relative, *, in_full: bool) -> Section:
    lines = [f"results: {_scores(relative)}"]
    lines += [f"idea: {brief(relative.motivation)}"] * bool(relative.motivation)
    lines += [f"analysis: {brief(coarse(relative.insight or ''))}"] * bool(relative.insight)
    lines += [relative.source] * in_full
    return Section(f"relative {relative.name} ({relative.address})", "\n".join(lines), 6)


def _scores(relative: Relative) -> str:
    """Gains over the starting baseline, to the second digit: the next is noise, and moves with the machine."""
    if relative.standing:
        return coarse(relative.standing)
    rounded = {task: round(value, 2) + 0.0 for task, value in sorted(relative.scores.items())}
    words = [f"{task} {value:+.2f}" for task, value in rounded.items() if task != "gain"]
    return ", ".join(words or [f"gain {rounded.get('gain', 0.0):+.2f}"]) + " against the starting baseline"

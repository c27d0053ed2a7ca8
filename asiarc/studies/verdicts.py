"""From effects to a verdict: one rule for every claim of the form "this is better than that".

Positive effects speak for the claim. An interval above zero is for it; one that ends below `useful` (and does not lie
above zero) is against it: whatever difference there may be is too small to matter, or on the wrong side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from asiarc.evidence.claims import Verdict, VerdictName

if TYPE_CHECKING:
    from asiarc.evidence.effects import Effect

USEFUL = 0.02
"""Bits a byte (or accuracy) that are worth having: the seed noise of a short trial."""


def stance(
    effects: Mapping[str, Effect], *, useful: float = 0.0, against: Literal["any", "all"] = "any"
) -> VerdictName:
    """The verdict on a claim that every one of the effects is positive.

    All for: reproduced. Any (or all, as `against` says) against: contradicted. Some for, some against otherwise:
    partly.
    """
    speaks_for = [effect.low > 0 for effect in effects.values()]
    speaks_against = [effect.high < useful and not effect.low > 0 for effect in effects.values()]
    if all(speaks_for):
        return "reproduced"
    if (any if against == "any" else all)(speaks_against):
        return "contradicted"
    return "partly" if any(speaks_for) and any(speaks_against) else "inconclusive"


def told(effects: Mapping[str, Effect]) -> str:
    """Every effect with its interval, in three digits; in four where three would all be zero."""
    return ", ".join(f"{what} {_digits(e)}" for what, e in effects.items())


def _digits(effect: Effect) -> str:
    near = 3 if max(map(abs, (effect.mean, effect.low, effect.high))) >= 0.0005 else 4
    return f"{effect.mean:+.{near}f} [{effect.low:+.{near}f}, {effect.high:+.{near}f}]"


def verdict(
    claim: str,
    name: VerdictName,
    effects: Mapping[str, Effect],
    *,
    run: str,
    subject: str = "gain in bits a byte",
    note: str = "",
) -> Verdict:
    """The verdict with its weakest effect as headline and all of them told."""
    weakest = min(effects.values(), key=lambda effect: effect.low)
    which = f", the weakest of {len(effects)}" if len(effects) > 1 else ""
    return Verdict(
        claim,
        name,
        f"{subject}: {told(effects)}",
        effect=weakest.mean,
        low=weakest.low,
        high=weakest.high,
        n=weakest.n,
        test=f"{weakest.test}, widened for {weakest.num_comparisons}{which}",
        evidence_path=f"run {run}",
        our_value=f"{weakest.mean:+.3f}" + (" at least" if len(effects) > 1 else ""),
        note=note,
    )

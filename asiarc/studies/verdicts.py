"""From effects to a verdict: one rule for every claim of the form "this is better than that", and one for progress.

Positive effects speak for the claim. An interval above zero is for it; one that ends below `useful` (and does not lie
above zero) is against it: whatever difference there may be is too small to matter, or on the wrong side.

One effect has one interval: its own, at 95 %, in whichever claim it stands. A claim that says "all" is an
intersection-union test and needs no wider ones: it errs only where every part does (Berger 1982). That one of several
is against it needs them, and is asked of intervals widened for their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from asiarc.evidence.claims import Verdict, VerdictName
from asiarc.evidence.effects import widened
from asiarc.evidence.power import pairs_needed

if TYPE_CHECKING:
    from asiarc.evidence.effects import Effect
    from asiarc.evidence.transfer import Correlation

USEFUL = 0.02
"""Bits a byte (or accuracy) that are worth having: the seed noise of a short trial."""
CLEAR_TREND, CLEAR_EDGE = 0.3, 0.1
"""What progress has to be to be called clear: a rank correlation, and a difference of shares."""


def stance(
    effects: Mapping[str, Effect], *, useful: float = 0.0, against: Literal["any", "all"] = "any"
) -> VerdictName:
    """The verdict on a claim that every one of the effects is positive.

    All for: reproduced. Any (or all, as `against` says) against: contradicted. Some for, some against otherwise:
    partly.
    """
    any_against = [_is_against(widened(effect, len(effects)), useful) for effect in effects.values()]
    speaks_for = [effect.low > 0 for effect in effects.values()]
    if all(speaks_for):
        return "reproduced"
    if any(any_against) if against == "any" else all(_is_against(effect, useful) for effect in effects.values()):
        return "contradicted"
    return "partly" if any(speaks_for) and any(any_against) else "inconclusive"


def _is_against(effect: Effect, useful: float) -> bool:
    return effect.high < useful and not effect.low > 0


def both(*halves: VerdictName) -> VerdictName:
    """The verdict on a claim that says several things at once, each of which has one.

    It is what they agree on; where only some hold, partly; where none holds and one is refuted, contradicted.
    """
    if len(set(halves)) == 1:
        return halves[0]
    if "reproduced" in halves:
        return "partly"
    return "contradicted" if "contradicted" in halves else "inconclusive"


def progress(trend: Correlation, edge: Effect) -> VerdictName:
    """The verdict on a search that is said to propose better and better, the paper's or ours.

    `trend` is the rank correlation of a proposal's number and its worth over the second half of the search, where the
    first steps away from the start are past; `edge` is how much oftener children beat their parent than strangers of
    the same time beat it. Both clear: reproduced. Neither even possibly clear: contradicted, whatever tiny slope is
    certain. One above zero: partly.
    """
    shown = [trend.low > 0, edge.low > 0]
    if trend.high < CLEAR_TREND and edge.high < CLEAR_EDGE:
        return "partly" if all(shown) else "contradicted"
    return "reproduced" if all(shown) else "partly" if any(shown) else "inconclusive"


def told(effects: Mapping[str, Effect]) -> str:
    """Every effect with its interval, in three digits; in four where three would all be zero."""
    near_zero = {what: max(map(abs, (e.mean, e.low, e.high))) < 0.0005 for what, e in effects.items()}
    return ", ".join(f"{what} {shown(e, 4 if near_zero[what] else 3)}" for what, e in effects.items())


def shown(effect: Effect, near: int = 4) -> str:
    """An effect with its interval, in so many digits."""
    return f"{effect.mean:+.{near}f} [{effect.low:+.{near}f}, {effect.high:+.{near}f}]"


def cost(effects: Mapping[str, Effect]) -> str:
    """What would decide the noisiest effect that is undecided: pairs of seeds that tell `USEFUL` from nothing."""
    open_ = [e for e in effects.values() if e.sd > 0 and not e.low > 0 and not _is_against(e, USEFUL)]
    if not open_:
        return ""
    noisiest = max(open_, key=lambda effect: effect.sd)
    pairs = pairs_needed(USEFUL, noisiest.sd)
    return f"{pairs:,} pairs would tell {USEFUL} from nothing four times in five; here are {noisiest.n}"


def verdict(
    claim: str,
    name: VerdictName,
    effects: Mapping[str, Effect],
    *,
    run: str,
    subject: str = "gain in bits a byte",
    note: str = "",
) -> Verdict:
    """The verdict with its weakest effect as headline (what most speaks against it, where it is contradicted) and all
    of them told; one left open says what would decide it."""
    weakest = min(effects.values(), key=lambda effect: effect.high if name == "contradicted" else effect.low)
    which = f", each at {weakest.level:.0%}, the weakest of {len(effects)}" if len(effects) > 1 else ""
    family = f", widened for {weakest.num_comparisons}" if weakest.num_comparisons > 1 else ""
    price = cost(effects) if name == "inconclusive" else ""
    return Verdict(
        claim,
        name,
        f"{subject}: {told(effects)}",
        effect=weakest.mean,
        low=weakest.low,
        high=weakest.high,
        n=weakest.n,
        test=f"{weakest.test}{family}{which}",
        evidence_path=f"run {run}",
        our_value=f"{weakest.mean:+.3f}" + (" at least" if len(effects) > 1 else ""),
        note="; ".join(filter(None, (note, price))),
    )

"""What a campaign has verified becomes an entry, with its evidence.

Only a gain that `asiarc.evidence.decide` calls better, on seeds and items that chose nothing, may enter: an insight
from the search itself is the maximum of many draws. And only a mechanism that the candidate has and the baseline lacks
is named: an insight may favour what the candidate does without, and of that nothing was verified.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asiarc.cognition.base import WEAKNESSES
from asiarc.cognition.check import LONGEST
from asiarc.cognition.entry import CognitionError, Entry, Publication, mechanisms
from asiarc.core.proposal import Insight
from asiarc.evidence import Decision, Effect, decide

if TYPE_CHECKING:
    from asiarc.archive.results import CampaignResult


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A candidate's confirmed gain: campaign, candidate (name and content address), against what.

    `added` holds the mechanisms that the candidate has and the baseline lacks; None where the grammar did not write it,
    and its own `motivation` says what it does.
    """

    campaign: str
    address: str
    name: str
    against: str
    year: int
    effect: Effect
    decision: Decision
    added: Collection[str] | None = None
    motivation: str = ""


def promote(insight: Insight, evidence: Confirmed) -> Entry:
    """The insight as an entry, tied to the first mechanism that it favours, the grammar knows and the candidate added.

    Raises:
        CognitionError: the evidence does not say better, or of what the insight favours nothing was verified.
    """
    if evidence.decision != "better" or evidence.effect.low <= 0:
        raise CognitionError(
            f"{evidence.name} of {evidence.campaign} is {evidence.decision!r} than {evidence.against} "
            f"({evidence.effect.explain()}); only what is better on fresh seeds and items enters the base."
        )
    mechanism = None if evidence.added is None else _verified(insight, evidence)
    meaning = WEAKNESSES.get(insight.weakness, insight.weakness or "the tasks of the campaign")
    does = f"It adds {mechanism}." if mechanism else evidence.motivation or "See the candidate's source."
    slug = re.sub(r"[^a-z0-9]+", "_", evidence.campaign.lower()).strip("_")
    return Entry(
        id=f"verified-{slug.replace('_', '-')}-{evidence.address[:8]}",
        paper=Publication(
            title=f"{evidence.name}, candidate of campaign {evidence.campaign}",
            authors="asiarc",
            year=evidence.year,
            identifier=f"asiarc:{slug}/{evidence.address}",
        ),
        problem=f"{evidence.against} was outdone in {evidence.campaign}.",
        trigger=_brief(f"Weak on {insight.weakness or 'every task'}: {meaning}."),
        mechanism=_brief(f"{does} What the analyst wrote of it: {insight.text}"),
        equation="see the candidate's source under its content address",
        cost="within the campaign's caps on parameters, state and operations",
        limits="Shown at the size and budget of this campaign only.",
        grammar=mechanism,
        evidence=f"Against {evidence.against}: {evidence.effect.explain()}",
    )


def _verified(insight: Insight, evidence: Confirmed) -> str:
    """The mechanism that the evidence speaks for."""
    known = [name for name in insight.mechanisms if name in mechanisms()]
    added = [name for name in known if name in (evidence.added or ())]
    if not added:
        raise CognitionError(
            f"the insight on {evidence.name} favours no mechanism that the grammar knows and {evidence.name} adds to "
            f"{evidence.against} (favoured: {', '.join(insight.mechanisms) or 'none'}; added: "
            f"{', '.join(sorted(evidence.added or ())) or 'none'}); write an entry by hand and add it."
        )
    return added[0]


def _brief(text: str) -> str:
    return textwrap.shorten(text, LONGEST, placeholder=" ...")


def winners_entry(result: CampaignResult) -> Entry:
    """The entry of a confirmed campaign's winner, against the design that it started from.

    Raises:
        CognitionError: as `promote`, or nothing was written about the winner.
        EvidenceError: the campaign has no confirmed winner.
    """
    from asiarc.analyst.compare import tags_of

    winner, start = result.winner, result.spec["start_from"]
    effect = winner.gain_over(start)  # of confirm: fresh seeds, fresh items
    written = result.archive.insight(result.run, winner.address)
    if written is None:
        raise CognitionError(f"nothing was written about {winner.name}, the winner of {result.name}")
    mine, its = (result.archive.candidate(entrant.address) for entrant in (winner, result.baseline(start)))
    found = result.archive.run(result.run)
    assert mine is not None and its is not None and found is not None, result.run
    evidence = Confirmed(
        campaign=result.name,
        address=winner.address,
        name=winner.name,
        against=start,
        year=int(found["created_at"][:4]),
        effect=effect,
        decision=decide(effect, fresh_seeds=True, fresh_items=True),
        added=tags_of(mine["genome"]) - tags_of(its["genome"]) if mine["genome"] else None,
        motivation=winner.motivation,
    )
    return promote(Insight(**written), evidence)

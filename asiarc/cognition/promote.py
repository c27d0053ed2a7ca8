"""What a campaign has verified becomes an entry, with its evidence.

Only a gain that `asiarc.evidence.decide` calls better, on seeds and items that chose nothing, may enter: an
insight from the search itself is the maximum of many draws.
"""

from __future__ import annotations

from dataclasses import dataclass

from asiarc.cognition.base import WEAKNESSES
from asiarc.cognition.entry import CognitionError, Entry, Paper, mechanisms
from asiarc.evidence import Decision, Effect
from asiarc.researcher.protocol import Insight


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A candidate's confirmed gain: campaign, candidate (name and content address), against what."""

    campaign: str
    address: str
    name: str
    against: str
    year: int
    effect: Effect
    decision: Decision


def promote(insight: Insight, evidence: Evidence) -> Entry:
    """The insight as an entry, tied to the first mechanism that it favours and that the grammar knows.

    Raises:
        CognitionError: the evidence does not say better, or the insight favours no mechanism of the grammar.
    """
    if evidence.decision != "better" or evidence.effect.low <= 0:
        raise CognitionError(
            f"{evidence.name} of {evidence.campaign} is {evidence.decision!r} than {evidence.against} "
            f"({evidence.effect.explain()}); only what is better on fresh seeds and items enters the base."
        )
    favoured = [name for name in insight.mechanisms if name in mechanisms()]
    if not favoured:
        raise CognitionError(
            f"the insight on {evidence.name} favours no mechanism that the grammar knows (given: "
            f"{', '.join(insight.mechanisms) or 'none'}); write an entry by hand and add it."
        )
    meaning = WEAKNESSES.get(insight.weakness, insight.weakness)
    return Entry(
        id=f"verified-{evidence.campaign.replace('_', '-')}-{evidence.address[:8]}",
        paper=Paper(
            title=f"{evidence.name}, candidate of campaign {evidence.campaign}",
            authors="asiarc",
            year=evidence.year,
            identifier=f"asiarc:{evidence.campaign}/{evidence.address}",
        ),
        problem=f"{evidence.against} was outdone in {evidence.campaign}.",
        trigger=f"Weak on {insight.weakness}: {meaning}.",
        mechanism=f"The campaign's analyst favours {', '.join(favoured)}. {insight.text}",
        equation="see the candidate's source under its content address",
        cost="within the campaign's caps on parameters, state and operations",
        limits="Shown at the size and budget of this campaign only.",
        grammar=favoured[0],
        evidence=f"Against {evidence.against}: {evidence.effect.explain()}",
    )

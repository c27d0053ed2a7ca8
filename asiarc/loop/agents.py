"""Who thinks in a campaign: the researcher, the analyst and the judge, each with a language model or without one.

The loop asks the team and does not see which it is. Where no model is named nothing here is connected to anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from asiarc.analyst import marking
from asiarc.analyst.explaining import Experiment, explain
from asiarc.archive.annex import Annex
from asiarc.archive.gains import Gains
from asiarc.campaign.declaration import Campaign, Models
from asiarc.core.proposal import Context, Insight, Proposal, Researcher, Tried
from asiarc.llm import Client, Ledger, Price, UnusableReplyError
from asiarc.llm.tape import ArchiveTape
from asiarc.researcher import bandit
from asiarc.researcher.section import coarse

OPEN = "open"  # the researcher of a campaign that takes what comes by the door, and nothing else
REVISIONS = 2  # for a researcher of one's own that can mend
Connect = Callable[[Annex, str, Ledger, Models], Client]


def replay_only(annex: Annex, run: str, ledger: Ledger, models: Models) -> Client:
    """A client that answers from the archive and from nowhere else."""
    return Client(ArchiveTape(annex, run), ledger, repairs=models.repairs, frequency_penalty=models.frequency_penalty)


def ledger_of(models: Models, usd: float) -> Ledger:
    """A campaign's ledger: its prices, the budget's cap and the roles' own."""
    return Ledger(
        prices={name: Price(*price) for name, price in models.prices.items()},
        most_usd=usd,
        role_usd=models.most_usd,
        role_tokens=models.most_tokens,
    )


class Nobody:
    """The researcher of a campaign whose proposals all come by the door (`asiarc.loop.door`)."""

    def propose(self, context: Context) -> Proposal:
        """Never asked: a search goes as far as there are proposals."""
        raise AssertionError(f"proposal {context.index} comes by the door")


class Team:
    """The agents of one run; the client of its models is made when it is first needed."""

    def __init__(self, campaign: Campaign, run: str, annex: Annex, usd: float, connect: Connect) -> None:
        self.campaign, self.run, self.annex, self.usd = campaign, run, annex, usd
        self.models = campaign.models or Models()
        self._connect = connect

    @cached_property
    def client(self) -> Client:
        """Asks this run's models."""
        return self._connect(self.annex, self.run, ledger_of(self.models, self.usd), self.models)

    @cached_property
    def researcher(self) -> Researcher:
        """The campaign's researcher."""
        from asiarc.researcher.asking import LlmResearcher
        from asiarc.researcher.grammar import GrammarResearcher, RandomResearcher

        named = self.campaign.researcher
        if named == "llm":
            return LlmResearcher(self.client, self.models, self.campaign.novelty, self.campaign.cognition)
        if named == "grammar":
            return GrammarResearcher()
        if named == OPEN:
            return Nobody()
        return RandomResearcher() if named == "random" else cast("Researcher", named)

    @property
    def revisions(self) -> int:
        """How often a candidate may come back."""
        return self.campaign.models.revisions if self.campaign.models else REVISIONS

    @property
    def reads_curves(self) -> bool:
        """Whether anybody looks at training curves."""
        return self.models.analyst is not None

    def tried(
        self, proposals: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], gains: Gains, start: str
    ) -> tuple[Tried, ...]:
        """What each model's proposals came to so far."""
        if self.campaign.researcher != "llm":
            return ()
        return bandit.records(self.annex.asked(self.run), proposals, results, self.client.ledger.prices, gains, start)

    def explain(self, findings: Sequence[Experiment], curves: Mapping[str, Any]) -> list[Insight]:
        """An insight for each finding: the arithmetic, and a model's words where there is one. The judge marks too."""
        self._mark(findings)
        if self.models.analyst is None or not findings:
            return [finding.insight for finding in findings]
        return explain(self.client, self.models, findings, curves)

    def _mark(self, findings: Sequence[Experiment]) -> None:
        """The judge's marks, kept."""
        if self.models.judge is None:
            return
        asks = [
            ask
            for finding in findings
            for ask in marking.asks(
                self.models, finding.number, finding.proposal["source"], coarse(finding.insight.text)
            )
        ]
        marks = self.client.ask_all(asks)
        samples = self.models.judge_samples
        for index, found in enumerate(marks):
            if not isinstance(found, UnusableReplyError):
                number = findings[index // samples].number
                self.annex.add_judgement(self.run, number, index % samples, found.model_dump())

    def marks(self, numbers: range) -> dict[int, float]:
        """The judge's mean marks of some proposals, by number; empty where there is no judge."""
        if self.models.judge is None:
            return {}
        return marking.mean_marks([row for row in self.annex.judgements(self.run) if row["number"] in numbers])

    def spend(self) -> list[str]:
        """The ledger, a line a role; empty where nothing was asked."""
        return self.client.ledger.lines() if "client" in self.__dict__ else []

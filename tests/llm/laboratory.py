"""A campaign whose language models are a function of what they are asked, behind a real HTTP server.

The researcher's ideas are candidates that the harness's laboratory understands (a few constants); what they are worth
follows from the seed that the request carries, so a resumed campaign is answered alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asiarc import Models, Stage
from asiarc.archive.annex import Annex
from asiarc.archive.store import Archive
from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import Workshop
from asiarc.execution import Job, Result
from asiarc.llm.client import Client
from asiarc.llm.endpoint import Endpoint
from asiarc.llm.tape import ArchiveTape, MemoryTape
from asiarc.loop.run import Run
from tests.rigs.llm.loopback import Answer, Handler, Server, says

from ..harness.fakes import FakeExecutor, budget, campaign, candidate, content, still

ANNEX = ("exchanges", "asked", "versions", "behaviours", "decisions", "judgements")
MIXER = "\n\nclass Mixer:\n    pass\n"
PRICES = {"model": (1.0, 4.0), "other": (10.0, 40.0)}


def source(name: str, **constants: Any) -> str:
    """A candidate of the laboratory that a language model may have written."""
    return candidate(name, **constants) + MIXER


def idea(code: str, **changes: Any) -> str:
    fields = {
        "name": "idea",
        "motivation": f"It should be as good as it says: {code[:60]}",
        "predicted": [{"task": "text", "direction": "better", "size": 0.05}],
        "origins": [{"element": "all of it", "kind": "original"}],
        "source": code,
    }
    return json.dumps(fields | changes)


def role_of(body: dict[str, Any]) -> str:
    first = body["messages"][0]["content"].split()[1]
    return {"design": "researcher", "analyse": "analyst", "compare": "checker", "mark": "judge"}[first]


def number_of(body: dict[str, Any]) -> int:
    """A number that belongs to a request: the same question, the same number."""
    return rng_of("model", body["seed"], len(body["messages"])).randrange(10**6)


def plain(body: dict[str, Any]) -> str:
    """Every role answered as well as can be."""
    role, number = role_of(body), number_of(body)
    if role == "researcher":
        gain = round(rng_of("gain", number).gauss(0, 0.1), 3)
        return idea(source(f"i{number}", GAIN=gain, ID=number))
    if role == "analyst":
        return json.dumps(
            {"insight": f"This is what number {number} shows us.", "weakness": "overwrite", "query": "stale value"}
        )
    if role == "checker":
        return json.dumps({"duplicate": False})
    return json.dumps({"performance": 1 + number % 10, "innovation": 5, "complexity": 5})


def speaking(reply: Callable[[dict[str, Any]], str | Answer]) -> Answer:
    """An answer that depends on the request."""

    def answer(handler: Handler) -> None:
        made = reply(handler.body)
        (says(made) if isinstance(made, str) else made)(handler)

    return answer


def asked(candidates: int = 8, *, models: dict[str, Any] | None = None, usd: float = 10.0, **changes: Any) -> Any:
    """A campaign that asks language models in every role."""
    named = dict(researcher=("model", "other"), analyst="model", checker="model", judge="model", prices=PRICES)
    caps = budget(candidates)
    caps = type(caps)(**{tier: getattr(caps, tier).model_copy(update={"usd": usd}) for tier in caps.tiers})
    fields = dict(
        researcher="llm",
        models=Models(**(named | (models or {}))),
        novelty=("syntax", "motivation"),
        budget=caps,
        match=(),
        explore=Stage(tasks=("text", "overwrite"), seeds=1),
        verify=None,
        confirm=None,
    )
    return campaign(**(fields | changes))


class Lab:
    """A campaign over an archive in a folder, its models behind a server, or recorded."""

    def __init__(self, folder: Path, declared: Any = None, *, tier: Any = "quick") -> None:
        self.folder, self.campaign, self.tier = folder, declared or asked(), tier
        self.said: list[str] = []
        self.requests: list[dict[str, Any]] = []

    def run(
        self,
        reply: Callable[[dict[str, Any]], Any] | None = None,
        *,
        cassette: MemoryTape | None = None,
        executor: Any = None,
        mode: Any = None,
    ) -> Run:
        """Run all stages; without `reply` there is no server and everything is replayed."""
        with still(), Server((speaking(reply or plain),)) as server, Archive(self.folder) as archive:
            endpoint = Endpoint(server.url, "a-key", sleep=lambda _: None) if reply else None

            def connect(annex, run, ledger, models):
                tape = ArchiveTape(annex, run, cassette)
                return Client(tape, ledger, mode or ("record" if reply else "replay"), endpoint, repairs=models.repairs)

            workshop = Workshop(archive, executor or FakeExecutor(ends=fingerprinted))
            run = Run(self.campaign, "question", self.tier, archive, workshop, self.said.append, connect=connect)
            try:
                for stage in self.campaign.stages:
                    run.ensure(stage)
            finally:
                self.requests += server.requests
                self.ledger = run.team.client.ledger if "client" in vars(run.team) else None
        return run

    def read(self, then: Callable[[Archive, Annex, str], Any]) -> Any:
        with Archive(self.folder, write=False) as archive:
            return then(archive, Annex(archive), archive.runs("question")[-1]["run"])

    def results(self) -> list[dict[str, Any]]:
        return self.read(lambda archive, _, run: archive.results(run))

    def proposals(self) -> list[dict[str, Any]]:
        return self.read(lambda archive, _, run: archive.proposals(run))

    def cassette(self) -> MemoryTape:
        from asiarc.llm.exchange import Exchange

        rows = self.read(lambda _, annex, run: annex.tape(run))
        return MemoryTape((Exchange.from_dict(row), place) for place, row in rows)

    def content(self) -> dict[str, list[Any]]:
        """Everything that the archive and its annex say, but for times and places."""
        with Archive(self.folder, write=False) as archive:
            there = {row["name"] for row in archive.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
            annex = {
                table: sorted(json.dumps(row, sort_keys=True) for row in archive.rows(f"SELECT * FROM {table}"))
                for table in ANNEX
                if table in there
            }
        return content(self.folder) | annex


def fingerprinted(job: Job) -> Result | None:
    """What the laboratory says when it is asked what a candidate computes: its PRINT, or something of its own."""
    if not job.function.endswith(":fingerprint"):
        return None
    stated = re.search(r"^PRINT = (\d+)$", job.payload["source"], re.MULTILINE)
    seed = stated[1] if stated else job.payload["source"]
    return Result("ok", {"fingerprint": [rng_of("print", seed, i).gauss(0, 1) for i in range(16)]})

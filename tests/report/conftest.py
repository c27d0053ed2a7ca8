"""Archives made by hand, through the archive's own methods: no trial runs, every number is known."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.archive.results import mean_gain, values_of
from asiarc.archive.store import Archive, Trial
from asiarc.campaign.declaration import IDENTITY_VERSION
from asiarc.core.bought import Bought
from asiarc.core.candidate import content_address
from asiarc.core.digest import digest
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.recipe import MICRO, STAGES, stage_plan
from asiarc.core.seeds import rng_of
from asiarc.engineer.workshop import Workshop
from asiarc.evidence.claims import Verdict, check_snapshot
from asiarc.models.baselines import baseline_source
from asiarc.report import checks, document, write
from asiarc.report.evidence import decided_again
from asiarc.studies import Study

from ..reproductions.laboratory import Laboratory, conduct, load, noise

REPRODUCTIONS = Path(__file__).parents[2] / "reproductions"
BASELINES = ("delta_net", "gated_delta_net", "mamba2")
OFFSETS = {"delta_net": 0.0, "gated_delta_net": 0.15, "mamba2": 0.12}  # bits a byte gained over delta_net
RUNGS = stage_plan("quick", "explore").rungs
STEPS = RUNGS[-1]  # of the stages that judge, too


@dataclass
class Bench:
    """Fills an archive with one campaign; `gain` says what each candidate is worth."""

    archive: Archive
    name: str = "delta_text"
    tier: str = "quick"
    run: str = ""  # named by its declaration when it starts
    variant: str = ""  # tells runs of one campaign apart
    rungs: tuple[int, ...] = RUNGS
    seeds: int = 3
    confirmed: tuple[str, ...] = ("text",)  # tasks of confirm; with none that decides, all of them do
    count: int = 0

    def spec(
        self, *, stages: Sequence[str] = ("explore", "verify", "confirm"), tasks: tuple[str, ...] = ("text", "reset")
    ) -> dict[str, Any]:
        campaign = Campaign(
            start_from="delta_net", baselines=BASELINES, explore=Stage(tasks=tasks, seeds=2),
            verify=Stage(tasks=tasks, seeds=3, top=3) if "verify" in stages else None,
            confirm=Stage(tasks=self.confirmed, seeds=5) if "confirm" in stages else None,
            at_most={"state_bytes": 2.0}, budget=by_tier(quick=Budget(candidates=12, minutes=5)), seed=0,
        )  # fmt: skip
        return campaign.resolved("quick")

    def start(self, candidates: int = 12, **kwargs: Any) -> None:
        identity = {
            "identity_version": IDENTITY_VERSION,
            "campaign": self.name,
            "tier": self.tier,
            "seed": 0,
            "spec": self.spec(**kwargs) | {"candidates": candidates},
            "plans": {stage: asdict(stage_plan("quick", stage)) for stage in STAGES},
            "baselines": {name: content_address(baseline_source(name)) for name in BASELINES},
            "tasks": {"text": "a1b2c3", "reset": "d4e5f6"},
            "engine": "e" * 16,
            "variant": self.variant,
            "kernels": "k" * 16,
        }
        self.run = digest(identity)
        self.archive.add_run(self.run, self.name, self.tier, 0, identity, {"git_commit": "c" * 40, "git_dirty": ""})
        for baseline in BASELINES:
            source = baseline_source(baseline)
            self.archive.add_candidate(content_address(source), baseline, source, "published")
            self.measure(content_address(source))

    def measure(self, address: str) -> None:
        measures = {"parameters": 20_000, "state_bytes": 8192, "flops_per_token": 123_456.0}
        self.archive.add_admission(f"adm{address}", address, SCORED, [], measures, 2.5)

    def trial(
        self, address: str, task: str, stage: str, seed: int, steps: int, gain: float, outcome: Outcome = SCORED
    ) -> None:
        """One trial whose value lies `gain` under the start's on text, with shared seed noise."""
        self.count += 1
        shared = 0.02 * math.sin(7 * seed + len(stage) + steps)
        own = rng_of("bench", address, task, stage, seed, steps).gauss(0, 0.004)
        value = 2.6 - 0.001 * steps + shared - gain + own if task == "text" else min(1.0, 0.6 + 0.3 * gain + own)
        scored = outcome.kind == "scored"
        items = [[-value * math.log(2) * 4000, 4000] if task == "text" else value] * 3
        curve = (
            [[steps * (i + 1) // 3, value + 0.9 - 0.3 * i, value + 0.8 - 0.3 * i] for i in range(3)] if scored else []
        )
        trial = Trial(
            key=f"{self.run[:4]}{self.count:06d}",
            address=address,
            task=task,
            stage=stage,
            seed=f"0/{stage}/{seed}",
            steps=steps,
            learning_rate=0.003,
            outcome=outcome,
            metric="x" if scored else None,
            value=value if scored else None,
            parameters=105_000,
            state_bytes=16_384,
            flops_per_token=456_789.0,
            curve=curve,
            details={},
            wall_s=3.0,
            cpu_s=2.0,
            bought=Bought(steps * 4096 * scored, 2.5, 400 << 20, None, None, 1e11),
        )
        self.archive.add_trial(trial, MICRO.at(steps=steps).as_dict(), layers=[])
        if scored:
            self.archive.add_items(trial.key, [{"document": i, "value": v} for i, v in enumerate(items)])
        self.archive.add_use(self.run, stage, trial.key)

    def baselines(self, stage: str, seeds: int, steps: int, tasks: Sequence[str]) -> None:
        for name, offset in OFFSETS.items():
            for task in tasks:
                for seed in range(seeds):
                    self.trial(content_address(baseline_source(name)), task, stage, seed, steps, offset)

    def gain(self, address: str, stage: str, steps: int) -> float:
        """What the trials of a candidate gain over the start's on text, over its seeds."""
        trials = [t for t in self.archive.trials(self.run, stage) if t.steps == steps]
        sides = (values_of(trials, one, "text") for one in (address, content_address(baseline_source("delta_net"))))
        found = mean_gain(*sides, higher_is_better=False)
        assert found is not None
        return found

    def propose(
        self, number: int, name: str, parents: Sequence[str] = (), motivation: str = "A gate decides what stays."
    ) -> str:
        source = f'"""Number {number}."""\nNUMBER = {number}\n'
        address = content_address(source)
        self.archive.add_candidate(address, name, source, motivation, {"memory": "delta", "floor": number % 3})
        origins = [
            {"element": "memory=gated_delta", "kind": "cognition", "reference": "gated-delta-rule"},
            {"element": f"floor={number}", "kind": "experience" if number % 3 else "original", "reference": ""},
        ]
        self.archive.add_proposal(
            self.run,
            number,
            number // 4,
            {
                "address": address,
                "name": name,
                "motivation": motivation,
                "parents": list(parents),
                "origins": origins,
                "predicted": "text up",
            },
        )
        return address

    def fill(
        self, gains: Sequence[float], *, stages: Sequence[str] = ("explore", "verify", "confirm"), top: int = 3
    ) -> list[str]:
        """A whole campaign: one candidate a gain, every fifth rejected, the best third on the deepest rung."""
        self.start(len(gains), stages=stages)
        for steps in self.rungs:
            self.baselines("explore", 2, steps, ("text", "reset") if steps == self.rungs[-1] else ("text",))
        addresses: list[str] = []
        order = sorted(range(len(gains)), key=lambda i: -gains[i])
        deep = {i for i in order if i % 5 != 4} & set(order[: max(4, len(gains) // 2)])
        for number, gain in enumerate(gains):
            parents = [addresses[number // 2]] if number > 1 else [content_address(baseline_source("delta_net"))]
            address = self.propose(number, f"gated_delta_fir_{number}", parents)
            addresses.append(address)
            if number % 5 == 4:
                outcome = Outcome("rejected", "output at position 3 moved by 0.2 when position 9 changed", "causality")
                self.archive.add_result(self.run, number, address, outcome, rung=-1, gain=None, scores={})
                continue
            self.measure(address)
            for rung, steps in enumerate(self.rungs if number in deep else self.rungs[:1]):
                for seed in range(2 if rung else 1):
                    self.trial(address, "text", "explore", seed, steps, gain)
                if rung:
                    self.trial(address, "reset", "explore", 0, steps, gain)
            self.archive.add_result(
                self.run,
                number,
                address,
                SCORED,
                rung=len(self.rungs) - 1 if number in deep else 0,
                gain=self.gain(address, "explore", self.rungs[-1] if number in deep else self.rungs[0]),
                scores={},
            )
            self.archive.add_insight(
                self.run,
                number,
                0,
                address,
                {"text": f"It gains {gain:+.3f}.", "weakness": "reset", "mechanisms": ["-floor=0"]},
            )
        ranked = [addresses[i] for i in order if i in deep]
        self.later_stages(ranked, dict(zip(addresses, gains, strict=True)), stages, top)
        others = [addresses[i] for i in order if i % 5 != 4 and i not in deep]
        self.archive.finish_stage(
            self.run, "explore", {"entrants": ranked + others, "finalists": ranked, "candidates": len(gains)}
        )
        return addresses

    def later_stages(
        self,
        ranked: list[str],
        worth: dict[str, float],
        stages: Sequence[str],
        top: int,
        tasks: Sequence[str] = ("text", "reset"),
    ) -> None:
        winner = None
        if "verify" in stages:
            winner = self.stage("verify", ranked[:top], worth, 3, tasks)
        if "confirm" in stages:
            self.stage("confirm", [winner] if winner else [], worth, 5, self.confirmed, winner)

    def stage(
        self,
        stage: str,
        entrants: list[str],
        worth: dict[str, float],
        seeds: int,
        tasks: Sequence[str],
        winner: str | None = None,
    ) -> str | None:
        """A stage's trials and its result; the winner, where none is given, is whom they put first."""
        self.baselines(stage, seeds, STEPS, tasks)
        for address in entrants:
            for seed in range(seeds):
                for task in tasks:
                    self.trial(address, task, stage, seed, STEPS, worth[address])
        gains = {address: self.gain(address, stage, STEPS) for address in entrants} if stage == "verify" else {}
        winner = winner or max(gains, key=lambda address: gains[address], default=None)
        self.archive.finish_stage(self.run, stage, {"entrants": entrants, "winner": winner, "gains": gains})
        return winner


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verdicts last accepted, and that the winner gains."""
    known = tomllib.loads((REPRODUCTIONS / "verdicts.toml").read_text())
    known["C29"]["quick"] = {"verdict": "reproduced at smaller scale"}
    file = tmp_path_factory.mktemp("accepted") / "verdicts.toml"
    file.write_text(tomli_w.dumps(known))
    return file


@pytest.fixture(autouse=True)
def accepted(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The winner that is planted here gains, whatever the published run's does: its verdict is held against that."""

    def held(verdicts: Sequence[Verdict], path: Path) -> Any:
        mine = any(verdict.claim == "C29" and verdict.effect > 0.2 for verdict in verdicts)
        return check_snapshot(verdicts, snapshot if mine else path)

    monkeypatch.setattr(checks, "check_snapshot", held)


@pytest.fixture
def archive(tmp_path: Path) -> Any:
    with Archive(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def bench(archive: Archive) -> Callable[..., Bench]:
    """``bench(name=..., tier=...)``: something to fill the test's archive with."""
    return lambda **kwargs: Bench(archive, **kwargs)


@pytest.fixture(scope="session")
def bench_class() -> type[Bench]:
    """The class itself, for fixtures that live longer than a test."""
    return Bench


@pytest.fixture(scope="module")
def drawn_once() -> Any:
    """Of equal rows come equal bytes (`test_document`); a module that draws them a hundred times draws each once."""
    drawn, draw = {}, document.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "draw", lambda kind, rows: drawn.setdefault(f"{kind}{rows}", None) or _keep(kind, rows))

        def _keep(kind: str, rows: Any) -> str:
            drawn[f"{kind}{rows}"] = draw(kind, rows)
            return drawn[f"{kind}{rows}"]

        yield


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a whole campaign; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("report")
    with Archive(folder / "store") as opened:
        Bench(opened).fill([0.02 * number for number in range(14)])
        for verdict in decided_again(opened, "quick", REPRODUCTIONS, ["C29"]).values():
            opened.add_verdict(verdict.claim, "quick", "item", verdict.as_dict())
        write(opened, "quick", folder / "quick")
    return folder / "quick"


WORTH = {"l1_keys": 0.1, "no_convolution": 0.3}


def studied(name: str, task: str, seed: str) -> float:
    """Text and synthetic tasks agree on who is better, up to noise."""
    place = sum(map(ord, name)) % 97 / 97
    if task == "text":
        return 2.5 + WORTH.get(name, place) + noise(name, task, seed)
    return 0.9 - 0.5 * place + noise(name, task, seed)


@pytest.fixture(scope="session")
def with_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three finished studies and one that was interrupted."""
    published = load("claim_published")
    place = tmp_path_factory.mktemp("studies")
    with Archive(place / "store") as archive:
        conduct(published, ("parts", "survey"), archive, studied, rejected={"random 3": "causality"})
        mechanisms, seen = load("claim_mechanisms"), {"entropy": 0.5, "dead": 0.0}
        conduct(mechanisms, ("mechanisms",), archive, studied, probes=lambda *_: seen)
        study = Study(mixers={n: baseline_source(n) for n in ("delta_net", "mamba2")}, seeds=4)
        with pytest.raises(KeyboardInterrupt):
            cut = Laboratory(study.mixers, studied, interrupt_at=2)
            study.run("cut", "full", archive, Workshop(archive, cut), lambda _: None)
        write(archive, "full", place / "full")
    return place / "full"

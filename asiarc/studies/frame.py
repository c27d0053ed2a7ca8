"""One look at a run, by the archive alone: how far it is, what leads, how long it may take.

Asked by the live table of pytest and by ``asiarc watch`` alike, so that both say the same of one moment. Trials of the
batch that is being trained are in no run yet; the latest of the archive that no run rests on are taken for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Budget, ByTier, Campaign
from asiarc.core.errors import AsiarcError
from asiarc.core.recipe import STAGES, StageName, Tier, TrialRecipe
from asiarc.search.leading import leading
from asiarc.studies.plan import ADMISSION_S, cpu_s_of, measured_rate, stage_trials

IN_FLIGHT = 1_000  # of the latest trials, how many are looked at for those that no run rests on yet
SIGMAS = 1.96  # of a normal estimate's 95 % interval
SLOWER = 2.0  # by how much a run may take longer than its training alone, spread evenly over the workers
_DONE = """
    SELECT u.stage, json_extract(t.recipe, '$.name') AS recipe, t.steps, t.cpu_s, t.wall_s
    FROM uses u JOIN trials t ON t.key = u.trial WHERE u.run = ?
"""
_IN_FLIGHT = """
    SELECT t.stage, json_extract(t.recipe, '$.name') AS recipe, t.steps, t.cpu_s, t.wall_s
    FROM (SELECT key, stage, recipe, steps, cpu_s, wall_s, created_at FROM trials ORDER BY rowid DESC LIMIT ?1) t
    WHERE t.created_at >= ?2 AND NOT EXISTS (SELECT 1 FROM uses WHERE trial = t.key)
"""
_ADMITTED = """
    SELECT COUNT(*) AS n FROM proposals p WHERE p.run = ?1
    AND EXISTS (SELECT 1 FROM admissions a WHERE a.address = p.address AND a.outcome = 'scored')
    AND NOT EXISTS (SELECT 1 FROM results r WHERE r.run = ?1 AND r.number = p.number AND r.outcome = 'rejected')
"""
Kind = tuple[StageName, str, int]  # stage, recipe, steps: trials that cost about the same
Range = tuple[float, float]  # seconds, from and to


@dataclass(frozen=True)
class Best:
    """Who leads, its gain over start_from with a 95 % interval where there is one, and what kind of number that is."""

    address: str
    name: str
    gain: float
    low: float | None
    high: float | None
    kind: str


@dataclass(frozen=True)
class Frame:
    """How far a run is. Counts of trials are those of its stage; `most_trials` and times are None where unknown.

    `stage` is the one that runs, or the last where all are finished. Seconds left are a range: from nothing but
    training on all workers to twice what was measured so far, with the gates.
    """

    campaign: str
    tier: Tier
    run: str
    start_from: str
    stage: StageName
    stages: tuple[StageName, ...]
    finished: tuple[StageName, ...]
    candidates: int
    proposed: int
    admitted: int
    scored: int
    rejected: dict[str, int]
    failed: dict[str, int]
    trained: int
    most_trials: int | None
    cpu_s: float
    best: Best | None
    stage_left_s: Range | None
    left_s: Range | None

    @property
    def is_finished(self) -> bool:
        """Whether every stage is."""
        return self.finished == self.stages

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)


def look(archive: Archive, run: str, workers: int = 2, campaign: Campaign | None = None) -> Frame:
    """A run at this moment; `campaign` is rebuilt from the archive where it is not at hand."""
    result, found = CampaignResult.load(archive, run), archive.run(run)
    assert found is not None, run
    tier: Tier = found["tier"]
    stages = ("explore",) if result.spec["verify"] is None else STAGES
    finished = tuple(stage for stage in stages if archive.stage_result(run, stage) is not None)
    stage = next((stage for stage in stages if stage not in finished), stages[-1])
    done = _done(archive, run, found["created_at"], is_running=len(finished) < len(stages))
    planned = _planned(campaign or campaign_of(result.spec, tier), stages, tier)
    endings = result.endings_by_kind
    gates_s = 0.0 if "explore" in finished else _gates_left(result)
    left = {s: _left(archive, planned, done, s, gates_s, workers) for s in stages if s not in finished}
    return Frame(
        campaign=result.name,
        tier=tier,
        run=run,
        start_from=result.spec["start_from"],
        stage=stage,
        stages=stages,
        finished=finished,
        candidates=result.spec["candidates"],
        proposed=result.proposed,
        admitted=archive.rows(_ADMITTED, run)[0]["n"],
        scored=sum(row["count"] for row in endings if row["outcome"] == "scored"),
        rejected=dict(Counter({row["gate"]: row["count"] for row in endings if row["gate"]}).most_common()),
        failed={row["outcome"]: row["count"] for row in endings if row["outcome"] != "scored" and not row["gate"]},
        trained=sum(spent.count for kind, spent in done.items() if kind[0] == stage),
        most_trials=sum(count for kind, (count, _) in planned.items() if kind[0] == stage) if planned else None,
        cpu_s=sum(spent.cpu_s for spent in done.values()),
        best=_best(result, finished),
        stage_left_s=left.get(stage, (0.0, 0.0)),
        left_s=_total(left.values()),
    )


def campaign_of(spec: Any, tier: Tier) -> Campaign | None:
    """The campaign of a run as far as its trials are planned by it; None where this asiarc cannot declare it."""
    kept = {name: spec[name] for name in Campaign.model_fields if name in spec}
    kept |= {"researcher": "grammar", "models": None, "novelty": ("syntax",), "cognition": (), "arms": ()}
    try:
        return Campaign(**kept, budget=ByTier(**{tier: Budget(candidates=spec["candidates"], minutes=1)}))
    except AsiarcError:
        return None


@dataclass(frozen=True)
class Spent:
    """Trials of one kind that are done: how many, and what they took."""

    count: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def and_one(self, row: dict[str, Any]) -> Spent:
        """With one more."""
        return Spent(self.count + 1, self.cpu_s + row["cpu_s"], self.wall_s + row["wall_s"])


def _done(archive: Archive, run: str, since: str, *, is_running: bool) -> dict[Kind, Spent]:
    found: dict[Kind, Spent] = {}
    rows = archive.rows(_DONE, run) + (archive.rows(_IN_FLIGHT, IN_FLIGHT, since) if is_running else [])
    for row in rows:
        kind = row["stage"].partition(" ")[0], row["recipe"], row["steps"]  # tuning is part of its stage
        found[kind] = found.get(kind, Spent()).and_one(row)
    return found


def _planned(campaign: Campaign | None, stages: Iterable[StageName], tier: Tier) -> dict[Kind, tuple[int, TrialRecipe]]:
    """How many trials of each kind are planned, at most."""
    found: dict[Kind, tuple[int, TrialRecipe]] = {}
    for stage in stages if campaign else ():
        assert campaign is not None
        for count, recipe in stage_trials(campaign, stage, tier):
            kind = stage, recipe.name, recipe.steps
            found[kind] = found.get(kind, (0, recipe))[0] + count, recipe
    return found


def _left(
    archive: Archive,
    planned: dict[Kind, tuple[int, TrialRecipe]],
    done: dict[Kind, Spent],
    stage: StageName,
    gates_s: float,
    workers: int,
) -> Range | None:
    """Seconds that a stage may still take; None where its trials are not known. A machine that is busy with other
    things, which a trial's wall time shows, moves the upper end."""
    if not planned:
        return None
    rate, cpu_s = measured_rate(archive), 0.0
    for kind, (count, recipe) in planned.items():
        if kind[0] == stage:
            spent = done.get(kind, Spent())
            each = spent.cpu_s / spent.count if spent.count else cpu_s_of([(1, recipe)], rate)
            cpu_s += max(0, count - spent.count) * each
    busy = sum(s.wall_s for s in done.values()) / max(1e-9, sum(s.cpu_s for s in done.values()))
    return cpu_s / workers, SLOWER * max(1.0, busy) * (cpu_s + (gates_s if stage == "explore" else 0.0)) / workers


def _gates_left(result: CampaignResult) -> float:
    """CPU-seconds of the gates for the candidates that they have not looked at, as those so far took."""
    (row,) = result.archive.rows(
        "SELECT COUNT(DISTINCT p.number) AS seen, AVG(a.cpu_s) AS cpu_s FROM proposals p "
        "JOIN admissions a ON a.address = p.address WHERE p.run = ?", result.run,
    )  # fmt: skip
    return max(0, result.spec["candidates"] - row["seen"]) * max(ADMISSION_S, row["cpu_s"] or 0.0)


def _total(ranges: Iterable[Range | None]) -> Range | None:
    known = list(ranges)
    found = [one for one in known if one is not None]
    return (sum(low for low, _ in found), sum(high for _, high in found)) if len(found) == len(known) else None


def _best(result: CampaignResult, finished: tuple[StageName, ...]) -> Best | None:
    """The winner with what its deepest finished stage measured, or before verify who leads by the search's estimate."""
    if "verify" in finished:
        return _measured(result, "confirm" if "confirm" in finished else "verify")
    found = leading(result)
    if found is None:
        return None
    row = result.archive.candidate(found.address)
    assert row is not None, found.address
    if found.sd is None:
        kind = f"as measured in {_trials(found.trials)}: chosen as the best of many, so expect less"
        return Best(found.address, row["name"], found.gain, None, None, kind)
    kind = f"an estimate from {_trials(found.trials)}, shrunken for having been chosen"
    radius = SIGMAS * found.sd
    return Best(found.address, row["name"], found.gain, found.gain - radius, found.gain + radius, kind)


def _trials(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _measured(result: CampaignResult, stage: StageName) -> Best | None:
    if result.winner_address is None:
        return None
    winner, start = result.winner, result.spec["start_from"]
    fresh = "fresh seeds and items" if stage == "confirm" else "fresh seeds"
    try:
        effect = winner.gain_over(start, stage=stage)
    except AsiarcError:  # one seed has no interval
        gain = result.stage("verify")["gains"][winner.address]
        return Best(winner.address, winner.name, gain, None, None, "measured in verify, too seldom for an interval")
    kind = f"measured in {stage} on {effect.n} {fresh}"
    if effect.num_comparisons > 1:
        kind += f", widened for {effect.num_comparisons} comparisons"
    return Best(winner.address, winner.name, effect.mean, effect.low, effect.high, kind)


def rows_of(frame: Frame) -> list[tuple[str, str]]:
    """What a person is shown of a frame: labels, each with its line."""
    place = frame.stages.index(frame.stage) + 1
    rows = [
        ("campaign", f"{frame.campaign} at tier {frame.tier}, run {frame.run}"),
        ("stage", "all finished" if frame.is_finished else f"{frame.stage}, {place} of {len(frame.stages)}"),
        ("candidates", f"{frame.proposed} of {frame.candidates} proposed, {frame.admitted} admitted, "
         f"{frame.scored} scored"),
        ("rejected", _counts(frame.rejected, "by ")),
        ("failed", _counts(frame.failed)),
        ("trained", _trained(frame)),
        ("best so far", _best_line(frame)),
        ("time left", "" if frame.is_finished else _time_left(frame)),
    ]  # fmt: skip
    return [(label, text) for label, text in rows if text]


def _counts(counts: dict[str, int], before: str = "") -> str:
    return ", ".join(f"{count} {before}{name.replace('_', ' ')}" for name, count in counts.items())


def _trained(frame: Frame) -> str:
    most = "" if frame.most_trials is None or frame.is_finished else f" of about {frame.most_trials}"
    return f"{frame.trained}{most} trials of {frame.stage}; {frame.cpu_s:,.0f} CPU-seconds in all"


def _best_line(frame: Frame) -> str:
    best = frame.best
    if best is None:
        return "nothing scored yet" if not frame.is_finished else "none"
    interval = "" if best.low is None or best.high is None else f" [{best.low:+.4f}, {best.high:+.4f}]"
    return f"{best.name} {best.address}, {best.gain:+.4f}{interval} over {frame.start_from}: {best.kind}"


def _time_left(frame: Frame) -> str:
    if frame.stage_left_s is None or frame.left_s is None:
        return "not known"
    stage = f"{in_time(frame.stage_left_s)} for {frame.stage}"
    rest = len(frame.stages) - len(frame.finished) > 1
    return stage + (f", {in_time(frame.left_s)} in all" if rest else "")


def in_time(seconds: Range) -> str:
    """A range of seconds in words, in the unit that suits its upper end."""
    low, high = seconds
    if high < 60:
        return "less than a minute"
    unit, word = (60, "minutes") if high < 90 * 60 else (3600, "hours") if high < 72 * 3600 else (86400, "days")
    shown = [f"{value / unit:.0f}" if value / unit >= 10 else f"{value / unit:.1f}" for value in (low, high)]
    return f"{shown[0]} to {shown[1]} {word}"

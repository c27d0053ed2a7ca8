"""``asiarc compare``: two campaigns, two candidates, or two lm-eval sample logs, paired and with an interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import Tier
from asiarc.harness.archive_verbs import candidate_in, reading
from asiarc.harness.options import AS_JSON, STORE, TIER, say, told

if TYPE_CHECKING:
    from asiarc.archive.results import CampaignResult
    from asiarc.archive.store import Archive
    from asiarc.evidence.effects import Effect

SAID = {
    "better": "A is better than B",
    "worse": "A is worse than B",
    "no worse": "A is no worse than B",
    "cannot tell": "which is better cannot be told",
}


@dataclass(frozen=True)
class TaskComparison:
    """One effect of A over B: on what, and what it allows one to say."""

    on: str
    effect: Effect
    decision: str


@click.command()
@click.argument("a")
@click.argument("b")
@TIER
@STORE
@click.option("--metric", metavar="NAME[,FILTER]", help="of sample logs; default: the first that both have")
@AS_JSON
def compare(a: str, b: str, tier: Tier, store: Path, metric: str | None, as_json: bool) -> None:
    """The gain of A over B, paired, with its interval.

    A and B are two campaigns (NAME, or NAME@RUN for an earlier run), two candidates or baselines of one run, or two
    sample logs of lm-eval (samples_*.jsonl) of anybody's models. What was not measured alike is refused.
    """
    if is_log(a) or is_log(b):
        names, found = _of_logs(a, b, metric)
    elif metric:
        raise EvidenceError("--metric chooses in sample logs of lm-eval; a campaign's tasks have one metric each")
    else:
        with reading(store) as archive:
            names, found = _of_archive(archive, a, b, tier)
    if as_json:
        told({"a": names[0], "b": names[1], "effects": [asdict(one) for one in found]})
        return
    say(f"A  {names[0]}")
    say(f"B  {names[1]}")
    for one in found:
        say(f"{one.on}: {one.effect.explain()}")
        say(f"  {in_words(one)}")


def in_words(one: TaskComparison) -> str:
    """What an effect allows one to say, and where its interval says more, why that may not be said."""
    if one.decision == "cannot tell" and one.effect.low > 0:
        return (
            "ahead on the seeds that it was chosen by, which flatter it; only confirm has fresh ones to call it better"
        )
    return SAID[one.decision]


def is_log(text: str) -> bool:
    """Whether an argument means a sample log; a candidate and a campaign have no such name."""
    return text.endswith(".jsonl")


def _of_logs(a: str, b: str, metric: str | None) -> tuple[tuple[str, str], list[TaskComparison]]:
    from asiarc.evidence.effects import decide
    from asiarc.evidence.samples import compare_samples, load_samples

    for text in (a, b):
        if not is_log(text):
            raise EvidenceError(f"{text!r} is no sample log, the other one is; give two samples_*.jsonl of one task")
    found = compare_samples(load_samples(Path(a)), load_samples(Path(b)), metric)
    decision = decide(found.effect, fresh_seeds=True, fresh_items=True)
    where = found.metric if found.filter == "none" else f"{found.metric},{found.filter}"
    return (a, b), [TaskComparison(f"{found.task}, {where}", found.effect, decision)]


def _of_archive(archive: Archive, a: str, b: str, tier: Tier) -> tuple[tuple[str, str], list[TaskComparison]]:
    runs = [_run_of(archive, text, tier) for text in (a, b)]
    if all(runs):
        return _of_runs(*(run for run in runs if run is not None))
    for text, run, other in zip((a, b), runs, (b, a), strict=True):
        if run is not None:
            raise EvidenceError(
                f"{text!r} is a campaign here and {other!r} is none at tier {tier}; give two of one kind"
            )
    return _of_candidates(archive, a, b, tier)


def _run_of(archive: Archive, text: str, tier: Tier) -> CampaignResult | None:
    """The run that ``NAME`` or ``NAME@RUN`` means; None where no campaign has that name."""
    from asiarc.archive.results import CampaignResult

    name, at, run = text.partition("@")
    known = archive.runs(name, tier)
    found = [row for row in known if row["run"].startswith(run)] if at else known
    if at and len(found) != 1:
        runs = ", ".join(f"{row['run']} of {row['created_at']}" for row in known) or "none"
        raise EvidenceError(f"{len(found)} runs of {name} at tier {tier} begin with {run!r}; its runs: {runs}")
    return CampaignResult.load(archive, found[-1]["run"]) if found else None


def _of_runs(a: CampaignResult, b: CampaignResult) -> tuple[tuple[str, str], list[TaskComparison]]:
    from asiarc.analyst.pairs import of_runs

    mine, theirs, gains = of_runs(a, b)
    names = [f"{one.address} {one.name}, of {run.name}@{run.run}" for one, run in ((mine, a), (theirs, b))]
    return (names[0], names[1]), [TaskComparison(f"{g.stage}, {g.task}", g.effect, g.decision) for g in gains]


def _of_candidates(archive: Archive, a: str, b: str, tier: Tier) -> tuple[tuple[str, str], list[TaskComparison]]:
    from asiarc.analyst.pairs import of_candidates
    from asiarc.archive.results import CampaignResult

    rows = [candidate_in(archive, text) for text in (a, b)]
    addresses = [row["address"] for row in rows]
    runs = [row for row in archive.runs(tier=tier) if all(_is_trained(archive, row["run"], a) for a in addresses)]
    if not runs:
        raise EvidenceError(
            f"{rows[0]['name']} and {rows[1]['name']} were trained together in no run at tier {tier}, so nothing pairs "
            "them; compare the runs that they are of: asiarc compare NAME NAME@RUN"
        )
    result = CampaignResult.load(archive, runs[-1]["run"])
    gains = of_candidates(result, *(result.entrant(row["address"]) for row in rows))
    names = [f"{row['address']} {row['name']}, in {result.name}@{result.run}" for row in rows]
    return (names[0], names[1]), [TaskComparison(f"{g.stage}, {g.task}", g.effect, g.decision) for g in gains]


def _is_trained(archive: Archive, run: str, address: str) -> bool:
    query = "SELECT 1 FROM trials t JOIN uses u ON u.trial = t.key WHERE u.run = ? AND t.address = ? LIMIT 1"
    return bool(archive.rows(query, run, address))

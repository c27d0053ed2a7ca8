"""What language models did in a run: how many replies could be read, how many candidates passed after how many
revisions, how many trained, whether predictions came true, what the checks spared, and what it cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

from asiarc.analyst import calibration, marking
from asiarc.archive.annex import Annex
from asiarc.archive.gains import Gains, gains_of
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.core.outcome import SCORED
from asiarc.evidence.shares import wilson
from asiarc.llm.reading import ReadingError
from asiarc.researcher.ideas import left_out, read_idea
from asiarc.researcher.novelty import saved


def model_lines(archive: Archive, run: str) -> list[str]:
    """The report of one run, a fact a line; empty where no model was asked."""
    annex = Annex(archive)
    exchanges = [row for _, row in annex.tape(run)]
    if not exchanges:
        return []
    proposals, results = archive.proposals(run), archive.results(run)
    gains, start = _gains(archive, run, results)
    return [
        _replies([row for row in exchanges if row["question"]["role"] == "researcher"]),
        *_candidates(annex, run, results),
        *calibration.lines(calibration.scored_predictions(proposals, results, gains, start)),
        *_judge(archive, annex, run, results),
        _saved(archive, run),
    ]


def _gains(archive: Archive, run: str, results: list[dict[str, Any]]) -> tuple[Gains, str]:
    """What explore measured of the scored candidates, and the address of the start."""
    result = CampaignResult.load(archive, run)
    addresses = [row["address"] for row in results if row["gain"] is not None]
    start = result.declared[result.spec["start_from"]]
    return gains_of(archive, run, addresses, result.ranking_tasks("explore")), start


def share(hits: int, n: int) -> str:
    """``3 of 8 (0.38 [0.14, 0.69])``: with Wilson's 95 % interval."""
    if not n:
        return "0 of 0"
    low, high = wilson(hits, n)
    return f"{hits} of {n} ({hits / n:.2f} [{low:.2f}, {high:.2f}])"


def reply_fault(reply: dict[str, Any]) -> str:
    """What is wrong with a researcher's reply by itself; empty where an idea can be read from it."""
    if reply["fault"]:
        return str(reply["fault"])
    try:
        read_idea(reply["text"], parent="", tasks=())
    except ReadingError as error:
        return "" if error.fault == "edit does not apply" else error.fault
    return ""


def _replies(exchanges: list[dict[str, Any]]) -> str:
    faults = Counter(reply_fault(row["reply"]) for row in exchanges)
    readable = faults.pop("", 0)
    others = ", ".join(f"{name} {count}" for name, count in faults.most_common())
    held = share(readable, len(exchanges))
    parts = Counter(note.split(":")[0] for row in exchanges for note in left_out(row["reply"]["text"]))
    dropped = "; optional parts left out: " + ", ".join(f"{name} {count}" for name, count in parts.most_common(5))
    return f"replies of the researcher that hold an idea: {held}; otherwise: {others or 'none'}{dropped * bool(parts)}"


def _candidates(annex: Annex, run: str, results: list[dict[str, Any]]) -> list[str]:
    """How proposals ended, and after how many revisions those that passed did."""
    mended = Counter(row["number"] for row in annex.versions(run) if row["outcome"].gate not in ("reply", "novelty"))
    passed = [row for row in results if row["outcome"] == SCORED or row["outcome"].kind != "rejected"]
    after = Counter(mended[row["number"]] for row in passed)
    trained = sum(row["outcome"] == SCORED for row in results)
    gates = Counter(row["outcome"].gate or row["outcome"].kind for row in results if row["outcome"] != SCORED)
    ended = ", ".join(f"{name} {count}" for name, count in gates.most_common())
    revisions = ", ".join(f"{count} after {number}" for number, count in sorted(after.items()))
    return [
        f"proposals that passed the gates: {share(len(passed), len(results))}; revisions: {revisions or 'none passed'}",
        f"proposals that trained: {share(trained, len(results))}; otherwise: {ended or 'none'}",
    ]


def _judge(archive: Archive, annex: Annex, run: str, results: list[dict[str, Any]]) -> list[str]:
    """What the judge is worth, against the gains of verify."""
    judgements = annex.judgements(run)
    if not judgements:
        return []
    gains = (archive.stage_result(run, "verify") or {}).get("gains", {})
    held_out = {row["number"]: gains[row["address"]] for row in results if gains.get(row["address"]) is not None}
    return [marking.reliability(judgements, held_out).line()]


def _saved(archive: Archive, run: str) -> str:
    spared = saved(archive, run)
    return f"stopped as not new before training: {spared['stopped']}, which spared {spared['cpu_s']:.0f} CPU-seconds"

"""The m-value of each claim that rests on trained trials, from the trials of its run."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from asiarc.archive.results import TRIALS, CampaignResult, Row
from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.evidence.multiverse import LEAST_SEEDS, Sides, m_value, word_of
from asiarc.report.wording import headline_of
from asiarc.tasks import get_task

_RUN, _WIDENED = re.compile(r"run (\w+)"), re.compile(r"widened for (\d+)")


def paths_of(archive: Archive, verdict: Row) -> Row | None:
    """What the analyses of a verdict's own comparison say: word, same, paths, share; None where no trial was trained.

    Where they cannot be told, `share` is None and `problem` says why.
    """
    if not _RUN.fullmatch(verdict["evidence_path"]) or verdict["low"] is None:
        return None
    try:
        found = m_value(
            word_of(verdict["low"], verdict["high"]), _places(archive, verdict), num_comparisons=_widened(verdict)
        )
    except EvidenceError as error:
        return {"share": None, "problem": str(error)}
    return {"share": found.share, "word": found.word, "same": found.same, "paths": found.paths, "problem": ""}


def _widened(verdict: Row) -> int:
    found = _WIDENED.search(f"{verdict['test']} {verdict['statement']}")
    return int(found[1]) if found else 1


def _places(archive: Archive, verdict: Row) -> list[Sides]:
    """Both sides' scores at each stage and rung of the verdict's task where both have enough common seeds."""
    headline = headline_of(verdict)
    if headline is None:
        raise EvidenceError("its statement names no comparison of two mixers")
    run = _RUN.fullmatch(verdict["evidence_path"])
    assert run is not None, verdict["claim"]
    names = _addresses(archive, run[1])
    if not {headline.ahead, headline.behind} <= names.keys():
        raise EvidenceError(f"{headline.ahead} or {headline.behind} is no mixer of run {run[1]}")
    a, b = names[headline.ahead], names[headline.behind]
    scores: dict[Any, dict[str, dict[str, float]]] = defaultdict(lambda: {a: {}, b: {}})
    for row in archive.rows(TRIALS, run[1]):
        if row["outcome"] == "scored" and row["address"] in (a, b) and headline.is_on(row["task"]):
            sign = 1 if get_task(row["task"]).higher_is_better else -1
            place = row["used_in"], row["task"], row["steps"]
            scores[place][row["address"]][row["seed"]] = sign * row["value"]
    both = [(found[a], found[b]) for _, found in sorted(scores.items())]
    return [sides for sides in both if len(sides[0].keys() & sides[1].keys()) >= LEAST_SEEDS]


def _addresses(archive: Archive, run: str) -> dict[str, str]:
    """Name to address of what a campaign or a study compares."""
    identity = (archive.run(run) or {"identity": {}})["identity"]
    if "study" in identity:
        return dict(identity["study"]["mixers"])
    if "spec" not in identity:
        return {}
    result = CampaignResult.load(archive, run)
    return {name: address for address, name in result.names.items()} | result.declared

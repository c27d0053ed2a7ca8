"""Who leads explore by what the archive holds, with the estimate that the policy itself would report.

The board is filled from stored trials, so that another process can say it without taking part in the run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from asiarc.archive.results import CampaignResult
from asiarc.core.recipe import StageName, reference_seeds
from asiarc.search.estimate import posterior
from asiarc.search.policies import POLICIES
from asiarc.search.policies.bayes import screened_on
from asiarc.search.policies.paper import PaperPolicy
from asiarc.search.protocol import Board, Evaluation, Policy, Traits
from asiarc.tasks import get_task

EXPLORE: StageName = "explore"
_SCORED = """
    SELECT t.address, t.task, t.seed, t.steps, t.value FROM uses u JOIN trials t ON t.key = u.trial
    WHERE u.run = ? AND u.stage = 'explore' AND t.outcome = 'scored' AND t.task IN (SELECT value FROM json_each(?))
"""


@dataclass(frozen=True)
class Leading:
    """The candidate that the policy names first, and its gain over start_from.

    `sd` is that of the estimate, shrunken for having been chosen; None where the policy reports what it measured.
    """

    address: str
    gain: float
    sd: float | None
    trials: int


def leading(result: CampaignResult) -> Leading | None:
    """Who leads a run's explore; None where nothing was scored."""
    addresses = [
        (row["address"], bool(row["holds"]))
        for row in result.archive.rows(
            "SELECT address, holds FROM results WHERE run = ? AND outcome = 'scored' ORDER BY number", result.run
        )
    ]
    if not addresses:
        return None
    board = _board(result, addresses)
    name = result.spec["policy"]
    policy: Policy = PaperPolicy(band=None) if name == "paper" else POLICIES[name]()
    named = policy.recommend(board) if board.counts.any() else []
    if not named:
        return None
    best, known = named[0], posterior(board, screened_on(policy, board))
    is_estimate = abs(known.mean[best.candidate] - best.estimate) < 1e-9
    sd = float(known.sd[best.candidate]) if is_estimate else None
    trials = int(board.counts[best.candidate].sum())
    return Leading(addresses[best.candidate - 1][0], best.estimate, sd, trials)


def _board(result: CampaignResult, addresses: list[tuple[str, bool]]) -> Board:
    """What was observed of some candidates, each with whether it holds its capabilities; the budget plays no part."""
    found = result.archive.run(result.run)
    assert found is not None, result.run
    identity = found["identity"]
    rungs: list[int] = identity["plans"][EXPLORE]["rungs"]
    board = Board(tuple(steps / rungs[-1] for steps in rungs), 0.0, len(addresses), None)
    seeds = reference_seeds(result.spec[EXPLORE]["seeds"], identity["plans"][EXPLORE]["most_seeds"])
    gains = _gains(result, rungs, identity["baselines"][result.spec["start_from"]], seeds)
    for address, holds in addresses:
        i = board.enter(Traits())
        board.fit[i] = holds
        for rung in range(len(rungs)):
            for seed, gain in enumerate(gains[address][rung]):
                board.observe(Evaluation(i, rung, seed), gain)
    return board


def _gains(
    result: CampaignResult, rungs: list[int], start: str, seeds: int
) -> defaultdict[str, defaultdict[int, list[float]]]:
    """Address to rung to the gain of each seed over start_from's mean on its first seeds there, the mean over what
    decides, where all of that was scored."""
    deciding = result.ranking_tasks(EXPLORE)
    values: dict[tuple[str, int, str], dict[str, float]] = defaultdict(dict)
    for address, rung, seed, task, value in _values(result, rungs, deciding):
        values[address, rung, seed][task] = value
    signs = {task: 1 if get_task(task).higher_is_better else -1 for task in deciding}
    reference: dict[int, list[float]] = defaultdict(list)
    whole = [(where, _mean_of(scores, signs)) for where, scores in sorted(values.items()) if len(scores) == len(signs)]
    for (address, rung, seed), score in whole:
        if address == start and int(seed.rpartition("/")[2]) < seeds:
            reference[rung].append(score)
    found: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (address, rung, _), score in whole:
        if reference[rung]:
            found[address][rung].append(score - fmean(reference[rung]))
    return found


def _mean_of(scores: dict[str, float], signs: dict[str, int]) -> float:
    """The mean over what decides, each with the sign by which more is better."""
    return fmean(signs[task] * score for task, score in scores.items())


def _values(result: CampaignResult, rungs: list[int], tasks: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Scored values with their rung; a synthetic task's training is the same on each, and told by the last."""
    for row in result.archive.rows(_SCORED, result.run, json.dumps(tasks)):
        rung = rungs.index(row["steps"]) if row["steps"] in rungs else len(rungs) - 1
        yield row["address"], rung, row["seed"], row["task"], row["value"]

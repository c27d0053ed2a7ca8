"""Which model is asked next: a bandit that weighs what proposals came to against what they cost.

UCB1 (Auer et al. 2002) over the reward of a proposal (0: nothing that trains; 1/2: trained; 1: ahead of its parent),
divided by the model's price relative to the cheapest, to the power `COST`. Models are asked once each first, in the
declared order; ties go to the earlier one. No draw is involved, so a replay chooses alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import Any

from asiarc.archive.gains import Gain, Gains
from asiarc.core.proposal import Tried
from asiarc.llm.ledger import NANO, Price

COST = 0.5  # 0: price does not matter; 1: reward a dollar


def choose(models: Sequence[str], tried: Sequence[Tried]) -> str:
    """The model to ask next."""
    known = {record.model: record for record in tried if record.asked}
    fresh = [model for model in models if model not in known]
    if fresh:
        return fresh[0]
    prices = {model: known[model].usd / known[model].asked for model in models}
    cheapest = min((price for price in prices.values() if price > 0), default=0.0)
    total = sum(known[model].asked for model in models)

    def index(model: str) -> float:
        record = known[model]
        mean = record.reward / record.ended if record.ended else 0.5
        bound = mean + sqrt(2 * log(total) / record.asked)
        return float(bound / max(1.0, prices[model] / cheapest) ** COST if cheapest else bound)

    return max(models, key=lambda model: (index(model), -models.index(model)))


def records(
    asked: Sequence[Mapping[str, Any]],
    proposals: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    prices: Mapping[str, Price],
    gains: Gains,
    start: str,
) -> tuple[Tried, ...]:
    """What each model's proposals came to, from a run's rows of the archive and its annex, and its gains.

    `start` stands for a parent that has no numbers; where no rung is shared with the parent, the proposal has trained.
    """
    scored = {row["address"] for row in results if row["gain"] is not None}
    parent_of = {row["number"]: next((p for p in row["parents"][:1] if p in scored), start) for row in proposals}
    model_of: dict[int, str] = {}
    nano: dict[str, int] = defaultdict(int)
    for row in asked:
        if row["role"] != "researcher":
            continue
        number = int(row["place"].split()[0])
        if number in parent_of:  # one that is still being made counts later
            model_of.setdefault(number, row["model"])
            nano[row["model"]] += prices[row["model"]].nano_usd(row["prompt_tokens"], row["completion_tokens"])
    ended = {row["number"]: row for row in results}
    found = []
    for model in sorted(set(model_of.values())):
        numbers = [number for number in model_of if model_of[number] == model]
        rewards = [
            0.0 if ended[n]["gain"] is None else 0.5 + 0.5 * _is_ahead(gains.over(ended[n]["address"], parent_of[n]))
            for n in numbers
            if n in ended
        ]
        found.append(
            Tried(model=model, asked=len(numbers), ended=len(rewards), reward=sum(rewards), usd=nano[model] / NANO)
        )
    return tuple(found)


def _is_ahead(gain: Gain | None) -> bool:
    return gain is not None and gain.mean > 0

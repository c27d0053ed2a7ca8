"""What a campaign's language models will be asked, and cost, at most: for ``--plan``, before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asiarc.analyst.explaining import REPLY_TOKENS as ANALYST_TOKENS
from asiarc.analyst.marking import REPLY_TOKENS as JUDGE_TOKENS
from asiarc.cognition.base import shipped

if TYPE_CHECKING:
    from asiarc.campaign.declaration import Models

CHECK_TOKENS = 500
TEXT_TOKENS = 1000  # of a text that is embedded; motivations and entries are shorter


def estimate(models: Models, candidates: int, *, checks_motivations: bool) -> tuple[int, float]:
    """(calls, US dollars) of a search over some candidates when every reply is usable, new and admitted at once.

    Prompts are taken at their full budget and replies at their limit, so that the money is an upper bound of such a
    search; repairs, redraws and revisions come on top, and the campaign's cap holds in any case. Embedded are each
    motivation and each query, and every entry of the cognition base once.
    """

    def usd(name: str, reply_tokens: int) -> float:
        prompt, reply = models.prices[name]
        return (prompt * models.context_tokens + reply * reply_tokens) / 1e6

    per_candidate = [max(usd(name, models.reply_tokens) for name in models.researcher)] if models.researcher else []
    if checks_motivations and models.checker:
        per_candidate.append(usd(models.checker, CHECK_TOKENS))
    if models.analyst:
        per_candidate.append(usd(models.analyst, ANALYST_TOKENS))
    if models.judge:
        per_candidate += [usd(models.judge, JUDGE_TOKENS)] * models.judge_samples
    texts = candidates * (1 + checks_motivations) + len(shipped()) if models.embedding else 0
    embedding = texts * TEXT_TOKENS * models.prices[models.embedding][0] / 1e6 if models.embedding else 0.0
    return candidates * len(per_candidate) + texts, candidates * sum(per_candidate) + embedding

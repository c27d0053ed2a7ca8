"""Where in its texts a model loses bits: by position, and by whether a token's context stood before in the same text.

The referee keeps these sums of the log-probabilities that were streamed to it; nothing in them is the candidate's word.
Positions fall in bins [0, 8), [8, 16), [16, 32), ... of the text as it was read. Axes: T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asiarc.tasks.recurring import NOVELTIES, ORDER, TOKEN_ORDER, novelty

FIRST_BIN = 8
Scored = Callable[[NDArray[np.int64]], NDArray[np.bool_] | None]  # as `Task.scored`


@dataclass(frozen=True)
class Streamed:
    """One window of a text: the tokens that were due, and the natural log-probability that each was given."""

    document: int
    tokens_T: NDArray[np.int64]  # noqa: N815
    log_p_T: NDArray[np.float64]  # noqa: N815


def everything(tokens_T: NDArray[np.int64]) -> None:
    """Every token."""


def _mask(window: Streamed, scored: Scored) -> NDArray[np.bool_]:
    is_due_T = scored(window.tokens_T)
    return np.ones(len(window.tokens_T), dtype=bool) if is_due_T is None else is_due_T


def summed(windows: Sequence[Streamed], *, of_bytes: bool, counted: Scored = everything) -> dict[str, Any]:
    """Sums of bits with their counts: by the beginning of a bin of positions, and by novelty; of the tokens that are
    `counted`.

    ``uninformed`` is what each token of these texts would cost who knows how often it occurs in them and reads nothing:
    their entropy, in bits a token.
    """
    order = ORDER if of_bytes else TOKEN_ORDER
    counts_N = np.concatenate([_mask(window, counted) for window in windows])
    tokens_N = np.concatenate([window.tokens_T for window in windows])[counts_N]
    bits_N = np.concatenate([-window.log_p_T / math.log(2) for window in windows])[counts_N]
    bins_N = np.concatenate([bins(len(window.tokens_T)) for window in windows])[counts_N]
    novelty_N = np.concatenate([novelty(window.tokens_T, order) for window in windows])[counts_N]
    return {
        "positions": [[begin, *_sum(bits_N[bins_N == begin])] for begin in np.unique(bins_N).tolist()],
        "novelty": {name: _sum(bits_N[novelty_N == place]) for place, name in enumerate(NOVELTIES)},
        "uninformed": entropy(tokens_N),
    }


def _sum(bits_N: NDArray[np.float64]) -> list[float]:
    return [len(bits_N), float(bits_N.sum())]


def bins(length: int) -> NDArray[np.int64]:
    """The beginning of the bin that each position is in: 0, then 8 and its doubles."""
    position_T = np.arange(length)
    return np.where(position_T < FIRST_BIN, 0, 2 ** np.floor(np.log2(np.maximum(position_T, 1))).astype(np.int64))


def entropy(tokens_N: NDArray[np.int64]) -> float:
    """Bits a token of their frequencies, -sum p log2 p; 0 of none."""
    counts = np.unique(tokens_N, return_counts=True)[1]
    share = counts / max(1, len(tokens_N))
    return float(-(share * np.log2(share)).sum())


def of_part(windows: Iterable[Streamed], scored: Scored) -> tuple[float, list[dict[str, Any]], float]:
    """Of the tokens that a task scores: bits a token, each document's (log-likelihood, tokens), and their entropy.

    Documents without such a token have no item; with none in any of them it is an error of whoever made the task.
    """
    sums: dict[int, list[float]] = {}
    due = []
    for window in windows:
        is_due_T = _mask(window, scored)
        if is_due_T.any():
            item = sums.setdefault(window.document, [0.0, 0.0])
            item[0] += float(window.log_p_T[is_due_T].sum())
            item[1] += int(is_due_T.sum())
            due.append(window.tokens_T[is_due_T])
    assert sums, "no token of the documents is scored"
    logs, counts = (math.fsum(column) for column in zip(*sums.values(), strict=True))
    items = [{"document": place, "value": item} for place, item in sorted(sums.items())]
    return -logs / counts / math.log(2), items, entropy(np.concatenate(due))

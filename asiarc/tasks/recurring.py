"""Which tokens of a text a memory could know: those whose last k tokens stood before in the same text, and far back.

Decided from the text alone, so that it is the same for every model. Axes: T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Novelty = Literal["new", "near", "recurring", "diverging"]
NOVELTIES: tuple[Novelty, ...] = get_args(Novelty)
ORDER = 5  # bytes that must have stood before: a word's beginning with the blank before it
TOKEN_ORDER = 2  # the same in tokens that are pieces of words
FAR = 40  # tokens back from which on a place counts as remembered: two layers of the widest control reach 37


def novelty(tokens_T: Iterable[int], order: int = ORDER) -> NDArray[np.uint8]:
    """For each token its place in `NOVELTIES`, by the `order` tokens x_{t-k..t-1} before it.

    new: they stood nowhere earlier in the text (or are fewer). near, recurring: they did, and there this token
    followed, the last time fewer than `FAR` tokens ago or more. diverging: they did, and never did this token follow.
    """
    tokens = [int(token) for token in tokens_T]
    followed: dict[tuple[int, ...], dict[int, int]] = {}  # by what stood before: the last place of each that followed
    found_T = np.zeros(len(tokens), dtype=np.uint8)
    for t in range(order, len(tokens)):
        known = followed.setdefault(tuple(tokens[t - order : t]), {})
        if known:
            found_T[t] = NOVELTIES.index(_seen(known.get(tokens[t]), t))
        known[tokens[t]] = t
    return found_T


def _seen(last: int | None, t: int) -> Novelty:
    if last is None:
        return "diverging"
    return "near" if t - last < FAR else "recurring"


def is_recurring(tokens_T: Iterable[int], order: int = ORDER) -> NDArray[np.bool_]:
    """Where `novelty` is recurring."""
    return novelty(tokens_T, order) == NOVELTIES.index("recurring")

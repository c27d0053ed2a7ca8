"""A generator of one's own as a task, and what must hold of it before anything is trained on it.

Axes as in `asiarc.tasks.task`: B rows, T positions.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asiarc.core.digest import digest
from asiarc.core.errors import TaskError
from asiarc.core.reach import installed
from asiarc.core.seeds import Part, seed_of
from asiarc.tasks import BOS, IGNORE
from asiarc.tasks.catalogue import BASE
from asiarc.tasks.declared import DeclaredTask
from asiarc.tasks.lm_eval_config import template
from asiarc.tasks.source import kept, told_at
from asiarc.tasks.task import STOPS, Batch, Document, Split, SyntheticTask, text_of

Ints = NDArray[np.int64]
LONGEST = 8_192  # positions of a row
DRAWN = 1_024  # rows that are looked at
SHARED = 0.5  # of the held-out rows may be found among the training ones
SURE = 4.0  # standard deviations
ANSWERED = 0.9  # of the rows, at least, ask for something
ROOTS = tuple(f"asiarc.tasks.own:OwnTask.{method}" for method in ("batch", "documents", "choices"))


class OwnTask(SyntheticTask):
    """A generator that was kept under a key, or (`declared`) one that is not kept yet."""

    def __init__(self, key: str, level: str, declared: DeclaredTask | None = None) -> None:
        self.declared = (declared or kept(key)).at(level)
        super().__init__(f"own:{key}", level, self.declared.listing)
        self.kind = "synthetic"

    @cached_property
    def seq_len(self) -> int:  # noqa: D102
        return self._drawn(np.random.default_rng(0), 1)[0].shape[1]

    @cached_property
    def choices(self) -> list[str]:
        """The characters that an answer is chosen among; none where it is whatever a model would say first."""
        return list(self.declared.choices)

    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:  # noqa: D102
        if seq_len is not None and seq_len != self.seq_len:
            raise TaskError(f"{self.name} has {self.seq_len} positions, not {seq_len}: declare a level of that length")
        return Batch(*self._drawn(self._rng(split, address), count))

    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """As of any synthetic task; where every character is due, whole rows to roll over."""
        if self.style != "rolling":
            return super().documents(split, count, *address)
        return [{"text": text_of(row_T), "section": ""} for row_T in self.batch(split, count, *address).targets_BT]

    @cached_property
    def identity(self) -> str:
        """As of any task; what the generator rests on is in its key."""
        code = installed().reach(ROOTS, {*STOPS, "asiarc.tasks.source"}).whole
        return digest([code, self.base, dict(self.settings), self.choices, template(self.style)])[:12]

    def _drawn(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        with told_at(str(self.declared.file), self.declared.name, self.declared.line):
            inputs_BT, targets_BT = self.declared.generator(rng, count, **self.settings)
        return np.asarray(inputs_BT).astype(np.int64), np.asarray(targets_BT).astype(np.int64)


def check(declared: DeclaredTask) -> None:
    """Raise `TaskError` for the first rule that a generator breaks at one of its levels; it runs some twenty times."""
    for level in declared.listing.levels:
        at = declared.at(level)
        for rule in RULES:
            problem = rule(at)
            if problem:
                where = f"{declared.file}:{declared.line}: {declared.name}"
                raise TaskError(where + (f" at level {level!r}" if level != BASE else "") + f": {problem}")


_checked: set[str] = set()


def check_once(key: str, declared: DeclaredTask) -> None:
    """`check`, for a process that meets a task again and again. Raises `TaskError`."""
    if key not in _checked:
        check(declared)
        _checked.add(key)


def _raw(declared: DeclaredTask, count: int, seed: int) -> Any:
    with told_at(str(declared.file), declared.name, declared.line):
        return declared.generator(np.random.default_rng(seed), count, **declared.settings)


def _pair(declared: DeclaredTask, count: int, *address: Part) -> tuple[Ints, Ints]:
    inputs_BT, targets_BT = _raw(declared, count, seed_of("check", *address))
    return np.asarray(inputs_BT).astype(np.int64), np.asarray(targets_BT).astype(np.int64)


def shapes(declared: DeclaredTask) -> str:
    """Two integer arrays [count, T], the same T for any count."""
    lengths = set()
    for count in (3, 1, 64):
        pair = _raw(declared, count, seed_of("check", "shapes"))
        if not isinstance(pair, tuple) or len(pair) != 2:
            return f"it returns a {type(pair).__name__}, not a pair (inputs_BT, targets_BT)"
        for name, array in zip(("inputs_BT", "targets_BT"), pair, strict=True):
            if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
                return f"{name} is {getattr(array, 'dtype', type(array).__name__)}, not an array of integers"
            if array.ndim != 2 or len(array) != count:
                return f"{name} has the shape {array.shape} where {count} rows were asked for: [count, T] is due"
        if pair[0].shape != pair[1].shape:
            return f"inputs_BT is {pair[0].shape} and targets_BT {pair[1].shape}: they are of one shape"
        lengths.add(pair[0].shape[1])
    if len(lengths) > 1:
        return f"rows have {sorted(lengths)} positions for different counts: all rows have one length"
    return "" if 2 <= max(lengths) <= LONGEST else f"rows have {max(lengths)} positions: 2 to {LONGEST} are allowed"


def tokens(declared: DeclaredTask) -> str:
    """BOS opens every row and stands nowhere else; the rest is ASCII, targets too where anything is due."""
    inputs_BT, targets_BT = _pair(declared, DRAWN, "tokens")
    if (inputs_BT[:, 0] != BOS).any():
        return f"inputs_BT[:, 0] holds {_first(inputs_BT[:, 0], BOS)}: every row opens with {BOS} (BOS)"
    if _outside(inputs_BT[:, 1:]):
        return f"inputs_BT holds {_outside(inputs_BT[:, 1:])[0]} after the first position: 1 to 127 (ASCII) are allowed"
    due_N = targets_BT[targets_BT != IGNORE]
    if _outside(due_N):
        return f"targets_BT holds {_outside(due_N)[0]}: 1 to 127 (ASCII) are allowed, and {IGNORE} where nothing is due"
    share = (targets_BT != IGNORE).any(axis=1).mean()
    if share < ANSWERED:
        return f"only {share:.0%} of the rows ask for anything: {ANSWERED:.0%} at least must"
    unknown = sorted({chr(code) for code in np.unique(due_N)} - set(declared.choices)) if declared.choices else []
    return f"an answer is {unknown[0]!r}, which is none of choices={''.join(declared.choices)!r}" if unknown else ""


def same_again(declared: DeclaredTask) -> str:
    """Equal generators give equal rows, whatever else happened; other ones give others."""
    first = _pair(declared, 16, "again")
    random.seed(1)
    np.random.seed(1)  # what a generator must not use
    second = _pair(declared, 16, "again")
    _pair(declared, 5, "between")
    third = _pair(declared, 16, "again")
    if any((a != b).any() for other in (second, third) for a, b in zip(first, other, strict=True)):
        return "the same seed gives other rows the second time: all that is random must come from rng, and nothing kept"
    if all((a == b).all() for a, b in zip(first, _pair(declared, 16, "another"), strict=True)):
        return "another seed gives the same rows: draw from rng"
    return ""


def splits_differ(declared: DeclaredTask) -> str:
    """What is held out is not what was trained on."""
    known = {row_T.tobytes() for row_T in _pair(declared, 2 * DRAWN, "train")[0]}
    held_BT = _pair(declared, DRAWN, "held out")[0]
    share = sum(row_T.tobytes() in known for row_T in held_BT) / len(held_BT)
    if share > SHARED:
        return (
            f"{share:.0%} of the held-out rows are among {2 * DRAWN:,} training rows, which a model could learn by "
            "heart: draw from more"
        )
    return ""


def not_told(declared: DeclaredTask) -> str:
    """The target at position t is what follows t characters, not the character that is read there."""
    inputs_BT, targets_BT = _pair(declared, DRAWN, "told")
    due_BT = targets_BT != IGNORE
    if (inputs_BT[due_BT] == targets_BT[due_BT]).all():
        return (
            "every target stands in the inputs at its own position, where it has been read already: shift it, so that "
            "targets_BT[:, t] is due after t characters"
        )
    if declared.chance is None and ((~due_BT).any() or (targets_BT[:, :-1] != inputs_BT[:, 1:]).any()):
        return "bits_per_byte are of whole rows: targets_BT[:, t] must be inputs_BT[:, t + 1], and none is left out"
    return ""


def chance_holds(declared: DeclaredTask) -> str:
    """Nobody who reads nothing is right more often than `chance` says."""
    if declared.chance is None:
        return ""
    best: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for position, answer in _asked(declared, "learnt"):
        best[position][answer] += 1
    says = {position: answers.most_common(1)[0][0] for position, answers in best.items()}
    asked = _asked(declared, "guessed")
    hits = sum(says.get(position) == answer for position, answer in asked)
    n, chance = len(asked), declared.chance
    if hits > n * chance + SURE * math.sqrt(n * chance * (1 - chance)):
        return (
            f"who reads nothing and says what is most frequent at a position is right in {hits / n:.1%} of {n:,} "
            f"cases, more than chance={chance:g} says: declare what the best such reader reaches"
        )
    return ""


def _asked(declared: DeclaredTask, purpose: str) -> list[tuple[int, int]]:
    """Position and answer of one place a row, as documents ask."""
    _, targets_BT = _pair(declared, 4 * DRAWN, purpose)
    rng = np.random.default_rng(seed_of("check", purpose, "places"))
    places = [(row_T, np.flatnonzero(row_T != IGNORE)) for row_T in targets_BT]
    chosen = [(row_T, int(rng.choice(due))) for row_T, due in places if len(due)]
    return [(position, int(row_T[position])) for row_T, position in chosen]


def _outside(codes: Ints) -> list[int]:
    return [int(code) for code in np.unique(codes) if not 1 <= code <= 127]


def _first(codes: Ints, but: int) -> int:
    return int(codes[codes != but][0])


RULES: tuple[Callable[[DeclaredTask], str], ...] = (
    shapes, tokens, same_again, splits_differ, not_told, chance_holds,
)  # fmt: skip

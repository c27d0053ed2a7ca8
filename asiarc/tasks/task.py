"""A task in use: batches for training, documents for lm-eval, and what identifies both.

Every draw is seeded by its address, so the same address gives the same batch on every machine, and the splits
share none. Axes: B rows, T positions; inputs open with BOS, and the target at position t is what should
follow t characters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from asiarc.core.digest import digest
from asiarc.core.errors import TaskError
from asiarc.core.reach import Code, installed
from asiarc.core.seeds import Part, seed_of
from asiarc.tasks import BOS, IGNORE, SPLITS, is_key
from asiarc.tasks.catalogue import BASE, CATALOGUE, Kind, Listing, Settings, Shown, Style, Training
from asiarc.tasks.corpus import Corpus, code_corpus, docstring_corpus, fineweb_edu_corpus, kept_corpus, path_corpus
from asiarc.tasks.lm_eval_config import lm_eval_config, template
from asiarc.tasks.recurring import is_recurring
from asiarc.tasks.synthetic import GENERATORS, choices

Split = Literal["train", "validation", "confirmation"]
Document = dict[str, Any]

DOCUMENT_BYTES = 512
STOPS = (  # what is every task's, and what says what a person did wrong
    "asiarc.tasks.catalogue:CATALOGUE",
    "asiarc.tasks.catalogue:ALIASES",
    "asiarc.tasks.synthetic:GENERATORS",
    "asiarc.tasks.task:Task.identity",
    "asiarc.tasks.tokens:TokenTask.identity",
    "asiarc.core.errors",
)


@dataclass(frozen=True, eq=False)
class Batch:
    """``inputs_BT`` and ``targets_BT``, int64; a target of -100 is not scored."""

    inputs_BT: NDArray[np.int64]  # noqa: N815
    targets_BT: NDArray[np.int64]  # noqa: N815


class Task(ABC):
    """A task at one level of difficulty; made by `asiarc.tasks.get_task`.

    ``name`` is the canonical name, ``chance`` the accuracy of the best reader who never looks (None for
    text), ``levels`` the difficulty table, ``training`` a model and budget that suit it, ``decides`` whether
    its score may rank mixers (``role`` says what else it is for), ``held_out`` how many documents a split has (None
    where they are made as they are asked for, or are text), ``trained_on`` the text that models are trained on where
    the task brings nothing to train on.
    """

    held_out: int | None = None
    trained_on = ""
    trains_on_answers = False  # a text of which only answers are targets

    def __init__(self, base: str, level: str, entry: Listing | None = None) -> None:
        entry = entry or CATALOGUE[base]
        self.base = base
        self.level = level
        self.name = base if level == BASE else f"{base}:{level}"
        self.kind: Kind = entry.kind
        self.metric = "bits_per_byte" if entry.style == "rolling" else "accuracy"
        self.higher_is_better = self.metric == "accuracy"
        self.summary = entry.summary
        self.source = entry.source
        self.role = entry.role
        self.decides = entry.role == "decides"
        self.style: Style = entry.style
        self.levels = entry.levels
        self.settings: Settings = entry.levels.get(level, entry.levels[BASE])
        self.training: Training = entry.training
        self.chance = None if entry.chance is None else entry.chance(self.settings)
        self.validity = entry.validity

    def __repr__(self) -> str:
        return f"get_task({self.name!r})"

    @property
    @abstractmethod
    def seq_len(self) -> int:
        """Positions of an input, BOS included."""

    def read_length(self, trained: int) -> int:
        """Positions that are read at once when it is scored: as many as were trained, unless the level says more."""
        return int(self.settings.get("reads", trained))

    def row_length(self, recipe: int) -> int:
        """Positions of a row that it is trained on: a recipe's, or more where the level says so."""
        return max(recipe, int(self.settings.get("row", 0)))

    def scored(self, tokens_T: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which tokens of a text its score is of; None for all."""
        order = self.settings.get("recurring")
        return None if order is None else is_recurring(tokens_T, int(order))

    @property
    def shown(self) -> Shown | None:
        """Where this level was shown to measure memory; None where it was not."""
        return self.validity.shown.get(self.level)

    def keep(self) -> None:  # noqa: B027 - most need nothing
        """Make what jobs open beside the corpus, where it is not kept yet. Raises `TaskError`."""

    @property
    def travels(self) -> tuple[str, ...]:
        """The folders of the cache, named by what they hold, that `keep` fills and jobs on other machines need."""
        return ()

    @property
    @abstractmethod
    def content_hash(self) -> str | None:
        """The hash of the corpus, or None where the task generates its own."""

    @abstractmethod
    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:
        """``count`` rows of ``split`` for an address; ``seq_len`` other than the task's own where the task
        can.

        Raises `TaskError` where a length cannot be had.
        """

    @abstractmethod
    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """Up to ``count`` documents of ``split`` as lm-eval reads them (see `lm_eval_config`)."""

    @cached_property
    def identity(self) -> str:
        """A short hash of everything that determines the bytes and how they are asked: the code that is reached, the
        settings, the corpus, lm-eval's template.
        """
        parts = [_code(self.base), self.base, dict(self.settings), self.content_hash, template(self.style)]
        return digest(parts)[:12]

    def lm_eval_config(self, data_file: str) -> dict[str, Any]:
        """A complete lm-eval 0.4.13 task over documents written to ``data_file``, one JSON object a line."""
        return lm_eval_config(self.name, self.style, self.identity, data_file)

    def _rng(self, split: Split, address: tuple[Part, ...]) -> np.random.Generator:
        assert split in SPLITS, f"no split {split!r}: {', '.join(SPLITS)}"
        name = self.name if self.content_hash is None else self.base
        return np.random.Generator(np.random.PCG64(seed_of("task", name, split, *address)))


class SyntheticTask(Task):
    """A generator of `asiarc.tasks.synthetic` with the settings of one level."""

    content_hash = None

    @cached_property
    def seq_len(self) -> int:  # noqa: D102
        return GENERATORS[self.base](np.random.default_rng(0), 1, **self.settings)[0].shape[1]

    @cached_property
    def choices(self) -> list[str]:
        """Every answer that can be due at a position."""
        return choices(self.base, self.settings)

    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:  # noqa: D102
        settings = dict(self.settings)
        if seq_len is not None and seq_len != self.seq_len:
            if "length" not in settings:
                raise TaskError(
                    f"{self.name} has {self.seq_len} positions, not {seq_len}: its length follows from "
                    f"{dict(self.settings)}. Choose a level instead: {', '.join(self.levels)}."
                )
            settings["length"] = seq_len
        return Batch(*GENERATORS[self.base](self._rng(split, address), count, **settings))

    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """One document a row of the batch at the same address, asking at one of the row's answers.

        ``context`` is what is read, ``target`` what is due; for multiple choice ``choices`` and the index
        ``answer``, for cloze the target runs on as long as the answer does. A row without an answer gives no
        document.
        """
        batch = self.batch(split, count, *address)
        rng = self._rng(split, (*address, "documents"))
        rows = zip(batch.inputs_BT, batch.targets_BT, strict=True)
        return [document for row in rows if (document := self._document(rng, *row)) is not None]

    def _document(
        self, rng: np.random.Generator, inputs_T: NDArray[np.int64], targets_T: NDArray[np.int64]
    ) -> Document | None:
        is_answer_T = targets_T != IGNORE
        starts = is_answer_T.copy()
        if self.style == "cloze":
            starts[1:] &= ~is_answer_T[:-1]
        if not starts.any():
            return None
        start = stop = int(rng.choice(np.flatnonzero(starts)))
        while self.style == "cloze" and stop + 1 < len(is_answer_T) and is_answer_T[stop + 1]:
            stop += 1
        document = {"context": text_of(inputs_T[1 : start + 1]), "target": text_of(targets_T[start : stop + 1])}
        if self.style == "cloze":
            return document
        return document | {"choices": self.choices, "answer": self.choices.index(document["target"])}


class TextTask(Task):
    """Byte-level language modelling; a path or a key as the level names the user's own text."""

    @cached_property
    def corpus(self) -> Corpus:
        """The text; built on first use, then read from the cache. Raises `TaskError`."""
        if self.base == "fineweb-edu":
            return fineweb_edu_corpus(int(self.settings["megabytes"]))
        if self.base == "code":
            return code_corpus()
        if self.level in self.levels:
            return docstring_corpus()
        return kept_corpus(self.level) if is_key(self.level) else path_corpus(self.level)

    @property
    def content_hash(self) -> str:  # noqa: D102
        return self.corpus.content_hash

    @property
    def seq_len(self) -> int:  # noqa: D102
        return int(self.settings["length"])

    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:
        """Windows at random places of the split; every byte of a window is a target. Raises `TaskError`."""
        length = seq_len or self.seq_len
        rng, text_N = self._rng(split, address), self.corpus.texts[split]
        if length > len(text_N):
            raise TaskError(f"{self.name} has {len(text_N)} bytes for {split}, fewer than a window of {length}.")
        starts_B1 = rng.integers(len(text_N) - length + 1, size=(count, 1))
        targets_BT = text_N[starts_B1 + np.arange(length)].astype(np.int64)
        inputs_BT = np.concatenate([np.full((count, 1), BOS), targets_BT[:, :-1]], axis=1)
        return Batch(inputs_BT, targets_BT)

    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """Up to ``count`` distinct windows of 512 bytes, or of what is read at once where that is more; none reaches
        over the end of its section.

        ``text`` is the window (a character cut in two at its edge is left out), ``section`` where it comes
        from.
        """
        size = max(DOCUMENT_BYTES, self.row_length(1), self.read_length(1))
        windows = [
            (name, start)
            for name, begin, end in self.corpus.sections[split]
            for start in range(begin, end - size + 1, size)
        ]
        chosen = self._rng(split, (*address, "documents")).permutation(len(windows))[:count]
        text_N = self.corpus.texts[split]

        def text(start: int) -> str:
            return text_N[start : start + size].tobytes().decode("utf-8", errors="ignore")

        return [{"text": text(start), "section": name} for name, start in (windows[i] for i in chosen)]


@cache
def _code(base: str, code: Code | None = None) -> str:
    """The digest of what a task's batches, documents and scoring rest on; the other tasks' generators do not count."""
    from asiarc.tasks.synthetic import GENERATORS

    kind = "TextTask" if CATALOGUE[base].kind == "text" else "SyntheticTask"
    methods = (f"{kind}.batch", f"{kind}.documents", "Task.lm_eval_config", "Task.scored")
    roots = [f"asiarc.tasks.task:{method}" for method in methods]
    if base == "mixed":
        roots += [f"asiarc.tasks.mixed:MixedTask.{method}" for method in ("batch", "documents", "scored")]
    if base in GENERATORS:
        roots.append(f"{GENERATORS[base].__module__}:{GENERATORS[base].__name__}")
    return (code or installed()).reach(roots, STOPS).whole


def text_of(codes: NDArray[np.int64]) -> str:
    """Codes as the characters that they are."""
    return codes.astype(np.uint8).tobytes().decode("ascii")

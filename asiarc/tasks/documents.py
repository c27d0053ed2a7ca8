"""A task whose documents are given: dealt once into what may be trained on and what is held out, kept by content.

Trained is what its training split says, example after example; where it has none, the campaign's first text is, with
that text's own batches. Axes: B rows, T positions, N bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property, lru_cache
from typing import Any, get_args

import numpy as np

from asiarc.core.digest import digest
from asiarc.core.errors import TaskError
from asiarc.core.reach import installed
from asiarc.core.seeds import Part
from asiarc.tasks import get_task
from asiarc.tasks.catalogue import BASE, DOCUMENTS, TEXT, Listing, Role, Style
from asiarc.tasks.keep import OPEN, as_json, gone, keep_files, own_folder, read_kept
from asiarc.tasks.lm_eval_config import template
from asiarc.tasks.rendering import Document, Rendered
from asiarc.tasks.task import STOPS, Batch, Split, Task
from asiarc.tasks.tokenizer import key_of, tokenizer_of, travels_with

HELD_OUT = ("validation", "confirmation")
FEWEST = 8  # documents of a held-out split
LENGTH = 128  # positions of a training row, where a recipe names none
ROOTS = tuple(f"asiarc.tasks.documents:DocumentsTask.{method}" for method in ("batch", "documents"))


def keep_documents(found: Rendered, text: str) -> str:
    """Deal and keep a task's documents, with what is trained: its own training split, or the task `text`; its key.

    Held-out documents that repeat count once, and what is among them is not trained on. Raises `TaskError`.
    """
    held = _dealt(found)
    asked = {_whole(document) for some in held.values() for document in some}
    train = [example for document in found.splits["training"] if (example := _whole(document)) not in asked]
    if not train and not text:
        raise TaskError(
            f"{found.name} has no training split, and the campaign no text to train on: add 'text' to its tasks, or "
            "name a training_split"
        )
    chance = None if found.style == "rolling" else (found.chance or _chance(held))
    record = {
        "name": found.name, "style": found.style, "role": found.role, "chance": chance, "train": train,
        "text": "" if train else text, "held": {split: [len(some), digest(some)] for split, some in held.items()},
    }  # fmt: skip
    slug = re.sub(r"[^a-z0-9]+", "_", found.name.lower()).strip("_")[:24] or "task"
    key = f"{slug}-{digest(record)}"
    if not own_folder(key).is_dir():
        keep_files(own_folder(key), {OPEN: as_json(record)} | {f"{s}.json": as_json(some) for s, some in held.items()})
    return key


def _dealt(found: Rendered) -> dict[str, list[Document]]:
    """Validation and test as lm-eval has them; where it has one of the two, halves of it, by its documents' hashes."""
    splits = {name: list({digest(one): one for one in some}.values()) for name, some in found.splits.items()}
    first, second = splits["validation"], splits["test"]
    if not (first and second):
        in_order = sorted(first or second, key=digest)
        first, second = in_order[::2], in_order[1::2]
    known = set(map(digest, first))
    held = dict(zip(HELD_OUT, (first, [one for one in second if digest(one) not in known]), strict=True))
    for split, some in held.items():
        if len(some) < FEWEST:
            raise TaskError(
                f"{found.name}: {len(some)} documents without repetitions are left for {split}, fewer than {FEWEST}"
            )
    return held


def _whole(document: Document) -> str:
    return str(document.get("text") or document.get("context", "") + document.get("target", ""))


def _chance(held: dict[str, list[Document]]) -> float:
    """The accuracy of the best reader who reads nothing: always the same choice, or one at random; always one text."""
    documents = [one for some in held.values() for one in some]
    same = max(Counter(one.get("answer", one["target"]) for one in documents).values()) / len(documents)
    drawn = sum(1 / len(one["choices"]) for one in documents if "choices" in one) / len(documents)
    return min(max(same, drawn), 1 - 1e-9)


@lru_cache(maxsize=64)
def _record(key: str) -> dict[str, Any]:
    record: dict[str, Any] = read_kept(key, OPEN)
    if key.rpartition("-")[2] != digest(record):
        raise gone(key)
    return record


class DocumentsTask(Task):
    """Documents that were kept under a key."""

    def __init__(self, key: str, tokenizer: str = "bytes") -> None:
        self.key, self.record, self.tokenizer_name = key, _record(key), tokenizer
        style: Style = self.record["style"]
        role: Role = self.record["role"]
        assert role in get_args(Role), role
        chance = self.record["chance"]
        listing = Listing(
            self.record["name"], "documents of one's own", role, style, {BASE: {}}, TEXT,
            chance=None if chance is None else lambda _: chance,
        )  # fmt: skip
        super().__init__(f"{DOCUMENTS}:{key}", BASE, listing)
        self.kind = "text"
        self.trained_on = str(self.record["text"])
        self.held_out = min(count for count, _ in self.record["held"].values())

    @property
    def content_hash(self) -> str:  # noqa: D102
        return self.key

    @cached_property
    def text(self) -> Task | None:
        """The text that is trained on, where the documents bring nothing."""
        return get_task(self.trained_on, self.tokenizer_name) if self.trained_on else None

    def keep(self) -> None:
        """The tokenizer, and the tokens of the text that is trained on. Raises `TaskError`."""
        tokenizer_of(self.tokenizer_name)
        if self.text:
            self.text.keep()

    @property
    def travels(self) -> tuple[str, ...]:
        """As `Task.travels`."""
        return tuple(dict.fromkeys((*travels_with(self.tokenizer_name), *(self.text.travels if self.text else ()))))

    @property
    def seq_len(self) -> int:  # noqa: D102
        return self.text.seq_len if self.text else LENGTH

    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:
        """Rows to train on: the text's, or examples from their beginning, one after another. Raises `TaskError`."""
        if split != "train":
            raise TaskError(f"{self.name} has documents for {split}, and no rows")
        if self.text is not None:
            return self.text.batch("train", count, *address, seq_len=seq_len)
        starts_B = self._rng(split, address).choice(self._examples[1], size=count)
        length = seq_len or self.seq_len
        text_N = np.resize(self._examples[0], len(self._examples[0]) + length)  # the last goes on with the first
        targets_BT = text_N[starts_B[:, None] + np.arange(length)].astype(np.int64)
        bos = tokenizer_of(self.tokenizer_name).bos
        return Batch(np.concatenate([np.full((count, 1), bos), targets_BT[:, :-1]], axis=1), targets_BT)

    @cached_property
    def _examples(self) -> tuple[Any, Any]:
        """The tokens of all examples [N], and where each begins."""
        encoded = tokenizer_of(self.tokenizer_name).encode_all([one + "\n\n" for one in self.record["train"]])
        starts = np.cumsum([0, *map(len, encoded)])[:-1]
        return np.concatenate(encoded), starts

    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """Up to `count` of the split's documents, drawn by the address. Raises `TaskError`."""
        found: list[Document] = read_kept(self.key, f"{split}.json") if split in HELD_OUT else []
        if digest(found) != self.record["held"].get(split, [0, digest([])])[1]:
            raise gone(self.key)
        chosen = self._rng(split, (*address, "documents")).permutation(len(found))[:count]
        return [found[i] for i in chosen]

    @cached_property
    def identity(self) -> str:
        """As of any task; the documents are in the key, the text that is trained on is in its own identity."""
        code = installed().reach(ROOTS, {*STOPS, "asiarc.tasks:get_task", "asiarc.tasks.keep"}).whole
        parts = [code, self.key, self.text and self.text.identity, template(self.style)]
        return digest(parts if self.tokenizer_name == "bytes" else [*parts, key_of(self.tokenizer_name)])[:12]

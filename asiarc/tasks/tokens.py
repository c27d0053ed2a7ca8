"""Language modelling over tokens that are not bytes: rows of a seed's stream to train on, whole documents to score.

Axes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from asiarc.core.digest import digest
from asiarc.core.reach import installed
from asiarc.core.seeds import Part, seed_of
from asiarc.tasks.corpus import Corpus
from asiarc.tasks.lm_eval_config import template
from asiarc.tasks.pages import Pages, fineweb_edu_hash, fineweb_edu_pages, kept_hash, kept_pages
from asiarc.tasks.stream import HELD_OUT, Page, Shard, Stream, Text, folder_of, held_out, is_whole, keep_tokens, opened
from asiarc.tasks.task import DOCUMENT_BYTES, STOPS, Batch, Document, Split, TextTask
from asiarc.tasks.tokenizer import Tokenizer, key_of, tokenizer_of, travels_with

LONGEST_BYTES = 8_192  # of a document that is scored: some 2,000 tokens of GPT-2's
ROOTS = (
    "asiarc.tasks.tokens:TokenTask.keep",
    "asiarc.tasks.tokens:TokenTask.batch",
    "asiarc.tasks.tokens:TokenTask.documents",
    "asiarc.tasks.task:Task.lm_eval_config",
)


class CorpusText:
    """A corpus as what tokens are made of: one shard, whose documents are its sections."""

    shards = ("corpus",)
    most_bytes = None

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.content_hash = corpus, corpus.content_hash

    def documents(self, shard: int) -> Iterator[tuple[int, list[Page]]]:
        """As `Text.documents`; the corpus is one row group."""
        for split, sections in self.corpus.sections.items():
            text_N = self.corpus.texts[split]
            yield 0, [Page(split, name, text_N[start:stop].tobytes().decode()) for name, start, stop in sections]


class TokenTask(TextTask):
    """A text as a tokenizer reads it. A batch is dealt from its seed's stream: step n has the rows from n x `count` on.

    The tokens are made by `keep`, outside a candidate's process, which has nothing but them.
    """

    def __init__(self, base: str, level: str, tokenizer: str) -> None:
        super().__init__(base, level)
        self.tokenizer_name = tokenizer

    @cached_property
    def pages(self) -> Pages | None:
        """The parquet files of a text that is none of a corpus. Raises `TaskError`."""
        if self.base == "fineweb-edu":
            return fineweb_edu_pages(int(self.settings["megabytes"]))
        return kept_pages(self.level) if kept_hash(self.level) else None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What makes the tokens. Raises `TaskError` where it is not to be had."""
        return tokenizer_of(self.tokenizer_name)

    @property
    def content_hash(self) -> str:
        """The hash of the text."""
        if self.base == "fineweb-edu":
            return fineweb_edu_hash(int(self.settings["megabytes"]))
        return kept_hash(self.level) or self.corpus.content_hash

    def keep(self) -> None:
        """Make the tokens and keep them, where they are not kept yet; where they are, no text is looked for. Raises
        `TaskError`."""
        if not is_whole(self.folder):
            text: Text = self.pages or CorpusText(self.corpus)
            keep_tokens(text, self.tokenizer)

    @property
    def travels(self) -> tuple[str, ...]:
        """As `Task.travels`."""
        return (*travels_with(self.tokenizer_name), f"tokens/{self.folder.name}")

    @cached_property
    def folder(self) -> Path:
        """Where the tokens are kept."""
        return folder_of(self.content_hash, key_of(self.tokenizer_name))

    def stream(self, *address: Part, split: Split = "train") -> Stream:
        """The stream of an address. Raises `TaskError` where the tokens are not kept, or held-out ones out of reach."""
        bos, shards = opened(self.folder)
        if split != "train":
            shards = (_shard_of(held_out(self.folder, split), self.tokenizer, bos),)
        return Stream(shards, seed_of("task", self.base, split, *address))

    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:
        """Rows of the address's stream, whose last part is the step (where it is a number). Raises `TaskError`."""
        length = seq_len or self.seq_len
        last = address[-1] if address else None
        step, seed = (last, address[:-1]) if isinstance(last, int) else (0, address)
        stream, bos = _stream(self, split, seed), opened(self.folder)[0]
        targets_BT = stream.read(step * count * length, count * length).reshape(count, length).astype(np.int64)
        return Batch(np.concatenate([np.full((count, 1), bos), targets_BT[:, :-1]], axis=1), targets_BT)

    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """Held-out documents in drawn order, each up to `LONGEST_BYTES` from its beginning, until there are as many
        bytes as ``count`` windows of a text in bytes have; ``section`` says where each comes from."""
        assert split in HELD_OUT, split
        found = held_out(self.folder, split)
        chosen, size = list[Document](), 0
        for i in self._rng(split, (*address, "documents")).permutation(len(found)):
            if size >= count * DOCUMENT_BYTES:
                break
            name, text = found[i]
            chosen.append({"text": text.encode()[:LONGEST_BYTES].decode(errors="ignore"), "section": name})
            size += len(chosen[-1]["text"].encode())
        return chosen

    @cached_property
    def identity(self) -> str:
        """As of any task; the tokenizer is in it by its hash."""
        code = installed().reach(ROOTS, STOPS).whole
        key = key_of(self.tokenizer_name)
        return digest([code, self.base, dict(self.settings), self.content_hash, key, template(self.style)])[:12]


@lru_cache(maxsize=4)
def _stream(task: TokenTask, split: Split, seed: tuple[Part, ...]) -> Stream:
    return task.stream(*seed, split=split)


def _shard_of(documents: list[tuple[str, str]], tokenizer: Tokenizer, bos: int) -> Shard:
    """Held-out documents as a shard of one row group."""
    tokens = [np.append(ids_N, np.uint16(bos)) for ids_N in tokenizer.encode_all([text for _, text in documents])]
    starts_D = np.concatenate([[0], np.cumsum([len(one) for one in tokens])])
    return Shard("held out", np.concatenate(tokens), starts_D, np.array([0, len(tokens)]))

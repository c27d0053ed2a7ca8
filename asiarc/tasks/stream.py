"""Tokens of a text, made once and kept in files, and the rows that a seed deals from them.

A shard (a parquet file, or a whole corpus) is one array of its training documents' tokens, each document closed by
BOS, and where documents and row groups end; what is held out lies beside it, out of a candidate's reach. A `Stream`
reads all shards without end: in every epoch each document once; shards, row groups in a shard and documents in a row
group come in orders that the seed draws. So row r of a seed is the same whoever asks, at any time, in any process.

Axes: N tokens, D documents, G row groups, P parts of anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from asiarc.core.errors import TaskError
from asiarc.core.seeds import seed_of
from asiarc.tasks import SPLITS
from asiarc.tasks.keep import as_json, cache_folder, no_access
from asiarc.tasks.tokenizer import Ids, Tokenizer

HELD_OUT = SPLITS[1:]
VERSION = 1  # goes up whenever the same text gives other tokens
MOST_HELD_BYTES = 4_000_000  # of a shard, for each held-out split; what is dealt to one beyond them is not used
INDEX, TOKENS, ENDS = "index.json", "train.tokens", "train.ends"


class Page(NamedTuple):
    """One document before it is tokens."""

    split: str
    name: str
    text: str


class Text(Protocol):
    """What tokens are made of: named shards, and the documents of each as (row group, some of its documents)."""

    @property
    def content_hash(self) -> str:
        """Hex digits, at least sixteen."""
        ...

    @property
    def shards(self) -> Sequence[str]:
        """Their names, in order."""
        ...

    @property
    def most_bytes(self) -> int | None:
        """How much of the text is taken, from its beginning; None for all."""
        ...

    def documents(self, shard: int) -> Iterator[tuple[int, list[Page]]]:
        """In order."""
        ...


class Position(TypedDict):
    """Where in a stream the next token is: the offset'th of a document of a row group of a shard, in an epoch."""

    epoch: int
    shard: str
    row_group: int
    document: int  # of the row group's training documents
    offset: int


class TokenFile:
    """A file of tokens, read as far as it is asked for: a job's address space is bounded, a text may be larger."""

    def __init__(self, file: Path) -> None:
        self._file, self._size = file, file.stat().st_size // 2

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> Ids:
        with self._file.open("rb", buffering=0) as opened:
            content = os.pread(opened.fileno(), 2 * (part.stop - part.start), 2 * part.start)
        return np.frombuffer(content, dtype="<u2")


@dataclass(frozen=True, eq=False)
class Shard:
    """Training documents of one file; document d is ``tokens_N[starts_D[d] : starts_D[d + 1]]``, the row group g holds
    the documents ``groups_G[g] : groups_G[g + 1]``."""

    name: str
    tokens_N: Ids | TokenFile  # noqa: N815
    starts_D: NDArray[np.int64]  # noqa: N815
    groups_G: NDArray[np.int64]  # noqa: N815

    def sizes(self, group: int | None = None) -> NDArray[np.int64]:
        """Tokens of each row group, or of each document of one."""
        if group is None:
            return np.diff(self.starts_D[self.groups_G])
        return np.diff(self.starts_D[self.groups_G[group] : self.groups_G[group + 1] + 1])


@dataclass(frozen=True, eq=False)
class Order:
    """Parts in the order in which they are read, and the token that each starts at."""

    parts_P: NDArray[np.int64]  # noqa: N815
    starts_P: NDArray[np.int64]  # noqa: N815

    def at(self, token: int) -> tuple[int, int]:
        """The part that holds a token, and which of its tokens that is."""
        place = int(np.searchsorted(self.starts_P, token, side="right")) - 1
        return int(self.parts_P[place]), token - int(self.starts_P[place])

    def start(self, part: int) -> int:
        """The token that a part starts at."""
        return int(self.starts_P[:-1][self.parts_P == part][0])


class Stream:
    """All tokens of some shards in the order of a seed, epoch after epoch."""

    def __init__(self, shards: Sequence[Shard], seed: int) -> None:
        self.shards, self.seed = list(shards), seed
        self.tokens = sum(len(shard.tokens_N) for shard in self.shards)
        assert self.tokens, "a stream has tokens"
        self._order = lru_cache(maxsize=256)(self._drawn)

    def _drawn(self, epoch: int, shard: int | None = None, group: int | None = None) -> Order:
        if shard is None:
            sizes_P = np.array([len(one.tokens_N) for one in self.shards], dtype=np.int64)
        else:
            sizes_P = self.shards[shard].sizes(group)
        seed = seed_of("order", self.seed, epoch, shard, group)
        parts_P = np.random.Generator(np.random.PCG64(seed)).permutation(len(sizes_P))
        return Order(parts_P, np.concatenate([[0], np.cumsum(sizes_P[parts_P])]))

    def _place(self, token: int) -> tuple[int, int, int, int, int]:
        """Epoch, shard, row group, document and offset of the stream's token."""
        epoch, left = divmod(token, self.tokens)
        shard, left = self._order(epoch).at(left)
        group, left = self._order(epoch, shard).at(left)
        document, offset = self._order(epoch, shard, group).at(left)
        return epoch, shard, group, document, offset

    def read(self, start: int, count: int) -> Ids:
        """`count` tokens from the stream's token `start` on."""
        pieces: list[Ids] = []
        while count:
            _, number, group, document, offset = self._place(start)
            shard = self.shards[number]
            first, end = shard.starts_D[shard.groups_G[group] + document :][:2]
            pieces.append(shard.tokens_N[first + offset : min(first + offset + count, end)])
            start, count = start + len(pieces[-1]), count - len(pieces[-1])
        return np.concatenate(pieces)

    def position(self, token: int) -> Position:
        """Where the stream's token is, as plain data to resume from."""
        epoch, shard, group, document, offset = self._place(token)
        name = self.shards[shard].name
        return {"epoch": epoch, "shard": name, "row_group": group, "document": document, "offset": offset}

    def token(self, position: Position) -> int:
        """The inverse of `position`. Raises `TaskError` for a place that this text does not have."""
        names = [shard.name for shard in self.shards]
        epoch, group, document = position["epoch"], position["row_group"], position["document"]
        try:
            number = names.index(position["shard"])
            parts = self._order(epoch), self._order(epoch, number), self._order(epoch, number, group)
            start = sum(order.start(part) for order, part in zip(parts, (number, group, document), strict=True))
            inside = 0 <= position["offset"] < self.shards[number].sizes(group)[document]
        except (IndexError, ValueError):
            inside = False
        if not inside or epoch < 0:
            raise TaskError(f"the text has no place {position}: it is another text than the one that was read.")
        return epoch * self.tokens + start + position["offset"]

    def rows(self, length: int, position: Position | None = None) -> Iterator[Ids]:
        """Rows of `length` tokens without end, from a position on, or from the beginning."""
        token = self.token(position) if position else 0
        while True:
            yield self.read(token, length)
            token += length


# --- kept in files ----------------------------------------------------------------------------------------------------


def folder_of(content_hash: str, tokenizer_key: str) -> Path:
    """Where the tokens of a text are kept."""
    return cache_folder() / "tokens" / f"{tokenizer_key}-{content_hash[:16]}-{VERSION}"


def keep_tokens(text: Text, tokenizer: Tokenizer) -> Path:
    """Make a text's tokens and keep them, unless they are kept and whole; their folder. Goes on after a shard that is
    there. Raises `TaskError` where the cache cannot be written, or the text has too little to hold any out."""
    folder = folder_of(text.content_hash, tokenizer.key)
    if is_whole(folder):
        return folder
    left, records = text.most_bytes, []
    for number, name in enumerate(text.shards):
        record = _kept_shard(folder / f"{number:05}", name, text.documents(number), tokenizer, left)
        records.append(record)
        left = None if left is None else left - record["bytes"]
        if left is not None and left <= 0:
            break
    if not any(record["tokens"] for record in records):
        raise TaskError(f"there is no text in {', '.join(text.shards[:3])}: name files that have some.")
    for split in HELD_OUT:
        if not any(record["held"][split] for record in records):
            raise TaskError(f"too little text in {', '.join(text.shards[:3])}: none is left for {split}.")
    _write(folder / INDEX, as_json({"shards": len(records), "bos": tokenizer.bos}))
    return folder


def _kept_shard(
    folder: Path, name: str, documents: Iterable[tuple[int, list[Page]]], tokenizer: Tokenizer, most_bytes: int | None
) -> dict[str, Any]:
    if not (folder / INDEX).exists():
        sys.stderr.write(f"asiarc: making tokens of {name} with {tokenizer.name} (once)...\n")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="draft-", dir=folder.parent) as draft:
                record, held = _write_train(Path(draft), _until(documents, most_bytes), tokenizer)
                files = {f"{split}.json": as_json(held[split]) for split in HELD_OUT}
                for file, content in (files | {INDEX: as_json(record | {"name": name})}).items():
                    (Path(draft) / file).write_bytes(content)
                _take_place(Path(draft), folder)
        except OSError as error:
            raise no_access(folder.parent, error) from error
    found: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
    return found


def _take_place(draft: Path, folder: Path) -> None:
    """Another process may have been first, with the same bytes."""
    draft.chmod(0o755)
    if not folder.exists():
        draft.rename(folder)
        draft.mkdir()  # for whoever made it to remove


def _until(documents: Iterable[tuple[int, list[Page]]], most_bytes: int | None) -> Iterator[tuple[int, list[Page]]]:
    """Documents until there are so many bytes of text."""
    size = 0
    for group, pages in documents:
        kept: list[Page] = []
        for page in pages:
            if most_bytes is not None and size >= most_bytes:
                yield group, kept
                return
            kept.append(page)
            size += len(page.text.encode())
        yield group, kept


def _write_train(
    draft: Path, documents: Iterable[tuple[int, list[Page]]], tokenizer: Tokenizer
) -> tuple[dict[str, Any], dict[str, list[tuple[str, str]]]]:
    """Write training tokens as they come; the shard's record, and what is held out."""
    hashed, ends, groups, size = _hasher(), array("q"), [0], 0
    held: dict[str, list[tuple[str, str]]] = {split: [] for split in HELD_OUT}
    held_bytes = dict.fromkeys(HELD_OUT, 0)
    with (draft / TOKENS).open("wb") as file:
        for group, pages in _ahead(documents):
            size += sum(len(page.text.encode()) for page in pages)
            for ids_N in tokenizer.encode_all([page.text for page in pages if page.split == "train" and page.text]):
                content = np.append(ids_N, np.uint16(tokenizer.bos)).astype("<u2").tobytes()
                file.write(content)
                hashed.update(content)
                ends.append((ends[-1] if ends else 0) + len(ids_N) + 1)
            groups += [groups[-1]] * (group + 2 - len(groups))
            groups[-1] = len(ends)
            for page in pages:
                if page.split in held and page.text and held_bytes[page.split] < MOST_HELD_BYTES:
                    held[page.split].append((page.name, page.text))
                    held_bytes[page.split] += len(page.text.encode())
    np.array([0, *ends], dtype="<i8").tofile(draft / ENDS)
    counts = {split: len(some) for split, some in held.items()}
    tokens = ends[-1] if ends else 0
    return {"tokens": tokens, "bytes": size, "groups": groups, "held": counts, "hash": hashed.hexdigest()}, held


def _ahead(documents: Iterable[tuple[int, list[Page]]]) -> Iterator[tuple[int, list[Page]]]:
    """The same, the next read in the background while one is in use."""
    source = iter(documents)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, None)
        while (found := coming.result()) is not None:
            coming = pool.submit(next, source, None)
            yield found


def _write(file: Path, content: bytes) -> None:
    draft = file.with_name(f"draft-{file.name}")
    draft.write_bytes(content)
    draft.replace(file)


_whole: set[Path] = set()  # folders that this process has looked at


def is_whole(folder: Path) -> bool:
    """Whether all shards are there with the bytes that were written; one that is not is removed, to be made again."""
    try:
        shards = [folder / f"{number:05}" for number in range(json.loads((folder / INDEX).read_bytes())["shards"])]
    except (OSError, ValueError, KeyError):
        return False
    damaged = [shard for shard in shards if folder not in _whole and not _is_sound(shard)]
    if not damaged:
        _whole.add(folder)
    for shard in damaged:
        sys.stderr.write(f"asiarc: {shard} is damaged; making it again\n")
        shutil.rmtree(shard, ignore_errors=True)
    return not damaged


def _hasher() -> Any:
    return hashlib.blake2b(digest_size=16)


def _is_sound(shard: Path) -> bool:
    try:
        with (shard / TOKENS).open("rb") as file:
            hashed = hashlib.file_digest(file, _hasher).hexdigest()
        record = json.loads((shard / INDEX).read_bytes())
        return bool(record["hash"] == hashed and (shard / ENDS).stat().st_size == 8 * (record["groups"][-1] + 1))
    except (OSError, ValueError, KeyError):
        return False


@lru_cache(maxsize=4)
def _opened(folder: Path) -> tuple[int, tuple[Shard, ...]]:
    index = json.loads((folder / INDEX).read_bytes())
    return index["bos"], tuple(_shard(folder / f"{number:05}") for number in range(index["shards"]))


def _shard(folder: Path) -> Shard:
    record = json.loads((folder / INDEX).read_bytes())
    tokens_N = TokenFile(folder / TOKENS)
    starts_D = np.fromfile(folder / ENDS, dtype="<i8")
    if len(tokens_N) != record["tokens"] or len(starts_D) != record["groups"][-1] + 1:
        raise ValueError("the tokens are not those that were written")
    return Shard(record["name"], tokens_N, starts_D, np.array(record["groups"], dtype=np.int64))


def opened(folder: Path) -> tuple[int, tuple[Shard, ...]]:
    """BOS and the shards of kept tokens. Raises `TaskError` where they are not there, or not whole."""
    try:
        return _opened(folder)
    except (OSError, ValueError, KeyError) as error:
        raise TaskError(f"the tokens {folder.name} are not kept in {folder.parent} ({error}): run again.") from error


def held_out(folder: Path, split: str) -> list[tuple[str, str]]:
    """(name, text) of each document that no training row touches. Raises `TaskError` where they are out of reach."""
    shards = json.loads((folder / INDEX).read_bytes())["shards"]
    try:
        files = [(folder / f"{number:05}" / f"{split}.json").read_bytes() for number in range(shards)]
    except PermissionError as error:
        raise no_access(folder, error) from error
    return [(str(name), str(text)) for file in files for name, text in json.loads(file)]

"""Documents in parquet files, as FineWeb-Edu has them: one row a document, its text in the column `text`.

A folder of one's own (``text:PATH``) or FineWeb-Edu's 10-billion-token sample from the hub. Documents come in the order
of shard (a file), row group and row, a thousand at a time, so that no file is ever whole in memory.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from asiarc.core.digest import digest
from asiarc.core.errors import TaskError
from asiarc.tasks import PAGES, is_pages
from asiarc.tasks.keep import OPEN, as_json, gone, keep_files, own_folder, read_kept
from asiarc.tasks.stream import HELD_OUT, Page

COLUMN = "text"
ROWS = 1_000  # documents that are read at once
HELD_OUT_SHARE = 0.02  # of the documents, for validation and for confirmation each
HUB, SAMPLE = "HuggingFaceFW/fineweb-edu", "sample/10BT"
_FOOTER_BYTES = 8  # at the end of a parquet file: the footer's length, and the format's name


@dataclass(frozen=True)
class Pages:
    """Parquet files in order; `content_hash` is that of their names, sizes and footers (which hold every column's
    sizes, places and extremes), so no file is read for it. `most_bytes` of text are taken, from the first on. What is
    held out says the hash of a document's text."""

    files: tuple[Path, ...]
    content_hash: str
    most_bytes: int | None = None

    @property
    def shards(self) -> list[str]:
        """The files' names."""
        return [file.name for file in self.files]

    def documents(self, shard: int) -> Iterator[tuple[int, list[Page]]]:
        """(row group, some of its documents) of one file. Raises `TaskError` for a file without texts."""
        file, number = self.files[shard], 0
        with _parquet().ParquetFile(file) as opened:
            _check(file, opened.schema_arrow)
            for group in range(opened.num_row_groups):
                for rows in opened.iter_batches(ROWS, row_groups=[group], columns=[COLUMN]):
                    texts = [(text or "").replace("\0", " ") for text in rows.column(0).to_pylist()]
                    named = enumerate(texts, start=number)
                    yield group, [Page(_split(text), f"{file.name}#{row}", text) for row, text in named]
                    number += len(texts)


def _split(text: str) -> str:
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    return next((split for i, split in enumerate(HELD_OUT, 1) if place < i * HELD_OUT_SHARE), "train")


def pages_in(files: Sequence[Path], most_bytes: int | None = None) -> Pages:
    """Pages of some files. Raises `TaskError` where one is no parquet file."""
    known = [[file.name, file.stat().st_size, _footer_hash(file)] for file in files]
    return Pages(tuple(files), digest([known, most_bytes]), most_bytes)


def keep_pages(folder: Path) -> str:
    """Remember where a folder of parquet files lies, for its tokens to be made; the key of the text."""
    files = sorted(folder.rglob("*.parquet"))
    found = pages_in(files)
    for file in files:
        with _parquet().ParquetFile(file) as opened:
            _check(file, opened.schema_arrow)
    key = PAGES + found.content_hash
    if not own_folder(key).is_dir():
        keep_files(own_folder(key), {OPEN: as_json({"files": [str(file.resolve()) for file in files]})})
    return key


def kept_hash(key: str) -> str | None:
    """The content hash of pages that were kept under a key; None where it is none of pages."""
    return key.removeprefix(PAGES) if is_pages(key) else None


def fineweb_edu_hash(megabytes: int) -> str:
    """The content hash of FineWeb-Edu's first `megabytes`, which is kept once it is known. Raises `TaskError`."""
    key = f"_fineweb_edu-{megabytes}"
    if not (own_folder(key) / OPEN).exists():
        keep_files(own_folder(key), {OPEN: as_json({"hash": fineweb_edu_pages(megabytes).content_hash})})
    return str(read_kept(key, OPEN)["hash"])


def kept_pages(key: str) -> Pages:
    """The pages that `keep_pages` kept. Raises `TaskError` where they are gone, or are others."""
    files = [Path(name) for name in read_kept(key, OPEN)["files"]]
    if not all(file.is_file() for file in files) or (found := pages_in(files)).content_hash != kept_hash(key):
        raise gone(key)
    return found


@lru_cache(maxsize=4)
def fineweb_edu_pages(megabytes: int) -> Pages:
    """The first `megabytes` of the sample's text, file by file from the hub's cache or the hub. Raises `TaskError`."""
    most_bytes = megabytes * 1_000_000
    files: list[Path] = []
    while (size := sum(map(_text_bytes, files))) < most_bytes:
        sys.stderr.write(f"asiarc: {size / 1e6:.0f} of {megabytes} MB of FineWeb-Edu are here...\n")
        found = _fetched(f"{SAMPLE}/{len(files):03}_00000.parquet")
        if found is None:
            break
        files.append(found)
    return pages_in(files, most_bytes)


def _fetched(name: str) -> Path | None:
    """A file of FineWeb-Edu's; None where it has none of that name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError

    try:
        return Path(hf_hub_download(HUB, name, repo_type="dataset"))
    except RemoteEntryNotFoundError:
        return None
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise TaskError(
            f"{name} of FineWeb-Edu is not in the Hugging Face cache and cannot be reached ({error}). With a network, "
            "run again; without one, name a folder of parquet files of that layout: text:/path/to/folder."
        ) from error


def _text_bytes(file: Path) -> int:
    """The size of a file's texts, as its footer says."""
    with _parquet().ParquetFile(file) as opened:
        _check(file, opened.schema_arrow)
        groups = [opened.metadata.row_group(number) for number in range(opened.num_row_groups)]
        columns = (group.column(number) for group in groups for number in range(group.num_columns))
        return sum(one.total_uncompressed_size for one in columns if one.path_in_schema == COLUMN)


def _check(file: Path, schema: Any) -> None:
    if COLUMN not in schema.names or str(schema.field(COLUMN).type) not in ("string", "large_string"):
        raise TaskError(
            f"{file} has no column {COLUMN!r} of strings, which texts in parquet files are read from; it has: "
            f"{', '.join(schema.names)}. Rename the one that holds the texts."
        )


def _footer_hash(file: Path) -> str:
    with file.open("rb") as opened:
        content = b""
        if file.stat().st_size > 2 * _FOOTER_BYTES:
            opened.seek(-_FOOTER_BYTES, 2)
            end = opened.read(_FOOTER_BYTES)
            size = min(int.from_bytes(end[:4], "little") + _FOOTER_BYTES, file.stat().st_size)
            opened.seek(-size, 2)
            content = opened.read(size)
    if not content.endswith(b"PAR1"):
        raise TaskError(f"{file} is no parquet file, or a part of one: fetch it again, or take it out of the folder.")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _parquet() -> Any:
    import pyarrow.parquet  # type: ignore[import-untyped]

    return pyarrow.parquet

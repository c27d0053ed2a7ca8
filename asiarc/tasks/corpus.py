"""Text as three byte arrays that never overlap, built once, cached as files and verified whenever they are
read.

Sources: the docstrings of the installed packages (``text``), Python's own library (``code``), any UTF-8 file or
folder (``text:/path``), FineWeb-Edu. All go the same way: sections (a module, a piece of a file, a page) ->
near-duplicates dropped across all of them -> whole sections dealt to a split by the hash of their name, those of a text
of one's own by the hash of what they say -> one text a split. The hash over the three texts is the corpus's identity.
They are kept in the `cache_folder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asiarc.core.errors import TaskError
from asiarc.tasks import SPLITS, own_path
from asiarc.tasks.code import code_sections
from asiarc.tasks.keep import as_json, cache_folder, keep_files, no_access
from asiarc.tasks.prose import PACKAGES, Section, docstring_sections, without_near_duplicates

BUILDER_VERSION = 2  # goes up whenever the same sources give other bytes
HELD_OUT_SHARE = 0.05  # of the bytes, for validation and for confirmation each
SECTION_BYTES = 16_384
PARAGRAPH_BYTES = 4_096
SMALLEST_SPLIT_BYTES = 2_048
_SEPARATOR = "\n\n"
Place = Callable[[str, bytes], str]  # of a section's name and text, what it is dealt by
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


@dataclass(frozen=True, eq=False)
class Corpus:
    """``texts[split]`` is a uint8 array; ``sections[split]`` lists ``(name, start, stop)`` in it."""

    content_hash: str
    texts: dict[str, NDArray[np.uint8]]
    sections: dict[str, list[tuple[str, int, int]]]


def docstring_corpus(packages: tuple[str, ...] = PACKAGES) -> Corpus:
    """The default corpus, by the versions of the packages in it. Raises `TaskError` where one is missing."""
    versions = {p: _version(p) for p in packages}

    def sections() -> Iterator[Section]:
        sys.stderr.write(f"asiarc: building the text corpus from docstrings of {', '.join(packages)} (once)...\n")
        return docstring_sections(packages)

    return _cached("text-" + _short_hash(json.dumps([BUILDER_VERSION, versions])), sections)


def code_corpus() -> Corpus:
    """Python's own library as code alone, by the version of Python. Raises `TaskError` where no source is installed."""

    def sections() -> Iterator[Section]:
        sys.stderr.write(f"asiarc: building the code corpus from the library of Python {version} (once)...\n")
        return code_sections()

    version = platform.python_version()
    return _cached("code-" + _short_hash(json.dumps([BUILDER_VERSION, version])), sections)


def path_corpus(path: str) -> Corpus:
    """A corpus of one file, or of every file below a folder that is not hidden; UTF-8, bytes kept as they
    are.

    A file is cut into sections of some 16 kB at blank lines, which is what splits are made of; blank lines in
    a row become one, and repeated paragraphs go. Raises `TaskError` when the path is missing, is not text or
    holds too little of it.
    """
    return kept_corpus(keep_text(own_path(path, Path())))


def keep_text(root: Path) -> str:
    """Build the corpus of a text of one's own, unless the cache has it; its key, ``book-0123456789abcdef``: the name,
    for people, and the hash of what it is made of, wherever it lies. Which split a section goes to, its text says.
    Raises `TaskError`."""
    files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if _is_visible_file(f, root))
    contents = {f.name if f == root else f.relative_to(root).as_posix(): f.read_bytes() for f in files}
    digest = hashlib.blake2b(json.dumps([BUILDER_VERSION, "by text"]).encode())
    for name, content in contents.items():
        digest.update(json.dumps([name if root.is_dir() else "", len(content)]).encode() + content)
    slug = re.sub(r"[^a-z0-9]+", "_", root.resolve().stem.lower()).strip("_")[:24] or "text"
    key = f"{slug}-{digest.hexdigest()[:16]}"
    _cached(f"own-{key}", lambda: _file_sections(contents), str(root), _text_hash)
    return key


def kept_corpus(key: str) -> Corpus:
    """The corpus that `keep_text` built. Raises `TaskError` where the cache does not hold it any more."""
    found = _read(_kept(key))
    if found is None:
        raise TaskError(f"the text {key} is not kept in {cache_folder()}: run again the campaign that names its file.")
    return found


def packed(key: str) -> tuple[str, dict[str, bytes]]:
    """The hash and the files of a text that `keep_text` built, for the way to another machine. Raises `TaskError`."""
    corpus = kept_corpus(key)
    names = ("index.json", *(f"{split}.txt" for split in SPLITS))
    return corpus.content_hash, {name: (_kept(key) / name).read_bytes() for name in names}


def holds(key: str, content_hash: str) -> bool:
    """Whether the cache of this machine has a text of one's own, and with this hash."""
    found = _read(_kept(key))
    return found is not None and found.content_hash == content_hash


def unpack(key: str, content_hash: str, files: Mapping[str, bytes]) -> None:
    """Keep a text that another machine `packed`. Raises `TaskError` where its bytes are not those of its hash."""
    if files.keys() != {"index.json", *(f"{split}.txt" for split in SPLITS)} or content_hash != _content_hash(
        {split: files[f"{split}.txt"] for split in SPLITS}
    ):
        raise TaskError(f"the text {key} did not arrive as it was sent: run again.")
    _verified.cache_clear()
    keep_files(_kept(key), files)
    if not holds(key, content_hash):
        raise TaskError(f"the text {key} does not read back from {_kept(key)}: run again.")


def _kept(key: str) -> Path:
    return cache_folder() / "corpora" / f"own-{key}"


def fineweb_edu_corpus(megabytes: int) -> Corpus:
    """The first ``megabytes`` of FineWeb-Edu's 10-billion-token sample, one section a page.

    Raises `TaskError` when it is neither cached nor to be reached.
    """
    return _cached(f"fineweb-edu-{BUILDER_VERSION}-{megabytes}", lambda: _pages(megabytes * 1_000_000))


def _cached(
    key: str, sections: Callable[[], Iterable[Section]], source: str = "", place: Place | None = None
) -> Corpus:
    """The corpus kept under ``key``; built from ``sections()`` if it is not there or not whole any more; `source`
    is what people call it, `place` what sections are dealt by."""
    folder = cache_folder() / "corpora" / key
    corpus = _read(folder)
    if corpus is None:
        _write(folder, _deal(without_near_duplicates(sections()), source or key, place or _name_hash))
        corpus = _read(folder)
        assert corpus is not None, f"{folder} does not read back"
    return corpus


def _name_hash(name: str, text: bytes) -> str:
    return _short_hash(name)


def _text_hash(name: str, text: bytes) -> str:
    return _hash(text)


def _deal(sections: list[Section], source: str, place: Place) -> dict[str, list[tuple[str, bytes]]]:
    """Every section to one split: by the order of the hashes that are their places, the held-out shares first."""
    encoded = {name: (_SEPARATOR.join(paragraphs) + _SEPARATOR).encode() for name, paragraphs in sections}
    share = HELD_OUT_SHARE * sum(map(len, encoded.values()))
    dealt: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    held_out = iter(sorted(encoded, key=lambda name: place(name, encoded[name])))
    for split in ("validation", "confirmation"):
        size = 0.0
        while size < share and (name := next(held_out, None)) is not None:
            dealt[split].append((name, encoded[name]))
            size += len(encoded[name])
    dealt["train"] = [(name, encoded[name]) for name in held_out]
    for split, members in dealt.items():
        members.sort()
        size = sum(len(text) for _, text in members)
        if size < SMALLEST_SPLIT_BYTES:
            raise TaskError(
                f"too little text in {source}: of {len(encoded)} sections without repetitions, {size} bytes are "
                f"left for {split}, fewer than {SMALLEST_SPLIT_BYTES}. Name a longer file or a larger folder."
            )
    return dealt


def _write(folder: Path, dealt: dict[str, list[tuple[str, bytes]]]) -> None:
    index = {}
    for split, members in dealt.items():
        ends = list(itertools.accumulate(len(text) for _, text in members))
        starts = [0, *ends[:-1]]
        index[split] = [[name, start, end] for (name, _), start, end in zip(members, starts, ends, strict=True)]
    texts = {split: b"".join(text for _, text in dealt[split]) for split in SPLITS}
    hashes = {split: _hash(text) for split, text in texts.items()}
    record = {"content_hash": _content_hash(texts), "hashes": hashes, "sections": index}
    keep_files(folder, {f"{split}.txt": text for split, text in texts.items()} | {"index.json": as_json(record)})


@lru_cache(maxsize=4)
def _verified(folder: Path) -> Corpus:
    """The corpus in a folder; without the held-out splits where they are out of reach, as for a candidate's process."""
    record = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    texts = {"train": (folder / "train.txt").read_bytes()}
    with contextlib.suppress(PermissionError):
        texts |= {split: (folder / f"{split}.txt").read_bytes() for split in SPLITS}
    if any(record["hashes"][split] != _hash(text) for split, text in texts.items()):
        raise ValueError("the bytes are not those that were written")
    sections = {split: [(str(n), int(a), int(b)) for n, a, b in record["sections"][split]] for split in SPLITS}
    return Corpus(record["content_hash"], {s: np.frombuffer(t, dtype=np.uint8) for s, t in texts.items()}, sections)


def _read(folder: Path) -> Corpus | None:
    """What the cache holds under ``folder``; None when it is missing or damaged, for `keep_files` to replace."""
    try:
        return _verified(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PermissionError as error:
        raise no_access(folder, error) from error
    except (ValueError, KeyError) as damage:
        sys.stderr.write(f"asiarc: {folder} is damaged ({damage}); building it again\n")
    return None


def _content_hash(texts: dict[str, bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for split in SPLITS:
        digest.update(json.dumps([split, len(texts[split])]).encode() + texts[split])
    return digest.hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@cache  # asked for at every trial's key, and slow to read
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return "missing"  # the builder names the package and what to do


def _is_visible_file(file: Path, root: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)


def _file_sections(contents: dict[str, bytes]) -> Iterator[Section]:
    for name, content in contents.items():
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TaskError(
                f"{name} is not UTF-8 text ({error.reason} at byte {error.start}): convert or remove it."
            ) from error
        if "\0" in text:
            raise TaskError(f"{name} holds NUL bytes, which open every input here: it does not look like text.")
        yield from _cut(name, text)


def _cut(name: str, text: str) -> Iterator[Section]:
    """Sections of at least `SECTION_BYTES` (the last may be shorter), each of whole paragraphs."""
    blocks = (block for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip())
    pieces = (b[i : i + PARAGRAPH_BYTES] for b in blocks for i in range(0, len(b), PARAGRAPH_BYTES))
    size, number, section = 0, 0, list[str]()
    for piece in pieces:
        section.append(piece)
        size += len(piece)
        if size >= SECTION_BYTES:
            yield f"{name}#{number}", section
            size, number, section = 0, number + 1, []
    if section:
        yield f"{name}#{number}", section


def _pages(wanted_bytes: int) -> Iterator[Section]:
    """FineWeb-Edu page by page, as it streams, until ``wanted_bytes`` are read."""
    from datasets import load_dataset  # type: ignore[import-untyped]

    sys.stderr.write(f"asiarc: streaming {wanted_bytes / 1e6:.0f} MB of FineWeb-Edu (once)...\n")
    try:
        pages = load_dataset("HuggingFaceFW/fineweb-edu", name="sample-10BT", split="train", streaming=True)
        for page in pages:
            text = page["text"].replace("\0", " ")
            yield page["id"], [section for _, pieces in _cut("", text) for section in pieces]
            wanted_bytes -= len(text)
            if wanted_bytes <= 0:
                return
    except OSError as error:
        raise TaskError(
            f"FineWeb-Edu is not cached and cannot be reached ({error}). With a network, run again; without "
            "one, use the task 'text' or your own text with text:/path/to/folder."
        ) from error

"""Real text without a download: the English prose in docstrings, and the removal of near-duplicates from any
text.

Packages are found without importing them and read with `ast`. Two things are unusual. Paragraphs are judged
longest first, so that a short one that stands inside a longer one goes, wherever the two are; and a paragraph
is compared with the union of all that is kept, not with one other paragraph, so boilerplate pieced together
from several places goes too.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from asiarc.core.errors import TaskError

# All of them come with lm-eval and the other dependencies of asiarc.
PACKAGES = ("matplotlib", "networkx", "nltk", "numpy", "pandas", "scipy", "sklearn", "sympy")
SHINGLE_WORDS = 5
SHARED_AT_MOST = 0.4

Section = tuple[str, list[str]]  # a name and its paragraphs: a module, a file, a web page

_MIN_CHARACTERS, _MIN_PROSE_SHARE, _MAX_WORD_CHARACTERS = 80, 0.85, 12
_PUNCTUATION = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "\u00a0": " "}
)
_LETTERS_AND_SPACE = (string.ascii_letters + " ").encode()
_WORD = re.compile(r"\w+")
_HEADING = re.compile(r"^.*\n[ \t]*[-=~]{3,}[ \t]*$", re.MULTILINE)


def docstring_sections(packages: Iterable[str] = PACKAGES) -> Iterator[Section]:
    """One section a module, by package and path, test folders left out. Raises `TaskError`."""
    for package in packages:
        root = _package_folder(package)
        for file in sorted(root.rglob("*.py")):
            path = file.relative_to(root)
            if {"tests", "test"}.isdisjoint(path.parts):
                paragraphs = [p for text in _docstrings(file.read_bytes()) for p in prose_paragraphs(text)]
                if paragraphs:
                    yield f"{package}/{path.as_posix()}", paragraphs


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise TaskError(
            f"the default text corpus is made of docstrings of {', '.join(PACKAGES)}, but {package} "
            "is not installed. Install asiarc again, or name your own text: text:/path/to/folder."
        )
    return Path(spec.submodule_search_locations[0])


def _docstrings(source: bytes) -> Iterator[str]:
    """Docstrings of the module and of everything defined in it, in the order of the text."""
    stack: list[ast.AST] = [ast.parse(source)]
    while stack:
        node = stack.pop()
        assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield ast.get_docstring(node, clean=False) or ""
        inner = [c for c in node.body if isinstance(c, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
        stack.extend(reversed(inner))


def prose_paragraphs(text: str) -> list[str]:
    """The paragraphs that are prose: ASCII, >= 80 characters, > 85 % of them letters or spaces, words of at
    most 12 characters on average (identifiers are longer), no example session.

    Underlined headings go, line breaks inside a paragraph become spaces, typographic punctuation becomes
    ASCII.
    """
    body = _HEADING.sub("", text.translate(_PUNCTUATION))
    paragraphs = (" ".join(p.split()) for p in re.split(r"\n\s*\n", body))
    return [p for p in paragraphs if _is_prose(p)]


def _is_prose(paragraph: str) -> bool:
    if len(paragraph) < _MIN_CHARACTERS or not paragraph.isascii() or not paragraph.isprintable():
        return False
    if ">>>" in paragraph or len(paragraph) > _MAX_WORD_CHARACTERS * (paragraph.count(" ") + 1):
        return False
    other = paragraph.encode().translate(None, _LETTERS_AND_SPACE)
    return len(paragraph) - len(other) > _MIN_PROSE_SHARE * len(paragraph)


def without_near_duplicates(sections: Iterable[Section]) -> list[Section]:
    """The sections without repeated paragraphs; those left empty are dropped, the order stays.

    Of every exact repetition the first is kept. Then, longest first, a paragraph is dropped when more than
    `SHARED_AT_MOST` of its shingles (runs of five words, case and punctuation aside) occur in what has been
    kept. A paragraph of fewer than five words has no shingle and is judged by exact repetition only.
    """
    sections = list(sections)
    home = {text: i for i, (_, paragraphs) in reversed(list(enumerate(sections))) for text in paragraphs}
    texts = sorted(home, key=lambda text: (-len(text), text))
    kept: set[str] = set()
    shingles, ends = _shingles(texts)
    seen = np.zeros(shingles.max(initial=0) + 1, dtype=bool)
    start = 0
    for text, end in zip(texts, ends.tolist(), strict=True):
        own = shingles[start:end]
        start = end
        if len(own) == 0 or seen[own].mean() <= SHARED_AT_MOST:
            seen[own] = True
            kept.add(text)
    unique = (
        (name, [t for t in dict.fromkeys(ps) if t in kept and home[t] == i]) for i, (name, ps) in enumerate(sections)
    )
    return [(name, paragraphs) for name, paragraphs in unique if paragraphs]


def _shingles(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Every text's shingles as small integers, one text after the other, and where each text's end."""
    word_ids: dict[str, int] = {}
    ids: list[int] = []
    sizes: list[int] = []
    for text in texts:
        words = _WORD.findall(text.lower())
        ids.extend(word_ids.setdefault(word, len(word_ids)) for word in words)
        sizes.append(len(words))
    if not ids:
        return np.zeros(0, dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
    words_N = np.array(ids, dtype=np.uint64)
    text_of_N = np.repeat(np.arange(len(texts)), sizes)
    reach = len(words_N) - SHINGLE_WORDS + 1
    if reach <= 0:
        return np.zeros(0, dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
    code = np.zeros(reach, dtype=np.uint64)
    for offset in range(SHINGLE_WORDS):  # a polynomial modulo 2**64
        code = code * np.uint64(0x9E3779B97F4A7C15) + words_N[offset : offset + reach] + np.uint64(1)
    inside = text_of_N[:reach] == text_of_N[SHINGLE_WORDS - 1 :]
    counts = np.bincount(text_of_N[:reach][inside], minlength=len(texts))
    return np.unique(code[inside], return_inverse=True)[1].astype(np.int64), counts.cumsum()

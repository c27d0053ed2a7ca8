"""A page of the documentation as a person would follow it: files written, commands typed, in order.

A fenced block in ``sh`` is typed, in an empty folder of the page's own; ``sh in checkout`` in the root of this
checkout; ``sh needs NAME`` is shown and not typed, for one of `NEEDS`. A block in any other language is written to the
file that the line before it names (a paragraph that ends in ```path`:``). A ``text`` block holds lines that the
commands before it print, ``...`` for what varies.
"""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
CHECKOUT = "in checkout"
NEEDS = {"cluster", "gpu", "network", "key", "hours", "user"}  # why a command is shown and not typed
LONGEST_S = 600
_FENCE = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"`([\w./-]+)`[^`\n]*:\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands behind the language, its text, the file that it is, its line."""

    language: str
    info: str
    text: str
    file: str
    line: int

    @property
    def is_typed(self) -> bool:
        """Whether it is commands that run here."""
        return self.language == "sh" and self.info in ("", CHECKOUT)

    @property
    def needs(self) -> str:
        """What commands that do not run here would need."""
        return "" if self.is_typed or self.language != "sh" else self.info.removeprefix("needs ")


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in _FENCE.finditer(text):
        named = _NAMED.search(text[: found.start()].rstrip("\n"))
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found[1], found[2] or "", found[3], named[1] if named else "", line)


def follow(text: str, folder: Path, cache: Path, programs: Path = Path(sys.executable).parent) -> list[str]:
    """Write the files and type the commands of a page in a folder; what did not go as the page says.

    The commands are those of an environment's folder `programs`.
    """
    wrong, said = [], ""
    for block in blocks_of(text):
        if block.is_typed:
            done = typed(block.text, ROOT if block.info == CHECKOUT else folder, cache, programs)
            said = done.stdout
            if done.returncode:
                wrong.append(f"line {block.line}: exit status {done.returncode}\n{done.stdout[-3000:]}")
        elif block.language == "text":
            lines = [" ".join(line.split()) for line in said.splitlines()]
            wrong += [
                f"line {block.line}: not printed: {line}\nbut:\n{said[-3000:]}"
                for line in block.text.splitlines()
                if line.strip() and not fnmatch.filter(lines, _pattern(line))
            ]
        elif block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return wrong


def _pattern(line: str) -> str:
    plain = re.sub(r"([\[?*])", r"[\1]", " ".join(line.split()))
    return plain.replace("...", "*")


def typed(commands: str, folder: Path, cache: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    """Commands as in a shell that stops at the first that fails."""
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "ASIARC_CACHE": str(cache),
        "COLUMNS": "120",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        text=True, check=False, timeout=LONGEST_S,
    )  # fmt: skip

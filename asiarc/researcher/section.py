"""What a prompt is put together from: sections with a priority, texts by others between marks, and a budget.

Everything that somebody else wrote (sources, insights, papers, reasons) stands between marks that are drawn for one
prompt and that no text can hold. What does not fit is cut from the section of the last priority on; what is left out is
said to be. Numbers are rounded to what a short trial can tell apart.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from asiarc.core.seeds import seed_of
from asiarc.llm.exchange import Message

BYTES_PER_TOKEN = 3  # English and Python have more; a budget is kept with room to spare
LEAST = 200  # bytes of a cut section that are worth showing


@dataclass(frozen=True)
class Section:
    """A piece of a prompt: a heading of ours, and a text by others. Those of the lowest `priority` are kept first; of
    equal ones, those that come first."""

    label: str
    text: str
    priority: int = 0


def tokens_of(text: str) -> int:
    """An estimate of the tokens of a text that errs on the high side for English and code."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def data(mark: str, label: str, text: str) -> str:
    """A text by others between marks; where it holds the mark itself, the mark is broken."""
    return f"<data {mark} {label}>\n{text.replace(mark, '(mark)').strip()}\n</data {mark}>"


def mark_of(seed: int) -> str:
    """The mark of one prompt."""
    return f"{seed_of(seed, 'mark') % 16**8:08x}"


def fill(sections: Sequence[Section], mark: str, room: int) -> str:
    """The sections as they come, but for what `room` bytes do not hold: by priority, the first that does not fit is
    cut, the rest is left out and counted."""
    parts: dict[int, str] = {}
    for index in sorted(range(len(sections)), key=lambda i: (sections[i].priority, i)):
        section = sections[index]
        part = data(mark, section.label, section.text)
        size = len(part.encode(errors="replace")) + 2
        if size > room:
            kept = max(0, room - len(section.label.encode(errors="replace")) - 120)
            if kept > LEAST:
                cut = section.text.encode(errors="replace")[:kept].decode(errors="ignore")
                parts[index] = data(mark, f"{section.label}, cut", cut)
            break
        parts[index] = part
        room -= size
    left = len(sections) - len(parts)
    return "\n\n".join([*(parts[i] for i in sorted(parts)), *[f"({left} more sections were left out.)"] * bool(left)])


def within(tokens: int, system: Message, sections: Sequence[Section], mark: str) -> Message:
    """The sections as the user's message, such that both messages keep a budget of tokens."""
    return Message("user", fill(sections, mark, BYTES_PER_TOKEN * (tokens - tokens_of(system.text) - 50)))


def coarse(text: str) -> str:
    """A text with its decimals cut to the second: the next is noise, and moves with the machine."""
    return re.sub(r"[+-]?\d+\.\d{3,}", lambda m: f"{round(float(m[0]), 2) + 0.0:{'+' * (m[0][0] in '+-')}.2f}", text)


def brief(text: str, most: int = 500) -> str:
    """The first words of a text, on one line."""
    return textwrap.shorten(text, most, placeholder=" ...")

"""Text from outside as text that may be shown: to a terminal, in a report, in a file."""

from __future__ import annotations

LONGEST = 6000


def plain(text: str, longest: int = LONGEST) -> str:
    """The text with every character that commands instead of being read (newline and tab excepted) replaced, and cut
    in its middle where it is longer than `longest` characters."""
    if len(text) > longest:
        half = (longest - 5) // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)

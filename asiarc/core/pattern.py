"""Patterns: what fills the blocks of a model, in order. No torch in here.

A pattern is a tuple of slots that repeats over a model's blocks. A slot names a mixer (``candidate``, a shipped one,
one of the campaign's own) or ``mlp``, a block without a mixer; ``@SHARE`` behind it is the width of the block's MLP
over the width that the other blocks have: ``gated_delta_net@0`` has none, ``mlp@2`` is one twice as wide.

    layers = ("candidate", "candidate", "candidate", "softmax_attention")

A pattern written so, alone in a file, is a candidate of the domain `pattern`, and named by its content as any source.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asiarc.core.errors import CandidateError

CANDIDATE = "candidate"
NO_MIXER = "mlp"
MOST_SLOTS = 256
WIDEST = 16.0  # of the share of an MLP

Layers = tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """What fills one block: a mixer by name (empty: none), and the width of its MLP over the model's (0: none)."""

    mixer: str = CANDIDATE
    share: float = 1.0

    def hidden(self, hidden: int) -> int:
        """Hidden units of this block's MLP in a model of `hidden`."""
        return max(1, round(self.share * hidden)) if self.share and hidden else 0


def slot_of(text: str) -> Slot:
    """A slot as it is written; `CandidateError` says what is wrong with one that cannot be read."""
    name, at, share = text.partition("@")
    if at and not _is_share(share):
        raise CandidateError(f"slot {text!r}: behind @ stands the share of an MLP, from 0 to {WIDEST:g}; give mlp@2")
    slot = Slot("" if name == NO_MIXER else name, float(share) if at else 1.0)
    if not name or (not slot.mixer and not slot.share):
        raise CandidateError(f"slot {text!r} fills a block with nothing; name a mixer, or {NO_MIXER!r} for an MLP")
    return slot


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= WIDEST
    except ValueError:
        return False


def mixers_of(layers: Sequence[str]) -> Layers:
    """The names of the mixers in a pattern but for the candidate, each once, in order."""
    names = dict.fromkeys(slot_of(text).mixer for text in layers)
    return tuple(name for name in names if name and name != CANDIDATE)


def named_by(layers: Sequence[str], names: Mapping[str, str]) -> Layers:
    """The same pattern with other names for some of its mixers."""
    parts = (text.partition("@") for text in layers)
    return tuple(names.get(name, name) + at + share for name, at, share in parts)


def shortest(layers: Sequence[str]) -> Layers:
    """The shortest pattern that repeats to this one: what fills the same blocks has one text."""
    whole = tuple(layers)
    lengths = (n for n in range(1, len(whole) + 1) if len(whole) % n == 0)
    return next(whole[:n] for n in lengths if whole[:n] * (len(whole) // n) == whole)


def pattern_of(source: str) -> Layers | None:
    """The pattern that a source consists of; None where it is something else, a mixer or nothing that can be read."""
    try:
        body = [node for node in ast.parse(source).body if not _is_text(node)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    match body:
        case [ast.Assign([ast.Name("layers")], ast.Tuple(slots) | ast.List(slots))]:
            texts = tuple(slot.value for slot in slots if isinstance(slot, ast.Constant) and type(slot.value) is str)
            return texts if texts and len(texts) == len(slots) else None
    return None


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def pattern_text(layers: Sequence[str], title: str = "") -> str:
    """A pattern as a source, under a title; equal patterns have one content address."""
    safe = title.replace("\\", "\\\\").replace('"""', "'''")
    slots = "".join(f'    "{slot}",\n' for slot in layers)
    return (f'"""{safe}"""\n\n' if safe else "") + f"layers = (\n{slots})\n"

"""Choices of the grammar by tag: in words, changed, and told apart. What each is and does: `asiarc/core/genome.py`."""

from __future__ import annotations

from typing import Any

from asiarc.core.genome import NEEDS, PLAIN, THINGS, TRAITS, Genome, Tag, defaults, domain


def tag_of(field: str, value: Any) -> Tag:
    """A choice as a tag."""
    return f"{field}={value}"


def choice_of(tag: Tag) -> tuple[str, Any] | None:
    """The field and value of a tag, or None where the grammar has no such choice."""
    field, _, written = tag.partition("=")
    return next(((field, value) for value in domain().get(field, ()) if str(value) == written), None)


def mechanism_names() -> tuple[Tag, ...]:
    """Every choice of the grammar as a tag."""
    return tuple(tag_of(field, value) for field, values in domain().items() for value in values)


def phrase(tag: Tag) -> str:
    """A choice in words."""
    if tag in TRAITS:
        return TRAITS[tag].phrase
    return PLAIN.get(tag) or f"no {THINGS[tag.partition('=')[0]]}"


def with_choice(genome: Genome, field: str, value: Any) -> Genome:
    """The genome with one choice changed, and with what that choice needs where it has no effect alone."""
    child = Genome(**genome.model_dump() | {field: value})
    if getattr(child, field) != value:
        child = Genome(**genome.model_dump() | dict(NEEDS.get(field, {})) | {field: value})
    return child


def difference(parent: Genome, child: Genome) -> tuple[Tag, ...]:
    """The choices that the child has and the parent has not, in the order of the fields."""
    before = parent.model_dump()
    return tuple(tag_of(field, value) for field, value in child.model_dump().items() if before[field] != value)


def describe(genome: Genome) -> str:
    """The mixer in one line: its memory, how paths are mixed, and how it is gated."""
    parts = [phrase(tag_of("memory", genome.memory))]
    if len(genome.paths()) > 1:
        parts.append(f"{phrase(tag_of('router', genome.router))} over {', '.join(genome.paths())}")
    if genome.output_gate != defaults()["output_gate"]:
        parts.append(phrase(tag_of("output_gate", genome.output_gate)))
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."

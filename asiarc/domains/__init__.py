"""Domains: what evolves in a campaign. A domain is a module here, listed in `DOMAINS`; the loop knows none by name.

*mixer*: programs, each the mixer of a model or of the candidate's slots in a pattern. *pattern*: what fills the blocks,
over a set of slots. A domain says which researchers propose in it, what a baseline's source is, and how candidates that
are no programs are examined; all else (admission, training, the archive, reports) is the same for all of them. What
trains nothing is not listed: `asiarc.domains.kernel`, whose trials are times, has a loop of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.pattern import Layers
from asiarc.core.proposal import Researcher

DOMAINS = {"mixer": "asiarc.domains.mixer:MIXER", "pattern": "asiarc.domains.pattern:PATTERN"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a campaign says to its domain: the slots that patterns are made of, the fewest blocks that any of its models
    has, and the largest share of blocks whose state may grow with the text."""

    slots: Layers = ()
    blocks: int = 1
    quadratic: float = 1.0


@dataclass(frozen=True)
class Part:
    """A mixer that stands in a pattern, as the gates measured it: `measures` as theirs, and whether its state or its
    cost grows with the text as attention's do."""

    measures: Mapping[str, float]
    is_quadratic: bool


@dataclass(frozen=True)
class Examined:
    """What a domain's own gates found of a candidate: a row a gate, and with all passed what it measures."""

    findings: tuple[Row, ...]
    measures: Row | None = None

    @property
    def outcome(self) -> Outcome:
        """Scored, or rejected by the first gate that did."""
        found = next((row for row in self.findings if row["verdict"] == "rejected"), None)
        return Outcome("rejected", found["reason"], found["gate"]) if found else SCORED


@dataclass(frozen=True)
class Domain:
    """What is particular to what evolves.

    `researcher` makes one of the `researchers` by its name; `baseline` gives the source of a baseline as it is declared
    (`CandidateError` for what is none), `examine` what the domain's gates find of a source, with the mixers in it by
    name, and `genome` a source in choices. Where these three are None candidates are programs: a baseline is a mixer's
    file, and the gates examine it in the sandbox.
    """

    researchers: tuple[str, ...]
    novelty: tuple[str, ...]
    resources: tuple[str, ...]
    researcher: Callable[[str, Setting], Researcher]
    baseline: Callable[[str, Setting], str] | None = None
    examine: Callable[[str, Mapping[str, Part], Setting], Examined] | None = None
    genome: Callable[[str], Row] | None = None


def domain_of(name: str) -> Domain:
    """A domain by its name, one of `DOMAINS`."""
    module, _, attribute = DOMAINS[name].partition(":")
    found: Domain = getattr(import_module(module), attribute)
    return found

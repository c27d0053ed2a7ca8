"""The errors that a user can cause, and how they read.

One family: whoever drives asiarc catches `AsiarcError` and has them all. Each message says what was given, what is
allowed, the nearest valid choice and what to do next. A broken invariant of ours is an `assert`; a candidate that
misbehaves is an `Outcome`; neither is an error of this family.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AsiarcError(Exception):
    """Root of every error that a user of asiarc can cause and mend."""


class DeclarationError(AsiarcError):
    """What a file declares cannot be run as written; correct the named field."""

    field = ""  # the field to look at
    table = ""  # in TOML, the table that it stands in


class CampaignError(DeclarationError):
    """A campaign's declaration cannot be run as written; correct the named field."""


class KernelError(DeclarationError):
    """A kernel's declaration cannot be checked as written; correct the named field."""


class ExtraMissingError(AsiarcError):
    """Campaigns need packages that kernel files do not; the message says how they are installed."""


class CandidateError(AsiarcError):
    """A candidate file cannot be read as one; see the candidate contract in the README."""


class KernelInputError(AsiarcError, ValueError):
    """A kernel was called outside its contract; the message names the argument, what it got and what it takes."""


class ModelInputError(AsiarcError, ValueError):
    """A model was given what it cannot read rightly; the message says in which form it can."""


class TaskError(AsiarcError):
    """A task or its data is not to be had under the given name or path."""


class ArchiveError(AsiarcError):
    """The archive on disk cannot be used as it is; the message says how to go on without losing it."""


class ExecutionError(AsiarcError):
    """The machine could not run the work (no worker starts, a tool is missing); no candidate is to blame."""


class BrokenRuleError(AsiarcError, AssertionError):
    """A researcher, task or policy of one's own breaks a rule of its contract; see `asiarc.testing`."""


class EvidenceError(AsiarcError):
    """A statistic was asked of data that cannot give it (too few pairs, unequal lengths)."""


class RefereeError(AsiarcError):
    """A referee cannot be asked, does not stand safely, or refuses what it was asked."""


class BudgetExhaustedError(AsiarcError):
    """A hard cap was reached before the work was done; what is finished is kept, run again to go on."""


def nearest(given: str, allowed: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The allowed name closest to what was given, or None when none is close."""
    matches = difflib.get_close_matches(given, list(allowed), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def unknown_name(kind: str, given: str, allowed: Iterable[str], *, then: str = "") -> str:
    """One message for every misspelt name: what was given, the nearest valid one, all valid ones, what to do next."""
    choices = sorted(allowed)
    close = nearest(given, choices)
    hint = f" Did you mean {close!r}?" if close else ""
    return f"unknown {kind} {given!r}.{hint} Valid: {', '.join(choices)}.{' ' + then if then else ''}"

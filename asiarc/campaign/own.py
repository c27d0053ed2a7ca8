"""Mixers of one's own beside the shipped baselines: a candidate file by its path, named as the file is.

A declaration names them; `Campaign.at` reads each once, from where the campaign's file lies, and from then on a
campaign knows them by name and source. What they are is their content: their address is in a run's identity, their
place is not.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asiarc.core.candidate import address_of, parse, read_source
from asiarc.core.errors import CampaignError, CandidateError, unknown_name
from asiarc.models.baselines import BASELINE_NAMES, QUADRATIC, baseline_source

INSTEAD = "Or give the path of a candidate file of your own, relative to the campaign's: mixers/mine.py."
OWN_PATTERN = r"/|\.py$|^~"  # what is a path, and no name


@dataclass(frozen=True)
class Baseline:
    """A mixer that candidates are held against: its name, its source, and the gates that it is exempt from."""

    name: str
    source: str
    exempt: frozenset[str] = frozenset()
    given: str = ""  # as it was declared, where that is not its name

    @property
    def address(self) -> str:
        """Its content address."""
        return address_of(self.source)

    @property
    def told(self) -> str:
        """How an error names it: with what it was declared as."""
        return f"{self.name} ({self.given})" if self.given else self.name


def is_path(given: str) -> bool:
    """Whether a baseline is given by the path of its file."""
    return "/" in given or given.endswith(".py") or given.startswith("~")


def called(given: str) -> str:
    """The name of a baseline in tables and results: a file's is its stem."""
    return Path(given).stem if is_path(given) else given


def check_given(given: str) -> None:
    """Raise `ValueError` for what names no baseline and is no path; nothing is read."""
    if not is_path(given) and given not in BASELINE_NAMES:
        raise ValueError(unknown_name("baseline", given, BASELINE_NAMES, then=INSTEAD))
    if is_path(given) and not given.endswith(".py"):
        raise ValueError(
            f"{given!r} is no candidate file: one is a Python file that defines class Mixer, mixers/mine.py"
        )


def check_names(givens: Sequence[str]) -> None:
    """Raise `ValueError` where two baselines would have one name."""
    first: dict[str, str] = {}
    for given in givens:
        name = called(given)
        if name not in first and given != name and name in BASELINE_NAMES:
            raise ValueError(f"{given!r} would be called {name}, as a shipped baseline is; rename the file")
        if name in first:
            same = f"a baseline is named twice: {', '.join(givens)}"
            apart = f"{first[name]!r} and {given!r} would both be called {name}; rename one of the files"
            raise ValueError(same if first[name] == given else apart)
        first[name] = given


def baseline_at(given: str, folder: Path) -> Baseline:
    """A baseline as it is declared in a campaign of a folder; `CampaignError` where its file is none of a candidate."""
    if not is_path(given):
        return Baseline(given, baseline_source(given), frozenset({"complexity"} if given in QUADRATIC else ()))
    try:
        path = folder / Path(given).expanduser()
        source = read_source(path)
        tree = parse(source)
    except FileNotFoundError as error:
        raise CampaignError(f"no file {str(path)!r}: a path is relative to the campaign's file") from error
    except (OSError, RuntimeError, CandidateError) as error:
        raise CampaignError(f"{given}: {error}") from error
    if not any(isinstance(node, ast.ClassDef) and node.name == "Mixer" for node in tree.body):
        raise CampaignError(
            f"{given} defines no class Mixer(nn.Module), which a candidate file does; asiarc/models/baselines has eight"
        )
    return Baseline(called(given), source, given=given)

"""Mixers of one's own beside the shipped baselines: a candidate file by its path, named as the file is, and a class of
transformers (`asiarc.models.library` wraps it), named as the class is.

A declaration names them; `Campaign.at` reads each once, from where the campaign's file lies, and from then on a
campaign knows them by name and source. What they are is their content: their address is in a run's identity, their
place is not.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from asiarc.core.candidate import address_of, parse, read_source
from asiarc.core.errors import CampaignError, CandidateError, unknown_name
from asiarc.models.baselines import QUADRATIC, SHIPPED_NAMES, baseline_source

INSTEAD = (
    "Or give the path of a candidate file of your own, relative to the campaign's (mixers/mine.py), or a class of "
    "transformers (transformers:qwen3_next.Qwen3NextGatedDeltaNet)."
)
OWN_PATTERN = r"/|\.py$|^~|^transformers:\w+\.\w+$"  # what is a path or a class, and no name
WRAPPED = '''"""{given}, wrapped to the contract."""

from asiarc.models.library import wrapped

Mixer = wrapped("{given}")
'''
COSTS = frozenset({"complexity", "peak_memory"})  # what the quadratic reference is let off
LIBRARIES = ("transformers", "fla")


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


def is_class(given: str) -> bool:
    """Whether a baseline is given as a class of a library."""
    return ":" in given and not is_path(given)


def called(given: str) -> str:
    """The name of a baseline in tables and results: a file's is its stem, a class has its own."""
    if is_class(given):
        return given.rpartition(".")[2]
    return Path(given).stem if is_path(given) else given


def check_given(given: str) -> None:
    """Raise `ValueError` for what names no baseline and is no path; nothing is read."""
    if is_class(given):
        _check_class(given)
    elif not is_path(given) and given not in SHIPPED_NAMES:
        raise ValueError(unknown_name("baseline", given, SHIPPED_NAMES, then=INSTEAD))
    if is_path(given) and not given.endswith(".py"):
        raise ValueError(
            f"{given!r} is no candidate file: one is a Python file that defines class Mixer, mixers/mine.py"
        )


def _check_class(given: str) -> None:
    library, _, path = given.partition(":")
    if library not in LIBRARIES:
        raise ValueError(unknown_name("library", library, LIBRARIES, then=INSTEAD))
    if library == "fla":
        raise ValueError(
            f"{given!r}: FLA's layers run in Triton on a GPU alone, and gates examine every mixer on the CPU, so it "
            "could not be admitted; take a shipped baseline, or transformers:qwen3_next.Qwen3NextGatedDeltaNet"
        )
    model, _, name = path.rpartition(".")
    known = _linear_classes(model)
    if name not in known:
        where = (
            f"class of transformers.models.{model} whose forward takes cache_params (a state that can be handed over):"
        )
        raise ValueError(unknown_name(where, name, known) if known else _no_model(given, model))


def _no_model(given: str, model: str) -> str:
    return (
        f"{given!r}: transformers has no model {model!r} with a mixer whose state can be handed over; write "
        "transformers:MODEL.Class, as in transformers:qwen3_next.Qwen3NextGatedDeltaNet"
    )


@cache
def _linear_classes(model: str) -> tuple[str, ...]:
    """The classes of a model of transformers whose own forward takes a linear cache, read from its source."""
    found = importlib.util.find_spec("transformers")
    folder = Path(found.origin).parent if found and found.origin else Path()
    file = folder / "models" / model / f"modeling_{model}.py"
    if not model.isidentifier() or not file.is_file():
        return ()
    classes = [node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.ClassDef)]
    return tuple(node.name for node in classes if _is_linear_mixer(node))


def _is_linear_mixer(node: ast.ClassDef) -> bool:
    methods = {one.name: one.args for one in node.body if isinstance(one, ast.FunctionDef)}
    arguments = {name: {a.arg for a in args.args} for name, args in methods.items()}
    return (
        "cache_params" in arguments.get("forward", ())
        and "hidden_states" in arguments["forward"]
        and {"config", "layer_idx"} <= arguments.get("__init__", set())
    )


def check_names(givens: Sequence[str]) -> None:
    """Raise `ValueError` where two baselines would have one name."""
    first: dict[str, str] = {}
    for given in givens:
        name = called(given)
        if given != name and name in SHIPPED_NAMES:
            raise ValueError(f"{given!r} would be called {name}, as a shipped baseline is; rename the file")
        if name in first:
            same = f"a baseline is named twice: {', '.join(givens)}"
            apart = f"{first[name]!r} and {given!r} would both be called {name}; rename one of the files"
            raise ValueError(same if first[name] == given else apart)
        first[name] = given


def baseline_at(given: str, folder: Path) -> Baseline:
    """A baseline as it is declared in a campaign of a folder; `CampaignError` where its file is none of a candidate."""
    if is_class(given):
        return Baseline(called(given), WRAPPED.format(given=given), frozenset({"static"}), given)
    if not is_path(given):
        return Baseline(given, baseline_source(given), COSTS if given in QUADRATIC else frozenset())
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
            f"{given} defines no class Mixer(nn.Module), which a candidate file does; asiarc/models/baselines has some"
        )
    return Baseline(called(given), source, given=given)

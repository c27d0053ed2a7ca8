"""Committed expectations: ``tests/speed/goldens/<layer>.json``, made by ``python -m tests.rigs kernels bless``.

A file says in which environment its values hold. Elsewhere nothing is said; a case without a value is an error, for
a benchmark whose expectation is missing would guard nothing.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from asiarc.speed import NotMeasuredError

FOLDER = Path("tests/speed/goldens")
Values = dict[str, dict[str, float]]
Rule = Callable[[float, float], str]
"""(golden, measured) -> what is wrong, or nothing."""


def environment() -> dict[str, str]:
    """What every golden depends on besides our code."""
    return {
        "torch": metadata.version("torch").partition("+")[0],
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
    }


def read(layer: str, here: dict[str, str], folder: Path = FOLDER) -> Values:
    """The goldens of a layer; raises `NotMeasuredError` where they were taken in another environment."""
    path = folder / f"{layer}.json"
    if not path.exists():
        return {}
    stored: dict[str, Any] = json.loads(path.read_text())
    moved = [f"{name} {stored['environment'].get(name)} -> {here[name]}" for name in here]
    moved = [text for text, name in zip(moved, here, strict=True) if stored["environment"].get(name) != here[name]]
    if moved:
        raise NotMeasuredError(
            f"not measured: the {layer} goldens hold for another environment ({', '.join(moved)});"
            f" take them here with: python -m tests.rigs kernels bless {layer}"
        )
    values: Values = stored["values"]
    return values


def write(layer: str, here: dict[str, str], values: Values, folder: Path = FOLDER) -> Path:
    """Stores the goldens of a layer, one case a line, so that a diff reads as what changed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{layer}.json"
    lines = ",\n".join(f"  {json.dumps(case)}: {json.dumps(values[case])}" for case in sorted(values))
    path.write_text(f'{{"environment": {json.dumps(here)},\n "values": {{\n{lines}\n }}}}\n')
    return path


def problems(layer: str, measured: Values, golden: Values, rule: Rule) -> list[str]:
    """Every way in which measured values break their goldens, missing ones first."""
    bless = f"if it is meant, commit it: python -m tests.rigs kernels bless {layer}"
    found = [f"{case}: no {layer} baseline; {bless}" for case in measured if case not in golden]
    for case, values in measured.items():
        expected = golden.get(case)
        if expected is None:
            continue
        if values.keys() != expected.keys():
            found.append(f"{case}: measures {sorted(values)}, the baseline holds {sorted(expected)}; {bless}")
            continue
        found += [f"{case}: {name} {why}" for name in values if (why := rule(expected[name], values[name]))]
    return found


def ratio_text(golden: float, measured: float) -> str:
    """Both values and how they compare."""
    change = f" ({measured / golden - 1:+.1%})" if golden else ""
    return f"{golden:g} -> {measured:g}{change}"

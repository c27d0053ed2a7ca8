"""What a number depends on: the identity of a run, the key of a trial, and the provenance kept beside both.

Identity = hash of (identity version, resolved spec, the definitions reached from the entry points, kernels, tasks,
baselines, device, precision, backend, package versions, tier, seed). Where a definition lies, comments and docstrings
do not count; see `asiarc/core/reach.py`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from asiarc.campaign.code import ENTRIES, Entry, kernel, kernels_of, operators, reached
from asiarc.campaign.declaration import IDENTITY_VERSION, Campaign
from asiarc.core.candidate import content_address
from asiarc.core.device import PRECISION, Device, backend_on, device_type
from asiarc.core.digest import digest
from asiarc.core.reach import installed
from asiarc.core.recipe import Tier
from asiarc.models.baselines import PANEL, baseline_source
from asiarc.tasks import read_with

PACKAGES = (
    "torch",
    "transformers",
    "lm-eval",
    "numpy",
    "scipy",
    "hypothesis",
    "einops",
    "tokenizers",
    "pytest",
    "asiarc",
)
# Another version of these may move a trained number; of the others it may not.
DECIDING_PACKAGES = ("torch", "transformers", "tokenizers", "lm-eval")


def kernels_folder() -> Path:
    """Where the kernels' sources are (beside the package in a checkout, inside it in a wheel)."""
    return installed().kernels


@cache
def version_of(package: str) -> str:
    """The installed version of a package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """The packages that a trained number depends on."""
    return {package: version_of(package) for package in DECIDING_PACKAGES}


def made_by(*entries: Entry, sources: Iterable[str] = (), device: Device | None = None) -> dict[str, Any]:
    """The fields of a key that say what makes a number: the code of some entry points, the kernels that candidates'
    `sources` import, device, precision, backend and packages. `device` is this process's where none is given.
    """
    device = device or device_type()
    backend = backend_on(device)
    compiler = {"triton": version_of("triton")} if backend == "triton" else {}
    return {
        "code": {entry: reached(entry).whole for entry in entries},
        "kernels": {name: text for source in sources for name, text in kernels_of(source, backend).items()},
        "device": device,
        "precision": PRECISION[device],
        "backend": backend,
        **versions(),
        **compiler,
    }


def all_kernels(device: Device) -> dict[str, str]:
    """The digest of every operator, for what compares candidates whatever they import."""
    return {name: kernel(name, backend_on(device)) for name in operators()}


def run_identity(campaign: Campaign, name: str, tier: Tier) -> dict[str, Any]:
    """The fields that a run's name is the hash of.

    `code` and `kernels` move with anything that counts; `definitions` holds four digits of each definition that an
    entry point reaches, so that a miss names what moved.
    """
    read = sorted(
        {
            (task, campaign.plan(stage, tier).text.tokenizer)
            for stage in campaign.stages
            for task in campaign.stage(stage).tasks
        }
    )
    beside = campaign.mixers_beside
    found = {
        "identity_version": IDENTITY_VERSION,
        "campaign": name,
        "tier": tier,
        "seed": campaign.seed,
        "spec": campaign.resolved(tier),
        "plans": {stage: campaign.plan(stage, tier).as_dict() for stage in campaign.stages},
        "baselines": {one: campaign.baseline(one).address for one in campaign.baselines},
        **({"mixers": {name: one.address for name, one in beside.items()}} if beside else {}),
        "controls": {one: content_address(baseline_source(one)) for one in campaign.controls_at(tier)},
        "tasks": {
            name if tokenizer == "bytes" else f"{name} in {tokenizer}": _task(name, tokenizer)
            for name, tokenizer in read
        },
        "definitions": _definitions(),
        **made_by(*ENTRIES),
        "kernels": all_kernels(device_type()),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))  # as an archive gives it back: nothing moves but what moved
    return plain


def _task(name: str, tokenizer: str) -> str:
    """A task as a run sees it: its data, what its score may be used for, and the training that suits it."""
    task = read_with(name, tokenizer)
    return digest([task.identity, task.role, task.chance, asdict(task.training)])


@cache
def _definitions() -> dict[str, str]:
    """What any entry point reaches, four digits a definition; of one name in two, both."""
    found: dict[str, set[str]] = {}
    for entry in ENTRIES:
        for name, digits in reached(entry).definitions.items():
            found.setdefault(name, set()).update(digits.split())
    return {name: " ".join(sorted(found[name])) for name in sorted(found)}


def moved_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The fields in which two identities differ, nested ones dotted, with both values."""
    moved = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            moved += [f"{key}.{inner}" for inner in moved_fields(a, b)]
        elif _as_stored(a) != _as_stored(b):
            moved.append(f"{key}: {_shown(a)} -> {_shown(b)}")
    return moved


def _as_stored(value: Any) -> Any:
    """A value as JSON gives it back, in which a tuple is a list."""
    return [_as_stored(one) for one in value] if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    return f"{len(value)} fields" if isinstance(value, dict) and value else str(_as_stored(value))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=installed().folder, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _command() -> list[str]:
    """The command line as one would type it; where Python and the program lie says nothing of the numbers."""
    program = Path(sys.argv[0])
    return [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]


def provenance() -> dict[str, Any]:
    """Where and with what a run happened: commit, hash of uncommitted changes, the panel that "every human baseline"
    means, versions, machine, command line."""
    changes = _git("diff", "HEAD")
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": digest(changes) if changes else "",
        "panel": PANEL,
        "python": platform.python_version(),
        "packages": {package: version_of(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "command": _command(),
    }

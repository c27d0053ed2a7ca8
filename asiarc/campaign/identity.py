"""What a number depends on: the identity of a run, the key of a trial, and the provenance kept beside both.

Identity = hash of (identity version, resolved spec, engine, kernels, tasks, package versions, tier, seed). Comments
and docstrings do not count: code is hashed by its normalised syntax tree.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import asiarc
from asiarc.campaign.declaration import IDENTITY_VERSION, Campaign
from asiarc.core.candidate import content_address
from asiarc.core.digest import digest
from asiarc.core.recipe import Tier, stage_plan
from asiarc.tasks import get_task

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
_ENGINE = (
    "models/backbone.py",
    "engineer/trainer.py",
    "engineer/trial.py",
    "engineer/scoring.py",
    "engineer/candidate.py",
    "tasks/lm_eval_config.py",
    "seeds.py",
)


_SEARCH = (
    "loop.py",
    "protocol.py",
    "context.py",
    "drafts.py",
    "findings.py",
    "team.py",
    "analyst/compare.py",
    "analyst/judge.py",
    "analyst/library.py",
    "analyst/llm.py",
    "cognition/base.py",
    "cognition/dense.py",
    "engineer/bench.py",
    "engineer/fingerprint.py",
    "researcher",
    "search/campaign.py",
    "search/policies",
    "search/protocol.py",
    "search/estimate.py",
)


def code_hash(files: list[Path]) -> str:
    """The hash of what some source files compute (comments and docstrings do not count)."""
    return digest([content_address(file.read_text()) for file in files])


def _package_folder() -> Path:
    return Path(asiarc.__file__).parent


def kernels_folder() -> Path:
    """Where the kernels' sources are (beside the package in a checkout, inside it in a wheel)."""
    import asiarc.kernels

    return Path(asiarc.kernels.__path__[0])


def version_of(package: str) -> str:
    """The installed version of a package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@cache
def versions() -> dict[str, str]:
    """What the numbers of a trial depend on besides its own settings."""
    computing = (
        "__init__.py",
        "chunk.py",
        "chunked.py",
        "contract.py",
    )  # not the references, peers and benchmarks
    kernels = sorted(file for file in kernels_folder().rglob("*.py") if file.name in computing)
    templates = sorted((_package_folder() / "tasks" / "templates").glob("*.yaml"))
    found = {
        "engine": digest(
            [code_hash([_package_folder() / name for name in _ENGINE]), [t.read_text() for t in templates]]
        ),
        "kernels": code_hash(kernels),
    }
    return found | {package: version_of(package) for package in DECIDING_PACKAGES}


def run_identity(campaign: Campaign, name: str, tier: Tier) -> dict[str, Any]:
    """The fields that a run's name is the hash of."""
    tasks = sorted({task for stage in campaign.stages for task in campaign.stage(stage).tasks})
    return {
        "identity_version": IDENTITY_VERSION,
        "campaign": name,
        "tier": tier,
        "seed": campaign.seed,
        "spec": campaign.resolved(tier),
        "plans": {stage: asdict(stage_plan(tier, stage)) for stage in campaign.stages},
        "tasks": {task: get_task(task).identity for task in tasks},
        "search": _search_hash(),
        **versions(),
    }


@cache
def _search_hash() -> str:
    """What proposes and chooses: another search may find another winner, so it is another run (trials stay valid)."""
    paths = [_package_folder() / name for name in _SEARCH]
    files = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    entries = sorted((_package_folder() / "cognition" / "entries").glob("*.toml"))
    return digest([code_hash(files), [entry.read_text() for entry in entries]])


def moved_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The fields in which two identities differ, nested ones dotted, with both values."""
    moved = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            moved += [f"{key}.{inner}" for inner in moved_fields(a, b)]
        elif a != b:
            moved.append(f"{key}: {a} -> {b}")
    return moved


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=_package_folder(),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
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
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def _command() -> list[str]:
    """The command line as one would type it; where Python and the program lie says nothing of the numbers."""
    program = Path(sys.argv[0])
    return [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]


def provenance() -> dict[str, Any]:
    """Where a run happened: commit, hash of uncommitted changes, versions, machine, command line."""
    changes = _git("diff", "HEAD")
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": digest(changes) if changes else "",
        "python": platform.python_version(),
        "packages": {package: version_of(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "command": _command(),
    }

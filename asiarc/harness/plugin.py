"""The door to pytest: asiarc's options, and where its files may lie; all else is in `asiarc.harness.collection`.

An installed asiarc does nothing in a project that has nothing for it. Files are asiarc's where they lie in a declared
folder (``asiarc_paths`` in the pytest ini; by default ``campaigns``, ``kernels`` and ``reproductions``, if a file in
them speaks of asiarc) or are named on the command line and speak of asiarc. Only then is the rest of the plugin loaded.
An option is ``--asiarc-NAME``, and where there is something for asiarc also ``--NAME``, unless that is another's.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asiarc.core.recipe import TIERS

FOLDERS = ("campaigns", "kernels", "reproductions")
CAMPAIGN_FILES, CLAIM_FILES, TOML_FILES = "campaign_*.py", "claim_*.py", "campaign_*.toml"
KERNEL_FILES = "kernel_*.py"
_SPEAKS = {
    ".py": re.compile(rb"^(?:\xef\xbb\xbf)?\s*(from|import)\s+asiarc\b", re.MULTILINE),
    ".toml": re.compile(rb"^\W*(start_from|baselines|explore|budget)\b", re.MULTILINE),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "tier": dict(choices=TIERS, default="smoke", help="how much compute is spent (default: smoke)"),
    "plan": dict(action="store_true", help="print what each campaign would do and cost, and run nothing"),
    "dry-run": dict(action="store_true", help="pass every step at a tiny size, in a folder that is thrown away"),
    "fresh": dict(action="store_true", help="set the archive aside and start from an empty one"),
    "retry": dict(action="store_true", help="ask and train again what failed for want of machine, network or money"),
    "workers": dict(type=int, default=2, metavar="N", help="processes that train at once (default: 2)"),
    "store": dict(type=Path, default=None, metavar="DIR", help="the archive's folder (default: the rootdir's .asiarc)"),
    "executor": dict(choices=("local", "ray"), default="local", help="where trials run (docs/cluster.md)"),
    "ray-address": dict(default=None, metavar="HOST:PORT", help="the cluster's head (default: the one that is near)"),
    "gpus-per-job": dict(type=float, default=0, metavar="N", help="on a cluster: GPUs of each job"),
    "llm": dict(
        choices=("replay", "record", "live"),
        default="replay",
        help="answer language models' questions from what is recorded (default), ask for what is not, or ask for all",
    ),
    "llm-base-url": dict(
        default=None, metavar="URL", help="an OpenAI-compatible endpoint (default: OpenAI's own), or file:DIR, a folder"
    ),
    "llm-model": dict(
        action="append",
        default=[],
        metavar="ROLE=NAME",
        help="ask another model in a role than the campaign names (it must be priced there)",
    ),
    "no-report": dict(action="store_true", help="end with the answers alone, and write no report"),
    "summary": dict(type=Path, default=None, metavar="FILE", help="write a Markdown table of what ran, for CI"),
    "release": dict(type=Path, default=None, metavar="DIR", help="the paper's released data, if you have it"),
    "claims-only": dict(default="", metavar="IDS", help="decide only these claims, e.g. C07a,C29"),
    "strict-claims": dict(action="store_true", help="a contradicted claim fails its item"),
    "accept-verdicts": dict(default=None, metavar="NOTE", help="record changed verdicts, with a note that says why"),
}


@dataclass(frozen=True)
class Places:
    """Where asiarc's files lie: all below some folders, and those that were named."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]

    def holds(self, path: Path, *patterns: str) -> bool:
        """Whether a file of such a name is asiarc's."""
        is_here = path in self.files or not set(self.folders).isdisjoint(path.parents)
        return is_here and any(path.match(pattern) for pattern in patterns)


PLACES = pytest.StashKey[Places]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that asiarc adds to pytest; each has its section in the README."""
    group = parser.getgroup("asiarc", "architecture discovery (among campaigns also without the prefix: --tier, ...)")
    for name, settings in OPTIONS.items():
        group.addoption(f"--asiarc-{name}", **settings)
    parser.addini("asiarc_paths", "folders of campaigns, kernels and claims", type="paths", default=[])


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> Iterator[None]:
    """Once everybody's options are known, ours without their prefix, but for those that are another's."""
    yield
    known = early_config.known_args_namespace
    places = early_config.stash[PLACES] = places_of(early_config, known.file_or_dir or early_config.getini("testpaths"))
    if places.folders or places.files:
        group = parser.getgroup("asiarc")
        for name, settings in OPTIONS.items():
            short = settings | {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
            with contextlib.suppress(argparse.ArgumentError):
                group.addoption(f"--{name}", dest=f"asiarc_{name.replace('-', '_')}", **short)


def pytest_configure(config: pytest.Config) -> None:
    """Load the rest where there is something for it; pytest itself finds our files and rewrites their asserts."""
    places = config.stash[PLACES] if PLACES in config.stash else places_of(config, config.args)
    config.stash[PLACES] = places
    for folder in places.folders:
        for pattern in (CAMPAIGN_FILES, CLAIM_FILES, KERNEL_FILES):
            for between in ("/", "/*/"):
                config.addinivalue_line("python_files", glob.escape(str(folder)) + between + pattern)
    if places.folders or places.files:
        from asiarc.harness import collection

        config.pluginmanager.register(collection, "asiarc.harness.collection")


def places_of(config: pytest.Config, arguments: Sequence[str]) -> Places:
    """Where asiarc's files lie in a project, for the arguments of a session."""
    here = config.invocation_params.dir
    named = [here / argument.partition("::")[0] for argument in arguments]
    folders: list[Path] = config.getini("asiarc_paths")
    if not folders:
        roots = (config.rootpath, here)
        near = [root / name for root in roots for name in FOLDERS]
        near += [path for path in (*roots, *named) if path.name in FOLDERS]
        folders = [folder for folder in dict.fromkeys(near) if any(map(speaks_of_asiarc, _candidates(folder)))]
    return Places(tuple(folders), tuple(path for path in named if speaks_of_asiarc(path)))


def _candidates(folder: Path) -> Iterator[Path]:
    for pattern in (CAMPAIGN_FILES, CLAIM_FILES, KERNEL_FILES, TOML_FILES):
        yield from folder.rglob(pattern)


def speaks_of_asiarc(file: Path) -> bool:
    """Whether a file imports asiarc, or has the fields of a campaign as TOML: other people's have such names, too."""
    try:
        return file.suffix in _SPEAKS and bool(_SPEAKS[file.suffix].search(file.read_bytes()))
    except OSError:
        return False

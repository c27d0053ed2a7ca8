"""What the verbs share: errors told as messages, options that several take, the run that a campaign's name means."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.device import VARIABLE, device_type
from asiarc.core.errors import AsiarcError, EvidenceError, ExecutionError, unknown_name
from asiarc.core.extras import PACKAGE, extra_missing, missing
from asiarc.core.recipe import ON_GPU, TIERS, Tier

if TYPE_CHECKING:
    from asiarc.archive.store import Archive


def project_store() -> Path:
    """The archive's folder where none is named: ``.asiarc`` in the root that pytest, started here, would take."""
    from _pytest.config.findpaths import determine_setup

    here = Path.cwd()
    root = determine_setup(inifile=None, override_ini=None, args=[], rootdir_cmd_arg=None, invocation_dir=here)[0]
    return root / ".asiarc"


STORE = click.option(
    "--store", type=click.Path(path_type=Path), default=project_store, help="default: .asiarc in the project's root"
)
TIER = click.option(
    "--tier", type=click.Choice(TIERS), default="smoke", show_default=True, help="how much compute is spent"
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="machine-readable, on stdout")
WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), default=2, show_default=True, help="processes that train at once"
)


def require_device(tier: Tier) -> None:
    """A tier of a GPU's sizes runs on a CPU only where that was said; `ExecutionError` elsewhere."""
    if tier in ON_GPU and VARIABLE not in os.environ and device_type() == "cpu":
        raise ExecutionError(
            f"tier {tier} trains at a GPU's sizes and torch finds none here. --plan says what it costs, "
            "--dry-run passes every step at a tiny size, --executor ray --gpus-per-job 1 trains on a cluster; "
            f"{VARIABLE}=cpu trains on this CPU all the same"
        )


def told(data: Any) -> None:
    """What --json prints: one value of JSON, on stdout."""
    click.echo(as_text(data))


def as_text(data: Any) -> str:
    """A value as --json prints it."""
    return json.dumps(data, indent=1, default=str)


def folded(line: str, width: int) -> list[str]:
    """A line in pieces that fit: its columns moved together, then broken between words; what follows is indented."""
    if len(line) < width:
        return [line]
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    return textwrap.wrap(
        re.sub(r"  +", "  ", text), width - 1, initial_indent=indent, subsequent_indent=f"{indent}    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def say(line: str, *, err: bool = False) -> None:
    """A line for a person: on a terminal broken between words, in a pipe as it is."""
    stream = sys.stderr if err else sys.stdout
    pieces = folded(line, shutil.get_terminal_size().columns) if stream.isatty() else [line]
    click.echo("\n".join(pieces), err=err)


class Commands(click.Group):
    """Turns an `AsiarcError` into its message and exit status 1, without a traceback; suggests a verb for a typo."""

    def invoke(self, ctx: click.Context) -> Any:
        """A command, its errors told."""
        try:
            return super().invoke(ctx)
        except AsiarcError as error:
            text = str(error)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == PACKAGE:
                raise
            text = str(extra_missing(", ".join(missing()) or error.name))
        say(f"asiarc: {text}", err=True)
        return ctx.exit(1)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb by its exact name."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise click.UsageError(unknown_name("command", cmd_name, self.commands))
        return found


@contextmanager
def latest_run(
    campaign: str, tier: Tier, store: Path, *, of_kernels: bool = False
) -> Iterator[tuple[Archive, str]]:
    """The archive, and the latest run of a campaign in it; `EvidenceError` names the runs where there is none, and what
    to ask of a campaign of kernels where only `of_kernels` takes one."""
    from asiarc.archive.store import Archive

    with Archive(store, write=False) as archive:
        runs = archive.runs(campaign, tier)
        if not runs:
            known = {f"{row['campaign']} ({row['tier']})" for row in archive.runs()}
            raise EvidenceError(unknown_name("campaign at this tier:", f"{campaign} ({tier})", known))
        if is_of_kernels(runs[-1]) and not of_kernels:
            raise EvidenceError(
                f"{campaign} is a campaign of kernels: asiarc standings {campaign} says what became of its candidates, "
                "asiarc source ADDRESS shows one, and its answer ends pytest campaigns"
            )
        yield archive, runs[-1]["run"]


def is_of_kernels(run: Mapping[str, Any]) -> bool:
    """Whether a run is one of a campaign of kernels, as its record says."""
    return "kernels" in run["identity"] and "spec" not in run["identity"]

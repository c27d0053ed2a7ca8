"""``asiarc reproduce``: the claims that arithmetic decides, the campaigns, the other claims, the report.

Says first what it will do and how long, and last for each claim the verdict of this run beside the strongest that is
published, and whether it agrees with the published run. Only the campaigns run that
the register says a claim needs. Campaigns and claims run as pytest items, so progress, Ctrl-C and resuming are the
harness's own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.core.recipe import Tier
from asiarc.evidence.claims import Claim, load_register
from asiarc.report.agreement import agreement, lines, side_by_side
from asiarc.report.document import write

CAMPAIGNS, REPRODUCTIONS, PUBLISHED = Path("campaigns"), Path("reproductions"), Path("results") / "reproduction"
NO_TESTS = 5  # pytest's status when nothing was collected or run


def reproduce(
    tier: Tier,
    store: Path,
    *,
    workers: int,
    claims: Sequence[str],
    release: Path | None,
    output: Path,
    pytest_arguments: Sequence[str] = (),
    to_stderr: bool = False,
) -> int:
    """Run everything at a tier; pytest's exit status (0 also when claims are contradicted: that is a verdict).

    All that is said goes to stdout, or to stderr where stdout is wanted for data.
    """
    for folder in (CAMPAIGNS, REPRODUCTIONS):
        if not folder.is_dir():
            raise EvidenceError(f"no folder {folder}/ in {Path.cwd()}; run this from the root of a checkout of asiarc")
    register = load_register(REPRODUCTIONS / "claims.toml")
    for claim in claims:
        if claim not in register:
            raise EvidenceError(unknown_name("claim", claim, register))
    common = ["--tier", tier, "--store", str(store), "--workers", str(workers), "--no-header", "--asiarc-no-report"]
    common += pytest_arguments
    if release:
        common += ["--release", str(release)]
    names = needed(register.values())
    files = [str(file) for name in names for file in sorted(CAMPAIGNS.glob(f"campaign_{name}.*"))]
    click.echo(
        f"reproduce at tier {tier}: campaign {', '.join(names)}, then {len(claims) or 'all'} claims, then the report "
        f"in {output}",
        err=to_stderr,
    )
    only = ["--claims-only", ",".join(claims)] if claims else []
    everything = [*files, str(REPRODUCTIONS), *only, *common]
    status = _pytest([*everything, "--plan", "-q"], to_stderr=to_stderr)
    if "--plan" in pytest_arguments:
        return status
    if status in (0, NO_TESTS):
        status = _pytest(everything, to_stderr=to_stderr)
    with Archive(store, write=False) as archive:
        report = write(archive, tier, output, campaigns=names)
    for line in lines(side_by_side(PUBLISHED, output)):
        click.echo(line, err=to_stderr)
    click.echo(f"report: {report}", err=to_stderr)
    if (PUBLISHED / tier / "report.json").exists():
        click.echo(agreement(PUBLISHED / tier, output), err=to_stderr)
    return status


def needed(claims: Iterable[Claim]) -> list[str]:
    """The campaigns that claims need, as the register names them."""
    return sorted({name for claim in claims for name in re.findall(r"campaign (\w+)", claim.needs)})


def _pytest(arguments: Sequence[str], *, to_stderr: bool) -> int:
    """Run pytest in a process of its own, so that Ctrl-C is pytest's to handle; we wait for it to finish its step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments], stdout=sys.stderr.fileno() if to_stderr else None
    )
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue

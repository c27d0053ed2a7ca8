"""``asiarc reproduce``: the campaigns, the claims, the report, in that order; says first what it will do and how long.

Campaigns and claims run as pytest items in one session, so progress, Ctrl-C and resuming are the harness's own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from asiarc.archive.store import Archive
from asiarc.errors import EvidenceError
from asiarc.protocol import Tier
from asiarc.report import write


def reproduce(
    tier: Tier,
    store: Path,
    *,
    workers: int,
    claims: Sequence[str],
    release: Path | None,
    output: Path,
    pytest_arguments: Sequence[str] = (),
) -> int:
    """Run everything at a tier; pytest's exit status (0 also when claims are contradicted: that is a verdict)."""
    campaigns, reproductions = Path("campaigns"), Path("reproductions")
    for folder in (campaigns, reproductions):
        if not folder.is_dir():
            raise EvidenceError(
                f"no folder {folder}/ here ({Path.cwd()}); run this from the root of a checkout of asiarc"
            )
    common = [
        "--tier",
        tier,
        "--store",
        str(store),
        "--workers",
        str(workers),
        "-p",
        "no:cacheprovider",
        *pytest_arguments,
    ]
    if pytest.main([str(campaigns), "--plan", "-q", "--no-header", *common]) not in (0, 5):
        return 1
    sys.stdout.flush()
    arguments = [str(campaigns), str(reproductions), *common]
    if claims:
        arguments += ["-k", " or ".join(["campaign_", *claims])]
    if release:
        arguments += ["--release", str(release)]
    status = int(pytest.main(arguments))
    with Archive(store, write=False) as archive:
        print(f"report: {write(archive, tier, output)}")  # noqa: T201 - a command's result
    return status

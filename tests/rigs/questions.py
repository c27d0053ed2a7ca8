"""The table of the shipped campaigns with their answers, written from the committed reports."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import click

from asiarc.report.answer import answer
from asiarc.report.document import read_report
from asiarc.report.wording import md

CAMPAIGNS, EVIDENCE, PAGE = Path("campaigns"), Path("results/campaigns"), Path("docs/campaigns.md")
PUBLISHED = Path("results/reproduction/quick")  # what the paper's claims rest on is published there
TIER = "quick"
BLOCK = re.compile(r"(<!-- python -m tests.rigs questions --write -->\n).*?(<!-- end -->)", re.DOTALL)


def questions() -> dict[str, str]:
    """The question of each shipped campaign by its name: the first paragraph of its file."""
    files = sorted(CAMPAIGNS.glob("campaign_*.py"))
    docs = {f.stem.removeprefix("campaign_"): ast.get_docstring(ast.parse(f.read_bytes())) or "" for f in files}
    return {name: " ".join(text.partition("\n\n")[0].split()) for name, text in docs.items()}


def answers() -> dict[str, str]:
    """What each campaign of the committed reports found, by its name: its last run, a finished one before others; with
    the tier where that is not quick."""
    folders = [file.parent for file in sorted(EVIDENCE.glob("*/report.json"))] + [PUBLISHED]
    reports = [read_report(folder) for folder in folders]
    found = [(campaign, report) for report in reports for campaign in report["campaigns"]]
    timed = {run["name"]: run["answer"] for report in reports for run in report["kernels"]}
    of_kernels = {
        name: "; ".join([said, *(f"{arm}: {its}" for arm, its in timed.items() if arm.startswith(f"{name}/"))])
        for name, said in timed.items()
    }
    return of_kernels | {
        campaign["name"]: f"at {report['tier']}: " * (report["tier"] != TIER)
        + "; ".join([answer(campaign), *against(report["arms"], campaign["name"])])
        for campaign, report in sorted(found, key=lambda one: (bool(one[0]["finished"]), one[0]["created_at"]))
    }


def against(lines: Sequence[str], campaign: str) -> list[str]:
    """What a report's lines on arms say of a campaign's winner beside those of its arms."""
    head, told = re.compile(rf"{campaign} (\w+): "), re.compile(r"  full loop against it: (?:winner )?(.*?);")
    pairs = ((head.match(one), told.match(two)) for one, two in itertools.pairwise(lines))
    return [f"the full loop's winner against {one[1]}'s: {two[1]}" for one, two in pairs if one and two]


def block() -> str:
    """The table as Markdown; a campaign that has not been run says so."""
    found = answers()
    rows = [
        f"| `{name}` | {md(question)} | {md(found.get(name, f'not run at {TIER} yet'))} |"
        for name, question in questions().items()
    ]
    return "\n".join(["", f"| campaign | question | at {TIER} |", "|---|---|---|", *rows, "", ""])


@click.command()
@click.option("--write", "write", is_flag=True, help=f"put the table into {PAGE}")
def main(write: bool) -> None:
    """The shipped campaigns with what they found, from the committed reports."""
    if write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(BLOCK.sub(lambda found: found[1] + block() + found[2], text), encoding="utf-8")
    else:
        click.echo(block(), nl=False)

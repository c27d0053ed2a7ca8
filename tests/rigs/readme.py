"""The README's result, written from the committed reports."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

import click

from asiarc.archive.results import Row
from asiarc.core.errors import EvidenceError
from asiarc.report.answer import answer
from asiarc.report.document import read_report
from asiarc.report.register import Register
from asiarc.report.wording import effect, md, ours
from tests.rigs import ROOT
from tests.rigs.discoveries import FALSE, SEEDS_AGAIN

EVIDENCE = Path("results/reproduction/quick")
# claims of each kind: arithmetic, the release, trained
SHOWN = ("C07a", "C07c", "C08b", "C11a", "C29", "C30")
FULL = Path("results/reproduction/full")
# what only the full tier's studies decide
SHOWN_IN_FULL = ("C09f", "C09j", "C10a", "C11c", "C20", "C25", "C28")
SEARCHED = Path("results/discovery")
SEALED = Path("results/sealed/discovery")
REPORTED = Path("results/campaigns/sixth")  # the first of the long searches, whole
BLOCK = re.compile(
    r"(<!-- result: python -m tests.rigs readme --write -->\n).*?(<!-- end of the result -->)", re.DOTALL
)


def block(folder: Path = EVIDENCE, full: Path = FULL, searched: Path = SEARCHED) -> str:
    """The winner on fresh seeds, what long searches bought, and some rows of two claim tables, as Markdown."""
    report, studied = read_report(folder), read_report(full)
    campaign = report["campaigns"][0]
    figure = next(f for f in campaign["figures"] if f["kind"] == "effects")
    ran, winner = campaign["ran"], campaign["winner"]
    lines = [
        f"The shipped campaign at the `{report['tier']}` tier, from [`{folder}/`]({folder}/report.md): "
        f"{ran['proposed']} candidates proposed from {campaign['spec']['start_from']}, "
        f"{ran['outcomes'].get('scored', 0)} scored, and the winner, `{winner['name']}`, tested once more on fresh "
        "seeds and fresh text at equal size:",
        "",
        f"![Paired gains of the winner over each baseline, by stage]({folder}/{figure['svg']})",
        "",
        "| winner against | gain, 95 % interval | decision |",
        "|---|---|---|",
        *(
            f"| {md(row['baseline'])} on {row['task']} | {effect(row['effect'])} | {row['decision']} |"
            for row in campaign["gains"]
            if row["fresh"] and row["effect"]
        ),
        "",
        *_long(searched),
        f"The claim table of the shipped campaign's run ({_counts(report)}) in part:",
        "",
        *_claims(report, SHOWN),
        "",
        f"The trained claims are decided by the studies of the `{studied['tier']}` tier, "
        f"[`{full}/`]({full}/report.md) ({_counts(studied)}){_overtaken(studied)}, in part:",
        "",
        *_claims(studied, SHOWN_IN_FULL),
    ]
    return "\n".join(lines) + "\n"


def _long(folder: Path) -> list[str]:
    """What the paper's number of experiments bought, and what of it is ahead of the whole panel."""
    if not (folder / "law.json").exists():
        return []
    searches = json.loads((folder / "law.json").read_text(encoding="utf-8"))["searches"]
    lines = [
        f"The paper's number of experiments, searched on the same text ([hour by hour]({folder}/law.md)):",
        "",
        "| search | proposed | scored | CPU-hours | ahead of the start on the first rung |",
        "|---|---|---|---|---|",
    ]
    for name, searched in searches.items():
        row = searched["bought"]
        counts = f"{row['proposed']:,} | {row['scored']:,} | {row['cpu_hours']:.1f} | {row['ahead']:,}"
        lines.append(f"| {md(name)} | {counts} |")
    lines += ["", f"![Candidates ahead of the start along compute, a line a search]({folder}/law.svg)", ""]
    (campaign,) = read_report(REPORTED)["campaigns"]
    found = md(answer(campaign))
    lines += [f"On fresh seeds and items of the `full` tier, {found}: [the report]({REPORTED}/report.md).", ""]
    return [*lines, *_unsealed(), *_gallery(folder / "asi_arch")]


def _unsealed() -> list[str]:
    """What the winner was worth on the text that was sealed before its run."""
    if not (SEALED / "opened.json").exists():
        return []
    rows = json.loads((SEALED / "opened.json").read_text(encoding="utf-8"))["table"]
    told = "; ".join(f"{md(one['behind'])} {effect(one['effect'])}, {one['decision']}" for one in rows)
    sealed = f"prose and {rows[0]['effect']['n']} seeds that were [sealed](docs/verdicts.md) until the search was over"
    return [f"On {sealed}, the winner's gain over {told}.", ""]


def _gallery(folder: Path) -> list[str]:
    """How many of a search's finalists are ahead of every mixer of the panel."""
    if not (folder / "table.json").exists():
        return []
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    ahead = sum(one["is_discovery"] for one in table["finalists"])
    return [
        f"{ahead} of its {table['entered']} finalists are ahead of every mixer of {table['panel']} on {SEEDS_AGAIN} "
        f"fresh seeds (false discovery rate {FALSE:.0%}); they had the best means of {table['searched']} in a first "
        f"look on other seeds: [the table]({folder}/table.md).",
        "",
    ]


def _counts(report: Row) -> str:
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(report["claims"]["counts"].items()))


def _overtaken(report: Row) -> str:
    """What the register asks otherwise by now than when a report was made; empty where it asks the same."""
    register = Register.of(ROOT)
    moved = register.overtaken(report) if register else []
    return f"; {', '.join(moved)} are asked otherwise since, and what is told here is of the former words" * bool(moved)


def _claims(report: Row, shown: Collection[str]) -> list[str]:
    return [
        "| claim | verdict | paper | ours |",
        "|---|---|---|---|",
        *(_row(row) for row in report["claims"]["decided"] if row["verdict"]["claim"] in shown),
    ]


def _row(row: Row) -> str:
    verdict, claim = row["verdict"], row["register"]
    cells = (f"{verdict['claim']} {claim['statement']}", verdict["verdict"], claim["paper_value"], ours(verdict))
    return "| " + " | ".join(md(cell) for cell in cells) + " |"


@click.command()
@click.option("--write", "write", is_flag=True, help="put the block into README.md")
def main(write: bool) -> None:
    """The README's result block from the committed reports."""
    readme = Path("README.md")
    text = readme.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        raise EvidenceError("README.md has no block between `<!-- result: ... -->` and `<!-- end of the result -->`")
    if write:
        readme.write_text(BLOCK.sub(lambda found: found[1] + block() + found[2], text), encoding="utf-8")
    else:
        click.echo(block(), nl=False)

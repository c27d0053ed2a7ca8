"""The ``asiarc`` command: what is asked of results, machines and files. Searching itself is ``pytest campaigns``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table as RichTable

from asiarc.audit.table import audit
from asiarc.campaign.loading import declared
from asiarc.core.errors import CampaignError, EvidenceError
from asiarc.core.recipe import TIERS, Tier
from asiarc.harness.model_verbs import main as llm
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, Commands, latest_run, project_store

if TYPE_CHECKING:
    from asiarc.archive.results import CampaignResult
    from asiarc.archive.store import Archive
    from asiarc.cognition.base import Find

OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), help="default: .asiarc/reproduction/TIER in the project's root"
)
console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)


@click.group(cls=Commands)
@click.version_option(package_name="asiarc")
def main() -> None:
    """Pytest for architecture discovery. Campaigns run with: pytest campaigns --tier smoke"""


@main.command()
@AS_JSON
def doctor(as_json: bool) -> None:
    """What this machine offers: versions, processor, and the layers of the sandbox that hold candidate code."""
    from asiarc.campaign.identity import provenance
    from asiarc.execution import doctor as layers_here
    from asiarc.execution.layers import not_held

    facts, layers = provenance(), layers_here()
    loose = not_held(layer for layer, offered, _ in layers if offered)
    if as_json:
        rows = [dict(zip(("layer", "offered", "detail"), row, strict=True)) for row in layers]
        held = {"sandbox": rows, "not_held": loose, "tiers": tiers_here()}
        click.echo(json.dumps({"machine": facts, **held}, indent=1))
        return
    for name in ("python", "platform", "cpu", "cores", "git_commit"):
        click.echo(f"{name:<12} {facts[name]}")
    packages = ", ".join(f"{package} {version}" for package, version in facts["packages"].items())
    click.echo(f"packages     {packages}")
    table = RichTable("layer of the sandbox", "offered", "what it holds", box=None)
    for layer, offered, detail in layers:
        table.add_row(layer, "yes" if offered else "no", detail)
    console.print(table)
    for kind in loose:
        click.echo(f"not held     {kind}")
    for tier, told in tiers_here().items():
        click.echo(f"tier {tier:<7} {told}")


def tiers_here() -> dict[str, str]:
    """What each tier can do on this machine."""
    from asiarc.core.device import device_type

    on_gpu = device_type() == "cuda"
    small = "runs here, on " + ("the GPU" if on_gpu else "the CPU; pytest --plan says how long it takes")
    paper = "runs here; its text is downloaded once" if on_gpu else "its models need a GPU, and torch finds none here"
    return {tier: paper if tier == "paper" else small for tier in TIERS}


@main.command()
@TIER
@STORE
@WORKERS
@AS_JSON
@click.option("--tasks", default="all", show_default=True, help="comma-separated task names")
@click.option("--baselines", "names", default="all", show_default=True, help="comma-separated baseline names")
@click.option("--seeds", type=click.IntRange(min=2), help="on every task; default: 5 where a signature is read, else 3")
def baselines(tier: Tier, store: Path, workers: int, as_json: bool, tasks: str, names: str, seeds: int | None) -> None:
    """Every baseline on every task: mean and 95 % interval over seeds, seconds a trial, parameters, state bytes."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop, trial_executor
    from asiarc.models.baselines import BASELINE_NAMES
    from asiarc.report.baselines import render
    from asiarc.report.facts import baseline_facts, baseline_trials
    from asiarc.studies.baselines import NAME, table
    from asiarc.tasks import with_own_text
    from asiarc.tasks.catalogue import CATALOGUE

    chosen_tasks = [task for task in CATALOGUE if task != "fineweb-edu"] if tasks == "all" else tasks.split(",")
    chosen_tasks = [with_own_text(task, Path(), build=True) for task in chosen_tasks]
    study = table(BASELINE_NAMES if names == "all" else names.split(","), chosen_tasks, seeds)
    with Archive(store) as archive, trial_executor(workers) as executor:
        say = lambda line: click.echo(line, err=True)  # noqa: E731
        study.run(NAME, tier, archive, Workshop(archive, executor), say)
        found = baseline_facts(baseline_trials(archive, tier, []))
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        render(console, found, tier)


@main.command(context_settings={"ignore_unknown_options": True})
@TIER
@STORE
@WORKERS
@click.option(
    "--claims", default="", help="comma-separated claim ids; the campaigns run all the same unless --only-claims"
)
@click.option(
    "--release",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="the paper's released data, if you have it",
)
@OUTPUT
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def reproduce(
    tier: Tier,
    store: Path,
    workers: int,
    claims: str,
    release: Path | None,
    output: Path | None,
    pytest_arguments: tuple[str, ...],
) -> None:
    """Run the shipped campaigns and decide the paper's claims; ends in the claim table and a report."""
    from asiarc.harness.reproduce import reproduce as run

    status = run(
        tier,
        store,
        workers=workers,
        claims=[c for c in claims.split(",") if c],
        release=release,
        output=output or project_store() / "reproduction" / tier,
        pytest_arguments=list(pytest_arguments),
    )
    sys.exit(status)


@main.command()
@TIER
@STORE
@OUTPUT
@click.option("--again", is_flag=True, help="from what lies in the report's folder, without the archive")
def report(tier: Tier, store: Path, output: Path | None, again: bool) -> None:
    """Write the report of what the archive holds at a tier: HTML, Markdown, JSON, figures and the rows behind them."""
    from asiarc.archive.store import Archive
    from asiarc.report import write, write_again

    output = output or project_store() / "reproduction" / tier
    if again:
        click.echo(f"report: {write_again(output)}")
        return
    with Archive(store, write=False) as archive:
        click.echo(f"report: {write(archive, tier, output)}")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="who may sign it: an allowed-signers file of ssh-keygen",
)
def verify(folder: Path, signers: Path | None) -> None:
    """Make a report again from the rows that it rests on, and compare; exit status 1 where anything differs."""
    from asiarc.report import examine

    found = examine(folder, signers)
    for heading, lines in (("compared", found.compared), ("not proved", found.unproved), ("wrong", found.problems)):
        for line in lines:
            click.echo(f"{heading}: {line}")
    click.echo(f"{folder}: {'verified' if not found.problems else f'{len(found.problems)} problems'}")
    sys.exit(bool(found.problems))


@main.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@AS_JSON
def release(folder: Path, as_json: bool) -> None:
    """Re-derive what the paper's released tree.json and 106.json say (bring the files yourself)."""
    from asiarc.evidence.release import analyse_release, render

    findings = analyse_release(folder)
    click.echo(json.dumps(findings.as_dict(), indent=1) if as_json else render(findings))


@main.command()
@click.argument("campaign")
@TIER
@STORE
@AS_JSON
def show(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """A campaign's candidates, best first: outcome, rung, gain, name and motivation."""
    with _result(campaign, tier, store) as (result, _):
        rows = sorted(result.candidates, key=lambda row: (-row["rung"], -(row["gain"] or -9e9), row["number"]))
    if as_json:
        click.echo(json.dumps([{**row, "outcome": str(row["outcome"])} for row in rows], indent=1))
        return
    table = RichTable("#", "address", "name", "rung", "gain", "outcome", "motivation", box=None)
    for row in rows:
        gain = "" if row["gain"] is None else f"{row['gain']:+.4f}"
        first = row["motivation"].strip().partition("\n")[0]
        table.add_row(
            str(row["number"]), row["address"], row["name"], str(row["rung"]), gain, row["outcome"].kind, first[:80]
        )
    console.print(table)


@main.command("why-rejected")
@click.argument("campaign")
@click.argument("candidate", required=False)
@TIER
@STORE
def why_rejected(campaign: str, candidate: str | None, tier: Tier, store: Path) -> None:
    """The reason of every candidate that was not scored; of one, with its table of gates."""
    with _result(campaign, tier, store) as (result, archive):
        asked = [
            row for row in result.candidates if candidate in (None, row["name"]) or row["address"].startswith(candidate)
        ]
        if candidate and not asked:
            raise EvidenceError(f"no candidate {candidate!r} in {campaign}; asiarc show {campaign} lists the addresses")
        failed = [row for row in asked if row["outcome"].kind != "scored"]
        counts = Counter(row["outcome"].gate or row["outcome"].kind for row in failed)
        click.echo(
            f"{len(failed)} of {len(asked)} not scored: "
            + (", ".join(f"{n} {gate}" for gate, n in counts.most_common()) or "none")
        )
        for row in failed:
            click.echo(f"#{row['number']} {row['address']} {row['name']}: {row['outcome']}")
            if candidate:
                for admission in archive.rows("SELECT findings FROM admissions WHERE address = ?", row["address"]):
                    for finding in json.loads(admission["findings"]):
                        click.echo(f"    {finding['gate']:<20} {finding['verdict']:<9} {finding['reason']}")


@main.command()
@click.argument("candidate")
@STORE
def source(candidate: str, store: Path) -> None:
    """The full source of a candidate, by its address or the beginning of it."""
    from asiarc.archive.store import Archive

    with Archive(store, write=False) as archive:
        found = archive.rows(
            "SELECT address, source FROM candidates WHERE address LIKE ? || '%' OR name = ?", candidate, candidate
        )
    if len(found) != 1:
        raise EvidenceError(f"{len(found)} candidates match {candidate!r}; asiarc show CAMPAIGN lists the addresses")
    click.echo(found[0]["source"])


@main.command()
@click.argument(
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("campaigns") / "campaign_delta_text.py",
)
@TIER
@STORE
@WORKERS
@click.option("--arm", "names", multiple=True, default=("no_cognition",), show_default=True, help="may be repeated")
@click.option("--repeats", type=click.IntRange(min=2), default=6, show_default=True, help="searches of each arm")
@click.option("--candidates", type=click.IntRange(min=1), default=12, show_default=True, help="of each search")
@click.option("--seeds", type=click.IntRange(min=2), default=2, show_default=True, help="fresh ones, of each winner")
@click.option("--output", type=click.Path(path_type=Path), default=Path("results") / "arms", show_default=True)
@click.option("--plan", is_flag=True, help="say how long it takes, and run nothing")
def arms(
    file: Path,
    tier: Tier,
    store: Path,
    workers: int,
    names: tuple[str, ...],
    repeats: int,
    candidates: int,
    seeds: int,
    output: Path,
    plan: bool,
) -> None:
    """A campaign's search with and without a part of it, repeated at equal compute: a table, and what may be said."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop, trial_executor
    from asiarc.studies import arms as side_by_side

    name, campaign = declared(file)
    campaign = campaign.at(file.parent)
    search = side_by_side.arms_of(campaign, names, tier, repeats=repeats, candidates=candidates, seeds=seeds)
    trials = sum(count for count, _ in search.trials(tier))
    click.echo(f"at most {trials} trials, about {search.minutes(workers):.0f} minutes", err=True)
    if plan:
        return
    with Archive(store) as archive, trial_executor(workers) as executor:
        say = lambda line: click.echo(line, err=True)  # noqa: E731
        result = search.run(f"{name} arms", tier, archive, Workshop(archive, executor), say)
        found, comparisons = side_by_side.report(result), side_by_side.compare(result)
    text = "\n".join(side_by_side.lines(found, comparisons))
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}-{tier}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (output / f"{name}-{tier}.txt").write_text(text + "\n", encoding="utf-8")
    click.echo(f"{text}\nwritten to {output / f'{name}-{tier}'}.json and .txt")


@main.command()
def schema() -> None:
    """The JSON Schema of a TOML campaign, for editors."""
    from asiarc.campaign.declaration import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@main.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
def spec(file: Path) -> None:
    """A campaign file's declaration as TOML."""
    from asiarc.campaign.declaration import to_toml

    if file.suffix != ".py":
        raise CampaignError(f"{file} is not a Python campaign file; a TOML campaign is its own declaration")
    click.echo(to_toml(declared(file)[1]), nl=False)


@main.group()
def cognition() -> None:
    """The knowledge base that feeds the researcher."""


DENSE = click.option("--dense", metavar="MODEL", help="search by meaning, by this embedding model (default: BM25)")
BASE_URL = click.option("--base-url", metavar="URL", help="its OpenAI-compatible endpoint (default: OpenAI's own)")
OWN = click.option(
    "--folder", type=click.Path(exists=True, path_type=Path), help="entries of your own, beside the shipped ones"
)
INTO = click.option(
    "--folder", type=click.Path(path_type=Path), help="a folder of your own (default: the project's cognition/)"
)


@cognition.command("search")
@click.argument("query")
@click.option("-k", type=click.IntRange(min=1), default=3, show_default=True)
@OWN
@DENSE
@BASE_URL
def cognition_search(query: str, k: int, folder: Path | None, dense: str | None, base_url: str | None) -> None:
    """Entries that answer a weakness."""
    from asiarc.harness.cognition_verbs import render_search

    click.echo(render_search(query, k, folder, _find(folder, dense, base_url)))


@cognition.command("check")
@OWN
def cognition_check(folder: Path | None) -> None:
    """Are all entries well formed, traceable and distinct?"""
    from asiarc.harness.cognition_verbs import check_report

    text, green = check_report(folder)
    click.echo(text)
    sys.exit(not green)


def _find(folder: Path | None, model: str | None, base_url: str | None) -> Find | None:
    """The search by meaning, where a model is named."""
    from asiarc.cognition.base import Base
    from asiarc.harness.cognition_verbs import by_meaning

    return by_meaning(Base.load(folder), model, base_url, project_store() / "embeddings.jsonl") if model else None


@cognition.command("add")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@INTO
def cognition_add(file: Path, folder: Path | None) -> None:
    """Add the entries of a TOML file to your own, after checking them; campaigns read them that name their folder."""
    from asiarc.harness.cognition_verbs import add

    into = folder or own_entries()
    click.echo("added " + ", ".join(entry.id for entry in add(file, into)) + f"; {read_by(into)}")


@cognition.command("promote")
@click.argument("campaign")
@TIER
@STORE
@INTO
def cognition_promote(campaign: str, tier: Tier, store: Path, folder: Path | None) -> None:
    """Add what a campaign's winner has shown on fresh seeds and items, with its evidence."""
    from asiarc.harness.cognition_verbs import promote

    into = folder or own_entries()
    with _result(campaign, tier, store) as (result, _):
        entry = promote(result, into)
    click.echo(f"added {entry.id}: {entry.grammar or entry.paper.title}. {entry.evidence}; {read_by(into)}")


def own_entries() -> Path:
    """The folder of the project's own entries."""
    return project_store().with_name("cognition")


def read_by(folder: Path) -> str:
    """How campaigns come to read entries."""
    return f"read by campaigns that name their folder: cognition=({str(folder.resolve())!r},)"


@contextmanager
def _result(campaign: str, tier: Tier, store: Path) -> Iterator[tuple[CampaignResult, Archive]]:
    """What the latest run of a campaign found, and the archive it is in."""
    from asiarc.archive.results import CampaignResult

    with latest_run(campaign, tier, store) as (archive, run):
        yield CampaignResult.load(archive, run), archive


main.add_command(audit)
main.add_command(llm, "llm")

"""The ``asiarc`` command: what is asked of results, machines and files. Searching itself is ``pytest campaigns``."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asiarc.core.errors import CampaignError
from asiarc.core.recipe import Tier
from asiarc.harness import archive_verbs, door_verbs, stranger_verbs
from asiarc.harness.archive_verbs import console, result_of
from asiarc.harness.audit_verb import audit
from asiarc.harness.compare_verb import compare
from asiarc.harness.doctor_verb import doctor
from asiarc.harness.export_verb import export
from asiarc.harness.kernel_verbs import main as kernel
from asiarc.harness.mcp_verb import mcp
from asiarc.harness.model_verbs import main as llm
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, Commands, project_store, told
from asiarc.harness.reduce_verb import reduce
from asiarc.harness.referee_verb import referee

if TYPE_CHECKING:
    from asiarc.cognition.base import Find

OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), help="default: .asiarc/reproduction/TIER in the project's root"
)


@click.group(cls=Commands)
@click.version_option(package_name="asiarc")
def main() -> None:
    """Pytest for architecture discovery. Campaigns run with: pytest campaigns --tier smoke"""


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
    from asiarc.tasks import opened
    from asiarc.tasks.catalogue import CATALOGUE

    chosen_tasks = [task for task in CATALOGUE if task != "fineweb-edu"] if tasks == "all" else tasks.split(",")
    chosen_tasks = [opened(task, Path(), build=True) for task in chosen_tasks]
    study = table(BASELINE_NAMES if names == "all" else names.split(","), chosen_tasks, seeds)
    with Archive(store) as archive, trial_executor(workers) as executor:
        say = lambda line: click.echo(line, err=True)  # noqa: E731
        study.run(NAME, tier, archive, Workshop(archive, executor), say)
        found = baseline_facts(baseline_trials(archive, tier, []))
    if as_json:
        told(found)
    else:
        render(console(), found, tier)


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
@AS_JSON
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def reproduce(
    tier: Tier,
    store: Path,
    workers: int,
    claims: str,
    release: Path | None,
    output: Path | None,
    as_json: bool,
    pytest_arguments: tuple[str, ...],
) -> None:
    """Run the shipped campaigns and decide the paper's claims; ends in the claim table and a report.

    With --json all of that goes to stderr, and stdout gets the exit status, where the report is, and for each claim its
    verdict beside the strongest that is published.
    """
    from asiarc.harness.reproduce import PUBLISHED
    from asiarc.harness.reproduce import reproduce as run
    from asiarc.report.agreement import side_by_side

    output = output or project_store() / "reproduction" / tier
    status = run(
        tier,
        store,
        workers=workers,
        claims=[c for c in claims.split(",") if c],
        release=release,
        output=output,
        pytest_arguments=list(pytest_arguments),
        to_stderr=as_json,
    )
    if as_json:
        claims_told = side_by_side(PUBLISHED, output) if (output / "report.json").exists() else []
        told({"exit_status": status, "report": output, "claims": claims_told})
    sys.exit(status)


@main.command()
@TIER
@STORE
@OUTPUT
@click.option("--again", is_flag=True, help="from what lies in the report's folder, without the archive")
@click.option(
    "--cases", multiple=True, help="what a rig kept of its cases; may be repeated",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@AS_JSON
def report(
    tier: Tier, store: Path, output: Path | None, again: bool, cases: tuple[Path, ...], as_json: bool
) -> None:
    """Write the report of what the archive holds at a tier: HTML, Markdown, JSON, figures and the rows behind them."""
    from asiarc.archive.store import Archive
    from asiarc.report import write, write_again

    output = output or project_store() / "reproduction" / tier
    if again:
        place = write_again(output, cases)
    else:
        with Archive(store, write=False) as archive:
            place = write(archive, tier, output, cases=cases)
    if as_json:
        told({"report": place})
    else:
        click.echo(f"report: {place}")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="who may sign it: an allowed-signers file of ssh-keygen",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="the secret that a referee's seeds were drawn with, once it is told: the store's secret.key",
)
@AS_JSON
def verify(folder: Path, signers: Path | None, key: Path | None, as_json: bool) -> None:
    """Make a report again from the rows that it rests on, and compare; exit status 1 where anything differs."""
    from asiarc.report import examine

    found = examine(folder, signers, key)
    if as_json:
        told({"verified": not found.problems, "compared": found.compared, "not_proved": found.unproved,
              "problems": found.problems})  # fmt: skip
        sys.exit(bool(found.problems))
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
    if as_json:
        told(findings.as_dict())
    else:
        click.echo(render(findings))


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
@AS_JSON
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
    as_json: bool,
) -> None:
    """A campaign's search with and without a part of it, repeated at equal compute: a table, and what may be said."""
    from asiarc.archive.store import Archive
    from asiarc.campaign.loading import declared
    from asiarc.engineer.workshop import Workshop, trial_executor
    from asiarc.studies import arms as side_by_side

    name, campaign = declared(file)
    campaign = campaign.at(file.parent)
    search = side_by_side.arms_of(campaign, names, tier, repeats=repeats, candidates=candidates, seeds=seeds)
    trials = sum(count for count, _ in search.trials(tier))
    minutes = search.minutes(workers)
    click.echo(f"at most {trials} trials, about {minutes:.0f} minutes", err=True)
    if plan:
        if as_json:
            told({"most_trials": trials, "about_minutes": minutes})
        return
    with Archive(store) as archive, trial_executor(workers) as executor:
        say = lambda line: click.echo(line, err=True)  # noqa: E731
        result = search.run(f"{name} arms", tier, archive, Workshop(archive, executor), say)
        found, comparisons = side_by_side.report(result), side_by_side.compare(result)
    text = "\n".join(side_by_side.lines(found, comparisons))
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}-{tier}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (output / f"{name}-{tier}.txt").write_text(text + "\n", encoding="utf-8")
    if as_json:
        told(found)
        return
    click.echo(f"{text}\nwritten to {output / f'{name}-{tier}'}.json and .txt")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="as without it: a schema is JSON")
def schema(as_json: bool) -> None:
    """The JSON Schema of a TOML campaign, for editors."""
    from asiarc.campaign.declaration import json_schema

    told(json_schema())


@main.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@AS_JSON
def spec(file: Path, as_json: bool) -> None:
    """A campaign file's declaration as TOML."""
    from asiarc.campaign.declaration import to_toml
    from asiarc.campaign.loading import declared

    if file.suffix != ".py":
        raise CampaignError(f"{file} is not a Python campaign file; a TOML campaign is its own declaration")
    text = to_toml(declared(file)[1])
    if as_json:
        told(tomllib.loads(text))
    else:
        click.echo(text, nl=False)


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
@AS_JSON
def cognition_search(
    query: str, k: int, folder: Path | None, dense: str | None, base_url: str | None, as_json: bool
) -> None:
    """Entries that answer a weakness."""
    from asiarc.harness.cognition_verbs import found_entries, render_search

    find = _find(folder, dense, base_url)
    if as_json:
        told(
            [{"score": hit.score, **hit.entry.model_dump(mode="json")} for hit in found_entries(query, k, folder, find)]
        )
    else:
        click.echo(render_search(query, k, folder, find))


@cognition.command("check")
@OWN
@AS_JSON
def cognition_check(folder: Path | None, as_json: bool) -> None:
    """Are all entries well formed, traceable and distinct?"""
    from asiarc.harness.cognition_verbs import check_report

    text, green = check_report(folder)
    if as_json:
        counts, *problems = text.splitlines()
        told({"sound": green, "counts": counts, "problems": [] if green else problems[:-1]})
    else:
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
@AS_JSON
def cognition_add(file: Path, folder: Path | None, as_json: bool) -> None:
    """Add the entries of a TOML file to your own, after checking them; campaigns read them that name their folder."""
    from asiarc.harness.cognition_verbs import add

    into = folder or own_entries()
    added = [entry.id for entry in add(file, into)]
    if as_json:
        told({"added": added, "folder": into.resolve()})
    else:
        click.echo(f"added {', '.join(added)}; {read_by(into)}")


@cognition.command("promote")
@click.argument("campaign")
@TIER
@STORE
@INTO
@AS_JSON
def cognition_promote(campaign: str, tier: Tier, store: Path, folder: Path | None, as_json: bool) -> None:
    """Add what a campaign's winner has shown on fresh seeds and items, with its evidence."""
    from asiarc.harness.cognition_verbs import promote

    into = folder or own_entries()
    with result_of(campaign, tier, store) as (result, _):
        entry = promote(result, into)
    if as_json:
        told({"added": [entry.id], "evidence": entry.evidence, "folder": into.resolve()})
        return
    click.echo(f"added {entry.id}: {entry.grammar or entry.paper.title}. {entry.evidence}; {read_by(into)}")


def own_entries() -> Path:
    """The folder of the project's own entries."""
    return project_store().with_name("cognition")


def read_by(folder: Path) -> str:
    """How campaigns come to read entries."""
    return f"read by campaigns that name their folder: cognition=({str(folder.resolve())!r},)"


for verb in (audit, compare, doctor, export, mcp, reduce, referee):
    main.add_command(verb)
for name in ("bought", "diff", "lineage", "show", "source", "watch", "why_rejected"):
    main.add_command(getattr(archive_verbs, name))
for name in ("brief", "propose", "standings", "tried", "verdict"):
    main.add_command(getattr(door_verbs, name))
for name in ("retrain", "seal", "unseal"):
    main.add_command(getattr(stranger_verbs, name))
main.add_command(llm, "llm")
main.add_command(kernel, "kernel")

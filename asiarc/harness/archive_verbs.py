"""What is asked of an archive: its candidates, where they come from, how two differ, how far a run is.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.core.recipe import TIERS, Tier
from asiarc.harness.options import AS_JSON, STORE, TIER, is_of_kernels, latest_run, say, told

if TYPE_CHECKING:
    from rich.console import Console

    from asiarc.analyst.lineage import Ancestor
    from asiarc.archive.results import CampaignResult
    from asiarc.archive.store import Archive
    from asiarc.studies.frame import Frame

PAUSE_S = 1.0  # between two looks of watch
WIDE = 110  # columns from which a table has room for motivations
Row = dict[str, Any]


def console() -> Console:
    """Where tables go: as wide as the terminal, and in a pipe wide enough to break nothing."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, emoji=False, markup=False)


@contextmanager
def result_of(campaign: str, tier: Tier, store: Path) -> Iterator[tuple[CampaignResult, Archive]]:
    """What the latest run of a campaign found, and the archive it is in."""
    from asiarc.archive.results import CampaignResult

    with latest_run(campaign, tier, store) as (archive, run):
        yield CampaignResult.load(archive, run), archive


@contextmanager
def reading(store: Path) -> Iterator[Archive]:
    """An archive that is only read."""
    from asiarc.archive.store import Archive

    with Archive(store, write=False) as archive:
        yield archive


def candidate_in(archive: Archive, text: str) -> Row:
    """The candidate or baseline of an address, the beginning of one, or a name; `EvidenceError` unless it is one."""
    found = archive.rows(
        "SELECT address, name, source, motivation, genome FROM candidates "
        "WHERE substr(address, 1, length(?1)) = ?1 OR name = ?1 ORDER BY rowid LIMIT 6", text,
    )  # fmt: skip
    if len(found) == 1 and text:
        return {**found[0], "genome": json.loads(found[0]["genome"] or "null")}
    if not found or not text:
        raise EvidenceError(f"no candidate {text!r} in {archive.folder}; asiarc show CAMPAIGN lists the addresses")
    several = ", ".join(f"{row['address']} {row['name']}" for row in found[:5])
    raise EvidenceError(f"{text!r} may be any of {several}; give more of the address")


# --- one campaign -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("campaign")
@TIER
@STORE
@AS_JSON
def show(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """A campaign's candidates, best first: outcome, rung, gain, name and motivation."""
    with result_of(campaign, tier, store) as (result, _):
        rows = sorted(result.candidates, key=lambda row: (-row["rung"], -(row["gain"] or -9e9), row["number"]))
    if as_json:
        told([{**row, "outcome": str(row["outcome"])} for row in rows])
        return
    _print_candidates(rows)


def _print_candidates(rows: list[Row]) -> None:
    from rich.table import Column, Table

    screen = console()
    is_wide = screen.width >= WIDE
    numbers = [Column(name, no_wrap=True, justify="right") for name in ("rung", "gain")]
    columns = [Column("#", no_wrap=True), Column("address", no_wrap=True), Column("name", overflow="fold"), *numbers]
    last = [Column("motivation", overflow="ellipsis", no_wrap=True, ratio=1)] if is_wide else []
    table = Table(*columns, Column("outcome", overflow="fold"), *last, box=None, padding=(0, 1, 0, 0), expand=is_wide)
    for row in rows:
        gain = "" if row["gain"] is None else f"{row['gain']:+.4f}"
        address = row["address"] if is_wide else row["address"][:8]
        cells = [str(row["number"]), address, row["name"], str(row["rung"]), gain, row["outcome"].kind]
        table.add_row(*cells, *([first_line(row["motivation"])] if is_wide else []))
    screen.print(table)


@click.command()
@click.argument("campaign")
@TIER
@STORE
@AS_JSON
def bought(campaign: str, tier: Tier, store: Path, as_json: bool) -> None:
    """What each stage bought: tokens, their pace, utilisation, peak memory and energy; --json: each trial's, too."""
    from asiarc.report.facts import bought_facts

    with result_of(campaign, tier, store) as (result, _):
        stages = bought_facts(result)
        trials = list(result.bought_by_trial()) if as_json else []
    if as_json:
        told({"stages": stages, "trials": trials})
        return
    for row in stages:
        say(f"{row['stage']}: {', '.join(_bought(row))}")
    if not stages:
        say(f"{campaign} has trained nothing at tier {tier}")


def _bought(row: Row) -> Iterator[str]:
    """What a stage bought, in words; what nobody told is left out."""
    from asiarc.report import wording

    yield wording.plural(row["trials"], "trial")
    yield f"{wording.hours(row['cpu_s'])} CPU-hours"
    yield f"{wording.large(row['tokens'])} tokens"
    told_of = (
        ("tokens_per_s", wording.count, "tokens a second"), ("mfu", wording.percent, "of the device's peak (MFU)"),
        ("peak_memory_bytes", wording.size, "peak memory"), ("gpu_memory_bytes", wording.size, "of the GPU's memory"),
        ("energy_j", wording.energy, "of energy"),
    )  # fmt: skip
    yield from (f"{form(row[name])} {what}" for name, form, what in told_of if row[name] is not None)


def first_line(text: str) -> str:
    """The first line of a motivation."""
    return text.strip().partition("\n")[0]


@click.command("why-rejected")
@click.argument("campaign")
@click.argument("candidate", required=False)
@TIER
@STORE
@AS_JSON
def why_rejected(campaign: str, candidate: str | None, tier: Tier, store: Path, as_json: bool) -> None:
    """The reason of every candidate that was not scored; of one, with its table of gates."""
    with result_of(campaign, tier, store) as (result, archive):
        rows = [row for row in result.candidates if _is_asked(row, candidate)]
        if candidate is not None and not rows:
            raise EvidenceError(f"no candidate {candidate!r} in {campaign}; asiarc show {campaign} lists the addresses")
        failed = [row for row in rows if row["outcome"].kind != "scored"]
        gates = {row["address"]: _gates(archive, row["address"]) if candidate else [] for row in failed}
    counts = Counter(row["outcome"].gate or row["outcome"].kind for row in failed)
    if as_json:
        shown = ("number", "address", "name", "outcome")
        of_each = [{**{k: row[k] for k in shown}, "outcome": row["outcome"].as_dict()} for row in failed]
        told(
            {"asked": len(rows), "counts": counts, "candidates": [{**r, "gates": gates[r["address"]]} for r in of_each]}
        )
        return
    by_gate = ", ".join(f"{n} {gate}" for gate, n in counts.most_common()) or "none"
    say(f"{len(failed)} of {len(rows)} not scored: {by_gate}")
    for row in failed:
        say(f"#{row['number']} {row['address']} {row['name']}: {row['outcome']}")
        for finding in gates[row["address"]]:
            say(f"    {finding['gate']:<20} {finding['verdict']:<9} {finding['reason']}")


def _is_asked(row: Row, candidate: str | None) -> bool:
    return candidate is None or candidate == row["name"] or bool(candidate and row["address"].startswith(candidate))


def _gates(archive: Archive, address: str) -> list[Row]:
    rows = archive.rows("SELECT findings FROM admissions WHERE address = ?", address)
    return [finding for row in rows for finding in json.loads(row["findings"])]


# --- one candidate ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("candidate")
@STORE
@AS_JSON
def source(candidate: str, store: Path, as_json: bool) -> None:
    """The full source of a candidate, by its address or the beginning of it."""
    with reading(store) as archive:
        found = candidate_in(archive, candidate)
    if as_json:
        told(found)
    else:
        click.echo(found["source"])


@click.command()
@click.argument("candidate")
@TIER
@STORE
@AS_JSON
def lineage(candidate: str, tier: Tier, store: Path, as_json: bool) -> None:
    """Where a candidate comes from, parent by parent, and its children: gain, what changed, motivation."""
    from asiarc.analyst.lineage import children_of, line_to

    with reading(store) as archive:
        address = candidate_in(archive, candidate)["address"]
        run = _run_with(archive, address, candidate, tier)
        line, children = line_to(archive, run["run"], address), children_of(archive, run["run"], address)
    if as_json:
        told({
            "campaign": run["campaign"], "tier": tier, "run": run["run"],
            "line": list(map(asdict, line)), "children": list(map(asdict, children)),
        })  # fmt: skip
        return
    say(f"{run['campaign']} at tier {tier}, run {run['run']}; gains are over start_from, each at its own rung")
    for one in line:
        _print_ancestor(one, "")
    click.echo(f"{len(children)} children" if children else "no children")
    for one in children:
        _print_ancestor(one, "  ")


def _run_with(archive: Archive, address: str, given: str, tier: Tier) -> Row:
    """The latest run at a tier that has a candidate; `EvidenceError` names the tiers that have it."""
    from asiarc.analyst.lineage import is_in

    found = [row for row in archive.runs() if is_in(archive, row["run"], address)]
    at_tier = [row for row in found if row["tier"] == tier]
    if at_tier:
        return at_tier[-1]
    tiers = sorted({row["tier"] for row in found}, key=TIERS.index)
    way = (
        f"it was at {', '.join(tiers)}: add --tier {tiers[-1]}"
        if tiers
        else "asiarc show CAMPAIGN lists those that were"
    )
    raise EvidenceError(f"{given!r} was proposed in no run at tier {tier}; {way}")


def _print_ancestor(one: Ancestor, indent: str) -> None:
    number = "start" if one.number is None else f"#{one.number}"
    gain = f"gain {one.standing}" if one.standing else one.outcome
    gain = "" if one.number is None else gain
    step = f"; it {one.against_parent}" if one.against_parent else ""
    by = f" by {one.author}" if one.author else ""
    say(f"{indent}{number} {one.address} {one.name}{by}  {gain}{step}".rstrip())
    changed = [*(f"+{tag}" for tag in one.added), *(f"-{tag}" for tag in one.removed)]
    if changed:
        say(f"{indent}    {' '.join(changed)}")
    if one.motivation.strip():
        say(f"{indent}    {first_line(one.motivation)}")
    if one.other_parents:
        say(f"{indent}    also from {', '.join(one.other_parents)}")


@click.command()
@click.argument("a")
@click.argument("b")
@STORE
@AS_JSON
def diff(a: str, b: str, store: Path, as_json: bool) -> None:
    """How candidate B differs from candidate A: the choices of their genomes, and their sources line by line."""
    from difflib import unified_diff

    from asiarc.analyst.lineage import changes

    with reading(store) as archive:
        one, other = candidate_in(archive, a), candidate_in(archive, b)
    changed = changes(one["genome"], other["genome"])
    mine, theirs = (f"{row['address']} {row['name']}" for row in (one, other))
    lines = list(unified_diff(one["source"].splitlines(), other["source"].splitlines(), mine, theirs, lineterm=""))
    if as_json:
        told({"a": mine, "b": theirs, "genome": changed, "source": lines})
        return
    for name, (before, after) in changed.items():
        click.echo(f"{name}: {before} -> {after}")
    if not (one["genome"] and other["genome"]):
        click.echo("genome: not both are of the grammar")
    click.echo("\n".join(lines) if lines else "the sources are the same")


# --- a run that is running --------------------------------------------------------------------------------------------


@click.command()
@click.argument("campaign", required=False)
@click.option("--tier", type=click.Choice(TIERS), help="default: that of the run that was asked for last")
@STORE
@click.option("--once", is_flag=True, help="one look, and no more")
@AS_JSON
def watch(campaign: str | None, tier: Tier | None, store: Path, once: bool, as_json: bool) -> None:
    """How far a run is, from another terminal: until it ends, or Ctrl-C, which stops the watching only."""
    with reading(store) as archive:

        def look() -> Frame:
            from asiarc.studies.frame import look

            row = _watched(archive, campaign, tier)
            return look(archive, row["run"], _workers(row))

        if as_json:
            told(look().as_dict() | {"is_finished": look().is_finished, "is_written": writer_of(store) is not None})
        elif once or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            _print_frames(look, store, once=once)
        else:
            _watch_live(look, store, campaign)


def _watched(archive: Archive, campaign: str | None, tier: Tier | None) -> Row:
    found = [row for row in archive.runs(campaign, tier) if not is_of_kernels(row)]
    if not found:
        asked = f"{campaign or 'any campaign'} ({tier or 'any tier'})"
        known = {f"{row['campaign']} ({row['tier']})" for row in archive.runs()}
        raise EvidenceError(unknown_name("run of", asked, known, then="Start one with: pytest campaigns."))
    return found[-1]


def _workers(run: Row) -> int:
    """How many processes a run trains with, as its command says."""
    command: list[str] = run["provenance"].get("command", [])
    for i, word in enumerate(command):
        name, _, value = word.partition("=")
        if name in ("--workers", "--asiarc-workers"):
            value = value or "".join(command[i + 1 : i + 2])
            return int(value) if value.isdigit() and int(value) else 2
    return 2


def writer_of(store: Path) -> int | None:
    """The process that writes in an archive, as far as its lock file says; None where it is gone."""
    try:
        number = (store / "writer.lock").read_text(encoding="utf-8").removeprefix("process ").strip()
        os.kill(int(number), 0)
    except PermissionError:  # it is another user's, and there
        return int(number)
    except (OSError, ValueError):
        return None
    return int(number)


def _has_ended(frame: Frame, store: Path, campaign: str | None) -> bool:
    return writer_of(store) is None or (frame.is_finished and campaign is not None)


def _last_word(frame: Frame, store: Path) -> str:
    if frame.is_finished:
        return f"finished; asiarc show {frame.campaign} --tier {frame.tier} lists the candidates"
    if writer_of(store) is None:
        return f"nothing runs in {store}; go on with: pytest campaigns --tier {frame.tier} -k {frame.campaign}"
    return ""


def _print_frames(look: Callable[[], Frame], store: Path, *, once: bool) -> None:
    """Plain lines, again where something changed."""
    from asiarc.studies.frame import rows_of

    before = ""
    while True:
        frame = look()
        text = "\n".join(f"{label:<12} {line}" for label, line in rows_of(frame))
        last = _last_word(frame, store)
        if text != before:
            click.echo("\n".join(filter(None, [text, last])))
        if once or last:
            return
        before = text
        time.sleep(10 * PAUSE_S)


def _watch_live(look: Callable[[], Frame], store: Path, campaign: str | None) -> None:
    from asiarc.harness.live import LiveTable, console_on, drawn

    screen = console_on(sys.stdout, colour="NO_COLOR" not in os.environ)
    frame = look()
    try:
        with LiveTable(screen, look) as table:
            while not _has_ended(frame := table.frame or frame, store, campaign):
                time.sleep(PAUSE_S)
                table.refresh()
    except KeyboardInterrupt:
        frame = look()
    screen.print(drawn(frame))
    if last := _last_word(frame, store):
        screen.print(last)

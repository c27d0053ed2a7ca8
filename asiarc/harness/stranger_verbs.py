"""What a third party does with a published folder: train a discovery again, and open what was sealed before the run."""

from __future__ import annotations

import itertools
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asiarc.core.errors import EvidenceError
from asiarc.core.recipe import Tier
from asiarc.harness.archive_verbs import candidate_in
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, project_store, require_device, say, told

if TYPE_CHECKING:
    from asiarc.archive.results import Row
    from asiarc.archive.store import Archive
    from asiarc.studies.retraining import Retraining
    from asiarc.studies.study import StudyResult

PATIENCE_S = 900  # what a stranger waits for one answer
REPORT = click.Path(exists=True, file_okay=False, path_type=Path)


@contextmanager
def rows_of(folder: Path) -> Iterator[Archive]:
    """The archive that the rows of a report's folder make; `EvidenceError` where it has none."""
    from asiarc.archive.extract import opened
    from asiarc.report.document import EXTRACT

    if not (folder / EXTRACT).is_file():
        raise EvidenceError(f"{folder} has no {EXTRACT}: it is no report, or of the format without rows")
    with opened(folder / EXTRACT) as extract:
        yield extract.archive


def _train(study: Retraining, name: str, tier: Tier, store: Path, workers: int) -> StudyResult:
    from asiarc.studies.study import trained

    require_device(tier)
    return trained(study, name, tier, store, workers, lambda line: say(line, err=True))


@click.command()
@click.argument("folder", type=REPORT)
@click.argument("candidate")
@click.option("--against", required=True, metavar="BASELINE", help="a baseline of the same run, or another candidate")
@click.option("--seeds", type=click.IntRange(min=2, max=64), default=4, show_default=True, help="fresh ones")
@click.option("--salt", default="", metavar="TEXT", help="makes the seeds; the same one goes on where it stopped")
@STORE
@WORKERS
@AS_JSON
def retrain(
    folder: Path, candidate: str, against: str, seeds: int, salt: str, store: Path, workers: int, as_json: bool
) -> None:
    """Train a published candidate and a baseline again, from the rows of FOLDER alone, and compare on fresh seeds.

    Exit status 1 where the two intervals have nothing in common.
    """
    from asiarc.studies.retraining import again, published

    salt = salt or secrets.token_hex(8)
    with rows_of(folder) as archive:
        rows = [candidate_in(archive, text) for text in (candidate, against)]
        found = published(archive, rows[0]["address"], rows[1]["address"])
        mixers = {row["name"]: (row["source"], recipe) for row, recipe in zip(rows, found.recipes, strict=True)}
        study, tier = again(archive, found, mixers, seeds=seeds, salt=f"again-{salt}"), found.run["tier"]
    wait_s = 2 * seeds * found.cpu_s / min(workers, 2 * seeds)
    patience = "" if wait_s < PATIENCE_S else f"; --seeds {max(2, int(seeds * PATIENCE_S / wait_s))} takes 15"
    say(f"{2 * seeds} trials, about {wait_s / 60:.0f} minutes{patience}; seeds of --salt {salt}", err=True)
    ahead, behind = mixers
    effect = _train(study, f"again {ahead}", tier, store, workers).gain(ahead, behind, found.task)
    agrees = effect.low <= found.effect.high and found.effect.low <= effect.high
    if as_json:
        told({"ahead": ahead, "behind": behind, "task": found.task, "stage": found.stage, "salt": salt,
              "published": asdict(found.effect), "again": asdict(effect), "agrees": agrees})  # fmt: skip
    else:
        say(f"{ahead} over {behind} on {found.task}, as {found.stage} of {found.run['campaign']} trained them")
        say(f"published: {found.effect.explain()}")
        say(f"again:     {effect.explain()}")
        say("the intervals agree" if agrees else "the intervals have nothing in common")
    sys.exit(not agrees)


CAMPAIGNS = click.option(
    "--campaign", "files", multiple=True, required=True, help="a campaign's file; may be repeated",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
KEY = click.option(
    "--key", type=click.Path(path_type=Path), help="default: .asiarc/sealed/NAME.key in the project's root"
)
TEXT = click.option(
    "--text", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="UTF-8, unread"
)


def _promises(files: tuple[Path, ...], tier: Tier) -> dict[str, str]:
    from asiarc.campaign.loading import all_declared, of_models
    from asiarc.core.digest import digest
    from asiarc.report.facts import project_folder
    from asiarc.studies.sealed import promises

    found = [(name, of_models(name, campaign), file) for file in files for name, campaign in all_declared(file)]
    specs = {f"{name} at {tier}": digest(campaign.at(file.parent).resolved(tier)) for name, campaign, file in found}
    return promises(specs, project_folder(Path()) / "reproductions")


def _require_text(text: Path) -> None:
    """`TaskError` where a text is too little to train on: built as a task's, in a cache that is thrown away."""
    from asiarc.tasks import opened

    before = os.environ.get("ASIARC_CACHE")
    with tempfile.TemporaryDirectory() as away:
        os.environ["ASIARC_CACHE"] = away
        try:
            opened(f"text:{text.absolute()}", text.parent, build=True)
        finally:
            del os.environ["ASIARC_CACHE"]
            os.environ |= {} if before is None else {"ASIARC_CACHE": before}


def _key_of(folder: Path, key: Path | None) -> Path:
    return key or project_store() / "sealed" / f"{folder.resolve().name}.key"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@TEXT
@click.option("--seeds", type=click.IntRange(min=2, max=64), default=8, show_default=True)
@CAMPAIGNS
@KEY
@TIER
@AS_JSON
def seal(
    folder: Path, text: Path, seeds: int, files: tuple[Path, ...], key: Path | None, tier: Tier, as_json: bool
) -> None:
    """Before a run: seal a text and seeds for its final table, and promise by hash what is asked and who decides.

    Commit FOLDER before the run; keep the key out of the repository, and the text away from here.
    """
    from asiarc.studies import sealed

    _require_text(text)
    place = _key_of(folder, key)
    found = sealed.seal(folder, place, text, seeds=seeds, promised=_promises(files, tier))
    if as_json:
        told({**asdict(found), "folder": folder, "key": place})
        return
    say(f"sealed: {seeds} seeds, {text} ({found.text[:12]}) and {len(found.promised)} promises; commit {folder}")
    say(f"key: {place}; delete {text} here, and open it once: asiarc unseal {folder} REPORT")


@click.command()
@click.argument("folder", type=REPORT)
@click.argument("report", type=REPORT)
@CAMPAIGNS
@KEY
@TIER
@STORE
@WORKERS
@AS_JSON
def unseal(
    folder: Path, report: Path, files: tuple[Path, ...], key: Path | None, tier: Tier, store: Path, workers: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Once, after a run: train every winner of REPORT and its baselines on the sealed seeds, on what decided and on the
    sealed text: the final table.

    Says what has changed since the seal. A second opening is refused, unless the first was interrupted.
    """
    from asiarc.report.document import sha256
    from asiarc.studies import sealed

    seal, used_for = sealed.sealed(folder), sha256(report / "manifest.json")
    changed = list(sealed.changes(seal.promised, _promises(files, tier)))
    content, salt = sealed.open_seal(folder, _key_of(folder, key), used_for, changed)
    opened = sealed.opening(folder) or {}
    with tempfile.TemporaryDirectory() as place:
        text = Path(place, f"{folder.resolve().name}.txt")
        text.write_bytes(content)
        table = _table(report, text, seal.seeds, salt, store, workers)
    sealed.note(folder, opened | {"table": table})
    if as_json:
        told({**opened, "table": table})
        return
    for line in opened["changed"] or ["nothing has changed since the seal"]:
        say(f"since {seal.sealed_at}: {line}")
    for row in table:
        gain = row["effect"]
        say(f"{row['ahead']} over {row['behind']} on {row['task']}: {gain['mean']:+.4f} "
            f"[{gain['low']:+.4f}, {gain['high']:+.4f}], n={gain['n']}: {row['decision']}")  # fmt: skip
    say(f"kept in {folder / sealed.OPENED}: commit it")


def _table(report: Path, text: Path, seeds: int, salt: str, store: Path, workers: int) -> list[Row]:
    """Every winner's gain over each baseline of its campaign on the seeds, on the task that decided and on the text,
    widened for all of them."""
    from asiarc.evidence.effects import decide
    from asiarc.tasks import opened

    task = opened(f"text:{text}", text.parent, build=True)
    with rows_of(report) as archive:
        finals = list(_finals(archive, task, seeds, salt))
    if not finals:
        raise EvidenceError(f"{report} has no winner to put to the text; its campaigns have to finish verify first")
    count, table = sum(len(study.tasks) * (len(study.mixers) - 1) for *_, study in finals), []
    for name, tier, study in finals:
        found, (winner, *baselines) = _train(study, f"sealed {name}", tier, store, workers), study.mixers
        for where, baseline in itertools.product(study.tasks, baselines):
            effect = found.gain(winner, baseline, where, num_comparisons=count)
            decision = decide(effect, fresh_seeds=True, fresh_items=True)
            table.append({"campaign": name, "task": "the sealed text" if where == task else where, "ahead": winner,
                          "behind": baseline, "effect": asdict(effect), "decision": decision})  # fmt: skip
    return table


def _finals(archive: Archive, task: str, seeds: int, salt: str) -> Iterator[tuple[str, Tier, Retraining]]:
    """(campaign, tier, study) of every winner beside its baselines, the winner first."""
    from asiarc.studies.retraining import again, published

    for run in archive.runs():
        winner = (archive.stage_result(run["run"], "verify") or {}).get("winner")
        if winner is None or "spec" not in run["identity"]:
            continue
        mixers, found = {}, None
        for name, address in run["identity"]["baselines"].items():
            found = published(archive, winner, address, runs=[run])
            for place, known, recipe in zip((winner, address), (None, name), found.recipes, strict=True):
                row = archive.candidate(place)
                assert row is not None, place
                mixers[known or row["name"]] = (row["source"], recipe)
        if found is not None:
            yield run["campaign"], run["tier"], again(archive, found, mixers, seeds=seeds, salt=salt, beside=(task,))

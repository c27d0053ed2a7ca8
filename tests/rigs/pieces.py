"""``python -m tests.rigs pieces``: trials on a GPU that one has for minutes, on a machine without network.

`pack` writes a folder with the code, the texts and a job for every trial; `run`, in that folder on the other machine,
runs the next jobs and stops before its minutes are over; `take` brings what is done into an archive. The folder goes
there and back as often as it takes: what is done is not done again. `run` needs torch, transformers, hypothesis, einops
and click, and neither pydantic nor lm-eval: scores are then computed as lm-eval computes them (`score_plainly`).

Unusual: jobs run in `run`'s own process and in no sandbox, so that every row says that no layer held; give it baselines
and candidates that were admitted. A trial's key holds the versions of the machine that ran it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any
from unittest import mock

import click

from asiarc.core.errors import ExecutionError
from asiarc.core.recipe import TIERS, Tier, TrialRecipe, stage_plan
from tests.rigs import ROOT

if TYPE_CHECKING:
    from asiarc.engineer.workshop import Request

MOST_BYTES = 60 << 20
SPARE = 1.3  # a job is begun where so many times the longest so far is left
STAGE, SIZE_OF = "verify", "delta_net"
FOLDERS = {"asiarc": "asiarc", "kernels": "asiarc/kernels", "tests/rigs": "tests/rigs"}  # where what goes in the pack


# --- here -------------------------------------------------------------------------------------------------------------


def requests(mixers: Sequence[str], tier: Tier, task: str, seeds: int, device: str, *, tiny: bool) -> Iterator[Request]:
    """A trial for every seed of every mixer: a baseline's name or a candidate's file, at a tier's verification."""
    from asiarc.core.candidate import content_address, read_source
    from asiarc.engineer.workshop import Request
    from asiarc.models.baselines import BASELINE_NAMES, baseline_source

    plan = stage_plan(tier, STAGE)
    plan = plan.shrunk() if tiny else plan
    size_of = baseline_source(SIZE_OF)
    for seed in range(seeds):
        for mixer in mixers:
            source = baseline_source(mixer) if mixer in BASELINE_NAMES else read_source(Path(mixer))
            yield Request(
                address=content_address(source),
                source=source,
                task=task,
                stage=STAGE,
                seed=f"pieces/{seed}",
                recipe=plan.text,
                match=(content_address(size_of), size_of),
                split="validation",
                documents=plan.documents,
                device=device,
            )


def texts_of(request: Request) -> Iterator[Path]:
    """The folders of the cache that a trial reads: texts, the tokens that are made of them, and what made those."""
    from asiarc.tasks.corpus import docstring_corpus
    from asiarc.tasks.keep import cache_folder
    from asiarc.tasks.stream import folder_of
    from asiarc.tasks.tokenizer import folder_of as tokenizer_folder
    from asiarc.tasks.tokenizer import key_of

    request.opened.keep()
    hashes = {request.opened.content_hash}
    if request.recipe.tokenizer != "bytes":
        key = key_of(request.recipe.tokenizer)
        hashes.add(docstring_corpus().content_hash)
        yield from (folder_of(str(request.opened.content_hash), key), tokenizer_folder(key))
    for index in (cache_folder() / "corpora").glob("*/index.json"):
        if json.loads(index.read_text())["content_hash"] in hashes:
            yield index.parent


def told() -> dict[str, Any]:
    """What the other machine has to know of this one: by which versions the texts are kept, whose versions to tell."""
    from asiarc.campaign.identity import DECIDING_PACKAGES
    from asiarc.tasks import corpus, tokenizer

    texts = {package: corpus._version(package) for package in corpus.PACKAGES}
    return {"texts": texts, "counter": tokenizer._counter(), "packages": [*DECIDING_PACKAGES, "triton"]}


def pack(folder: Path, asked: Sequence[Request]) -> int:
    """Write the code, the texts and the jobs; what is done in the folder stays. The bytes of it."""
    from asiarc.tasks.keep import cache_folder

    for name, place in FOLDERS.items():
        shutil.rmtree(folder / place, ignore_errors=True)
        shutil.copytree(ROOT / name, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
    for text in {text for request in asked for text in texts_of(request)}:
        shutil.copytree(text, folder / "cache" / text.relative_to(cache_folder()), dirs_exist_ok=True)
    (folder / "jobs").mkdir(exist_ok=True)
    for number, request in enumerate(asked):
        data = {"request": asdict(request), "job": request.job.as_text()}
        (folder / "jobs" / f"{number:04}-{request.key}.json").write_text(json.dumps(data))
    (folder / "told.json").write_text(json.dumps(told()))
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def rows(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What was asked and what came of it, for every job that is done."""
    for done in sorted((folder / "done").glob("*.json")):
        asked = json.loads((folder / "jobs" / done.name).read_text())["request"]
        yield asked, json.loads(done.read_text())


def take(folder: Path, store: Path, tier: Tier) -> list[tuple[str, Any]]:
    """Bring every row that the archive lacks into it, under the versions of the machine that ran it; (device, trial) of
    all. A result is checked as any that comes from elsewhere."""
    from asiarc.archive.store import Archive
    from asiarc.campaign import identity
    from asiarc.core.digest import digest
    from asiarc.engineer import returned
    from asiarc.engineer.workshop import Request, Workshop
    from asiarc.execution import InlineExecutor
    from asiarc.execution.judge import received

    found = []
    with Archive(store) as archive:
        workshop = Workshop(archive, InlineExecutor())
        for asked, done in rows(folder):
            match = tuple(asked["match"]) if asked["match"] else None
            request = Request(**asked | {"recipe": TrialRecipe(**asked["recipe"]), "match": match})
            there = done["machine"]
            with mock.patch.object(identity, "version_of", there["packages"].__getitem__):
                key = request.key
            run = digest(["pieces", there])
            archive.add_run(run, "pieces", tier, 0, {"pieces": there}, there)
            archive.add_candidate(request.address, request.address, request.source, "")
            if archive.trial(key) is None:
                result = received(json.dumps(done["result"]))
                workshop._store_trial(request, returned.checked(result, returned.TrialShape))
            archive.add_use(run, STAGE, key)
            found.append((there["device"], archive.trial(key)))
    return found


# --- there ------------------------------------------------------------------------------------------------------------


def machine(packages: Sequence[str], device: str) -> dict[str, Any]:
    """Which machine this is: its device by name, and versions, "not installed" for what is not."""
    import platform

    import torch

    def version(package: str) -> str:
        found = next(iter(importlib.metadata.distributions(name=package)), None)
        return found.version if found and importlib.util.find_spec(package.replace("-", "_")) else "not installed"

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "python": platform.python_version(), "packages": {p: version(p) for p in packages}}


def run_next(folder: Path, minutes: float) -> tuple[int, int]:
    """Run jobs one after another while there is time for one more; how many were run now, and how many are left."""
    import torch

    from asiarc.execution.job import InlineExecutor, Job
    from asiarc.tasks import corpus, tokenizer

    until, longest_s, ran = time.monotonic() + 60 * minutes, 0.0, 0
    of_home = json.loads((folder / "told.json").read_text())
    (folder / "done").mkdir(exist_ok=True)
    missing = [job for job in sorted((folder / "jobs").glob("*.json")) if not (folder / "done" / job.name).exists()]
    with (
        mock.patch.object(corpus, "_version", of_home["texts"].__getitem__),
        mock.patch.object(tokenizer, "_counter", lambda: of_home["counter"]),
        mock.patch.dict("os.environ", ASIARC_CACHE=str(folder / "cache")),
    ):
        for path in missing:
            job = Job.from_text(json.loads(path.read_text())["job"])
            if job.payload["device"] == "cuda" and not torch.cuda.is_available():
                raise ExecutionError("the jobs are for a GPU and torch finds none here; pack them with --device cpu")
            if time.monotonic() + SPARE * longest_s > until:
                break
            result = InlineExecutor().run([job])[0]
            longest_s, ran = max(longest_s, result.wall_s), ran + 1
            done = {"result": asdict(result), "machine": machine(of_home["packages"], job.payload["device"])}
            draft = folder / "done" / f".{path.name}"
            draft.write_text(json.dumps(done))
            draft.rename(folder / "done" / path.name)
            click.echo(f"{job.label}: {result.status} {result.reason} {result.wall_s:.1f} s")
    return ran, len(missing) - ran


# --- the commands -----------------------------------------------------------------------------------------------------

FOLDER = click.argument("folder", type=click.Path(path_type=Path))
TIER = click.option("--tier", type=click.Choice(TIERS), default="gpu", show_default=True)


@click.group()
def main() -> None:
    """Trials on a GPU that one has for minutes: pack here, run there, take here."""


@main.command(name="pack")
@FOLDER
@TIER
@click.option("--mixer", "mixers", multiple=True, help="A baseline or a candidate's file, repeatable; default: all.")
@click.option("--task", default="text", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--tiny", is_flag=True, help="As a dry run trains: does the way there and back work?")
def pack_command(
    folder: Path, tier: Tier, mixers: tuple[str, ...], task: str, seeds: int, device: str, *, tiny: bool
) -> None:
    """Write FOLDER: the code, the texts and a job for every trial, at most 60 MiB."""
    from asiarc.models.baselines import BASELINE_NAMES

    asked = list(requests(mixers or BASELINE_NAMES, tier, task, seeds, device, tiny=tiny))
    size = pack(folder, asked)
    click.echo(f"{len(asked)} trials, {size / 2**20:.1f} MiB in {folder}; there: python -m tests.rigs pieces run .")
    if size > MOST_BYTES:
        raise click.ClickException(f"more than {MOST_BYTES >> 20} MiB: take a smaller text")


@main.command(name="run")
@FOLDER
@click.option("--minutes", default=8.0, show_default=True, help="No job is begun that may end after them.")
def run_command(folder: Path, minutes: float) -> None:
    """Run the next jobs of FOLDER, in this process."""
    ran, left = run_next(folder.resolve(), minutes)
    click.echo(f"{ran} run, {left} left")


@main.command(name="take")
@FOLDER
@TIER
@click.option("--store", type=click.Path(path_type=Path), required=True, help="The archive's folder.")
def take_command(folder: Path, tier: Tier, store: Path) -> None:
    """Bring what is done in FOLDER into an archive, and print the means."""
    found = take(folder, store, tier)
    values: dict[tuple[str, str], list[float]] = {}
    for device, trial in found:
        if trial.outcome.kind == "scored":
            values.setdefault((device, trial.address), []).append(trial.value)
    for (device, address), seeds in sorted(values.items(), key=lambda row: fmean(row[1])):
        spread = f" ± {stdev(seeds):.4f}" if len(seeds) > 1 else ""
        click.echo(f"{address}  {fmean(seeds):.4f}{spread}  {len(seeds)} seeds on {device}")
    click.echo(f"{len(found)} trials are in {store}")

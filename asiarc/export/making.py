"""An export from beginning to end: train again, hand over, write the folder, load it and score it, put it in place.

Weights are not kept by campaigns. A trial is a function of its candidate, recipe, seed and device, so it is trained
again, and what the finished folder scores is held against what the trial scored: one that is far from it is no export.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from asiarc.archive.store import Archive
from asiarc.core.device import device_type
from asiarc.core.errors import ExecutionError
from asiarc.engineer import returned
from asiarc.engineer.workshop import trial_executor
from asiarc.execution import Executor, Result
from asiarc.export import folder as files
from asiarc.export.card import card, provenance_of
from asiarc.export.chosen import Chosen

FAR = 0.05  # in bits per byte, or in accuracy: beyond it the trial was not trained again, whatever rounds otherwise
Row = dict[str, Any]
Opened = Callable[[Path], AbstractContextManager[Executor]]  # an executor whose jobs may read a folder


def _sandbox(folder: Path) -> AbstractContextManager[Executor]:
    return trial_executor(1, readable=[folder])


def export(archive: Archive, chosen: Chosen, into: Path, say: Callable[[str], None], opened: Opened = _sandbox) -> Row:
    """Write the folder `into`, which must be empty or not there; what was written and measured, as plain data.

    The candidate's code runs in the sandbox alone. Raises `ExecutionError` for a folder that holds something, a device
    that is not here, a training that fails, and a score that is far from the stored one; then nothing is written.
    """
    _may_be_written(into)
    request = chosen.request
    if request.device == "cuda" != device_type():
        raise ExecutionError(
            f"{chosen.name} was trained on a GPU and there is none here, so it cannot be trained again as it was; "
            "export it on a machine with one"
        )
    with _in_place(into) as folder, opened(folder) as executor:
        return _export(archive, chosen, into, folder, executor, say)


def _export(
    archive: Archive, chosen: Chosen, into: Path, folder: Path, executor: Executor, say: Callable[[str], None]
) -> Row:
    request, trial = chosen.request, chosen.trial
    steps = f"{request.recipe.steps} steps on {trial.task}, about {trial.cpu_s:.0f} CPU-seconds"
    say(f"training {chosen.name} {chosen.address} again: {steps}")
    secret = {"file": str(folder / files.WEIGHTS), "most_bytes": request.limits.file_bytes}
    jobs = "asiarc.export.jobs"
    training = replace(request.job, then=f"{jobs}:hand_over", referee=f"{jobs}:keep", secret=secret)
    kept = _value(executor.run([training])[0])
    if "ended" in kept:
        raise ExecutionError(f"trained again, it ended as {kept['ended']}: {kept['reason']}; nothing was written")
    title = f"{chosen.name}, a language model that asiarc exported; candidate {chosen.address}."
    needs_einops = files.write_model(
        folder, chosen.name, chosen.source, title, chosen.recipe, trial.details["hidden"], provenance_of(chosen),
        chosen.mixers,
    )  # fmt: skip
    files.write_tokenizer(folder, chosen.recipe.tokenizer)
    say("loading the folder and scoring it, as anybody would")
    payload = {"folder": str(folder), "device": request.device}
    reading = replace(request.job, function=f"{jobs}:nothing", payload=payload, then=f"{jobs}:answer")
    scored = _value(returned.checked(executor.run([reading])[0], returned.TrialShape))
    found = {
        "folder": str(into),
        "candidate": chosen.name,
        "address": chosen.address,
        "module": files.module_name(chosen.name),
        "needs_einops": needs_einops,
        "parameters": scored.get("parameters"),
        "metric": trial.metric,
        "stored": trial.value,
        **agreement(chosen, scored),
        "task": files.write_task(folder, request.job.secret),
        "provenance": provenance_of(chosen),
    }
    (folder / "README.md").write_text(card(archive, chosen, found), encoding="utf-8")
    return found | {"files": sorted(file.name for file in folder.iterdir())}


def agreement(chosen: Chosen, scored: Row) -> Row:
    """The folder's score, and how it compares with the stored one."""
    value, stored = scored.get("value"), chosen.trial.value
    if value is None:
        raise ExecutionError(f"the exported folder was not scored: {scored.get('reason')}; nothing was written")
    assert stored is not None, "a scored trial was chosen"
    apart = abs(value - stored)
    if apart > FAR:
        raise ExecutionError(
            f"trained again, {chosen.name} scores {value:.4f} where {stored:.4f} is stored: asiarc, a package or the "
            "corpus is another one than when the trial was made. Run the campaign again, or export with the versions "
            "of its run; nothing was written"
        )
    said = "equal" if apart < 1e-6 else f"{apart:.2g} apart: another processor or version rounds otherwise"
    return {"score": value, "agreement": said}


def _value(result: Result) -> Row:
    if result.status != "ok" or result.value is None:
        raise ExecutionError(f"the sandbox did not finish: {result.reason or result.status}; nothing was written")
    return result.value


def _may_be_written(into: Path) -> None:
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ExecutionError(f"{into} holds something already; name a folder that is empty or not there yet")


@contextmanager
def _in_place(into: Path) -> Iterator[Path]:
    """A folder beside `into` that takes its place once all went well; of a failure nothing stays."""
    into.absolute().parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.absolute().parent))
    try:
        yield made
        made.chmod(0o755)
        if into.exists():
            into.rmdir()
        made.rename(into)
    finally:
        shutil.rmtree(made, ignore_errors=True)

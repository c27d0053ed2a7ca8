"""What is wrong with a submitted kernel file: what its declaration says, what the red team finds, then its time.

Nothing of the file is imported in this process: its declarations come as data, its reference and its checks run in a
process of their own, its kernel in the arena. A file that declares kernels brings the references that they are held
against; one that defines functions named as our operators is held against ours.
"""

from __future__ import annotations

import ast
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asiarc.core.candidate import read_source
from asiarc.core.errors import KernelError, unknown_name
from asiarc.core.kernel import Kernel, Speed
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed import NotMeasuredError
from asiarc.speed.arena import serve_declaring
from asiarc.speed.judge import Examinee, examined
from asiarc.speed.race import race
from asiarc.speed.worker import Worker, WorkerError


@dataclass(frozen=True)
class KernelVerdict:
    """What was found of one kernel, by check; notes say what was measured, or why nothing was (`unmeasured`)."""

    name: str
    findings: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)
    unmeasured: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"passed": not self.findings and not self.unmeasured, **asdict(self)}


def judge_file(file: Path, seed: int = 0, *, speed: bool = True) -> list[KernelVerdict]:
    """A verdict on each kernel of a file; `KernelError` where it holds none or cannot be loaded."""
    with Worker(serve_declaring, method="forkserver") as worker:
        declared = ask_for(worker, file, "")
        if declared:
            return [verdict(Examinee(n, k, file, worker), worker, seed, speed) for n, k in declared.items()]
    own = [name for name in functions_of(read_source(file)) if name in KERNELS]
    if not own:
        close = unknown_name("operator", file.stem.removeprefix("kernel_"), KERNELS)
        raise KernelError(
            f"{file} declares no kernel (NAME = Kernel(...)) and defines no function named as one of asiarc's: {close}"
        )
    return [submitted(file, name, seed) for name in own]


def submitted(file: Path, name: str, seed: int, at_most: dict[str, int] | None = None) -> KernelVerdict:
    """The verdict on a function for one of our operators, which may be held to limits that ours is not."""
    with Worker(serve_declaring, method="forkserver") as worker:
        ask_for(worker, file, name, at_most=at_most or {})
        return verdict(Examinee(name, KERNELS[name], file), worker, seed, speed=False)


def ask_for(worker: Worker, file: Path, name: str, **limits: Any) -> dict[str, Kernel]:
    """The declarations of a file in a worker; their functions stay there."""
    try:
        plain = worker.ask("load", file=str(file.resolve()), name=name, **limits)["kernels"]
    except WorkerError as error:
        raise KernelError(f"{file} cannot be loaded: {error}") from error
    return {n: without_functions(found) for n, found in plain.items()}


def without_functions(plain: dict[str, Any]) -> Kernel:
    """A declaration from plain data; what is a function stays where it is."""
    given: dict[str, Any] | None = plain.pop("speed")
    speed = Speed(**given | {"peer": "the:worker" if given["peer"] else None}) if given else None
    return Kernel(function="the:worker", reference="the:worker", speed=speed, **plain)


def verdict(subject: Examinee, checks: Worker, seed: int, speed: bool) -> KernelVerdict:
    """What the declaration's checks and the red team's find; the time of what they find nothing against."""
    try:
        told: dict[str, list[str]] = checks.ask("check", name=subject.name)
    except WorkerError as error:
        told = {"checks": [f"could not be run: {error}"]}
    found = {check: texts for check, texts in told.items() if texts}
    found |= {check: [reason] for check, reason in examined(subject, seed).findings.items()}
    if found or not speed or subject.kernel.speed is None:
        return KernelVerdict(subject.name, found, ["no time is taken of what is wrong"] * bool(found and speed))
    return timed(subject)


def timed(subject: Examinee) -> KernelVerdict:
    """The time of a kernel with nothing else against it."""
    assert subject.file is not None
    try:
        compared = race(subject.file, subject.name, subject.kernel)
    except NotMeasuredError as error:
        return KernelVerdict(subject.name, {}, [str(error)], unmeasured=True)
    if compared.failed:
        return KernelVerdict(subject.name, {"speed": [compared.red or compared.told()]})
    if compared.ratio.verdict == "not measured":
        return KernelVerdict(subject.name, {}, [f"not measured: {compared.ratio.reason}"], unmeasured=True)
    return KernelVerdict(subject.name, {}, [compared.told()])


def functions_of(source: str) -> list[str]:
    """The names of the functions that a source defines at its top."""
    try:
        return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError:
        return []

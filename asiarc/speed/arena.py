"""Where a kernel file runs while the judge looks: a child process that does what it is told and reports what it saw.

What can be judged from outside is judged outside (results, times, files); this side holds its own references to
whatever a kernel might patch, taken before the kernel is loaded. Its reports bind a careless cheat, not one that
rewrites this process's memory: that is what the sandbox of `asiarc.execution` is for.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asiarc.core.kernel import Kernel, kernels_in
from asiarc.core.loading import module_of
from asiarc.execution.attempt import attempt
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed import worker
from asiarc.speed.cases import Call, Case, Tensors, exact, gradients, outputs_of, resolved
from asiarc.speed.lean import too_much
from asiarc.speed.loading import importable, loaded_below, roots_of
from asiarc.speed.properties import broken, inaccurate

ALLOWED_KERNELS = {"asiarc.kernels", "asiarc.kernels.chunked"}
WATCHED: tuple[Any, ...] = (
    time, builtins, gc, json, math, os, torch, torch.autograd, torch.cuda, torch.testing, torch.Tensor,
    torch.nn.functional, torch.utils.deterministic, threading, worker,
)  # fmt: skip
LEAVING = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "os.rename")


class PlantedError(RuntimeError):
    """What the judge makes an operator raise."""


class Operators(TorchDispatchMode):
    """Records the operators that run and the elements that they make; raises at the `fault_at`th."""

    def __init__(self, fault_at: int | None = None) -> None:
        super().__init__()
        self.fault_at = fault_at
        self.names: list[str] = []
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Runs the operator."""
        if len(self.names) == self.fault_at:
            self.fault_at = None  # once: a second road, if there is one, is open
            raise PlantedError("planted by the judge")
        self.names.append(func.overloadpacket.__name__)
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.elements += sum(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))
        return result


def tasks() -> int:
    """Threads of this process, by the operating system's count."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def settings() -> dict[str, Any]:
    """Global settings of torch that a kernel must leave alone."""
    return {
        "threads": torch.get_num_threads(),
        "default dtype": str(torch.get_default_dtype()),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "seed": torch.initial_seed(),
        "denormals": bool(torch.tensor([1e-40]) * 1.0 != 0),
        "environment": dict(os.environ),
    }


def attributes() -> dict[tuple[str, str], Any]:
    """Everything in the watched namespaces, by name."""
    return {(space.__name__, name): value for space in WATCHED for name, value in vars(space).items()}


def warm_up() -> None:
    """Starts what torch starts on first use, so that it is not blamed on the kernel."""
    x = torch.ones(2, 2, requires_grad=True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with Operators():
        (x @ x).sum().backward()
    torch.use_deterministic_algorithms(False)


def in_a_plain_thread(call: Call) -> Call:
    """The same call from a stack on which nothing of this package stands."""

    def run(*args: Any, **kwargs: Any) -> Any:
        text = (
            "def step():\n"
            "    torch.set_num_threads(1)\n"
            "    kept.append(call(*args, **kwargs))\n"
        )  # fmt: skip
        kept: list[Any] = []
        space: dict[str, Any] = {"torch": torch, "kept": kept, "call": call, "args": args, "kwargs": kwargs}
        exec(compile(text, "train.py", "exec"), space)
        thread = threading.Thread(target=space["step"])
        thread.start()
        thread.join()
        if not kept:
            raise RuntimeError("the kernel raised when it was called from a plain thread")
        return kept[0]

    return run


def code_of(call: Call) -> CodeType | None:
    """The code of a Python function."""
    return getattr(call, "__code__", None)


@contextlib.contextmanager
def watched(entered: set[CodeType]) -> Iterator[None]:
    """Notes the code of every Python function that is entered in this thread meanwhile."""

    def note(frame: FrameType, event: str, argument: object) -> None:
        entered.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


class DeclaringSide:
    """What the judge can ask of a file that declares kernels: what it says, its reference, and its checks.

    What is said here is the file's own word; the judge asks its kernel again in an arena.
    """

    def load(self, file: str, name: str, at_most: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Loads a file that declares kernels, or, with a name, one that defines another function for that one of ours,
        which takes its tensors in float32 and no boundaries, and is held to the limits `at_most` besides ours.

        Returns the declarations as plain data, without their functions.
        """
        torch.set_num_threads(1)
        importable(Path(file))
        module = module_of(Path(file))
        if name:
            asked = tuple(prop for prop in KERNELS[name].holds if prop != "packing")
            limits = KERNELS[name].at_most.model_copy(update=dict(at_most or {}))
            changes = {"function": getattr(module, name), "dtypes": ("float32",), "holds": asked, "at_most": limits}
            self.kernels = {name: KERNELS[name].model_copy(update=changes)}
        else:
            self.kernels = kernels_in(module)
        return {"kernels": {name: self.plain(kernel) for name, kernel in self.kernels.items()}}

    def plain(self, kernel: Kernel) -> dict[str, Any]:
        """A declaration without its functions; of a peer, that there is one."""
        speed = kernel.speed and kernel.speed.model_dump() | {"peer": kernel.speed.peer is not None}
        return kernel.model_dump(exclude={"function", "reference"}) | {"speed": speed}

    def exact(self, plain: dict[str, Any], tensors: list[Tensors]) -> dict[str, Any]:
        """The right answers of a case."""
        case = Case(kernel=self.kernels[plain["name"]], **plain)
        leaves = {n: x.requires_grad_(case.kernel.inputs[n].differentiable) for n, x in tensors[0].items()}
        return {"tensors": [exact(case, leaves)]}

    def check(self, name: str) -> dict[str, Any]:
        """What the declaration's own checks find: accuracy, properties, lean."""
        kernel = self.kernels[name]
        return {
            "accuracy": inaccurate(name, kernel),
            "properties": [f"{prop} does not hold: {text}" for prop, text in broken(name, kernel).items()],
            "lean": too_much(name, kernel),
        }


class KernelSide:
    """What the judge can ask of a kernel."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.buffers: Tensors = {}
        self.previous: Tensors = {}
        self.sets: list[tuple[Tensors, list[Tensor]]] = []
        self.timed: list[Tensors] = []

    def load(
        self,
        file: str,
        name: str,
        declares: bool,
        outputs: list[str],
        leaves: list[str],
        environ: dict[str, str],
        argv: list[str],
        plain_thread: bool,
    ) -> dict[str, Any]:
        """Loads the kernel in the given surroundings; says which operators it declares to run on.

        The file declares the kernel `name`, or defines a function of that name; without a file it is one of ours.
        """
        torch.set_num_threads(1)
        warm_up()
        sys.dont_write_bytecode = True
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = argv
        os.chdir(environ["HOME"])
        for loaded in list(sys.modules):
            if loaded.startswith("asiarc.kernels") or loaded.split(".")[0] in ("fla", "transformers"):
                del sys.modules[loaded]
        self.attributes, self.settings, self.tasks = attributes(), settings(), tasks()
        self.outputs, self.leaves = outputs, leaves
        self.shipped = not file or declares  # what a file needs to declare itself is no call of a library
        sys.addaudithook(self.audit)
        if declares:
            importable(Path(file))
        module = module_of(Path(file)) if file else importlib.import_module(f"asiarc.kernels.{name}")
        declared = kernels_in(module)[name] if declares else None
        self.call: Call = resolved(declared.function) if declared else getattr(module, name)
        self.known = {code_of(resolved(declared.reference))} - {None, code_of(self.call)} if declared else set()
        self.shipped = not file
        if plain_thread:
            self.call = in_a_plain_thread(self.call)
        sources = loaded_below(roots_of(Path(file))[0]) if declares else []
        return {"runs": list(declared.runs if declared else getattr(module, "RUNS", ())), "sources": sources}

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Notes what reaches outside; a hook that cannot be taken off again."""
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.events.append(f"files: opens {args[0]} for writing")
        elif event == "open" and str(args[0]).startswith(os.environ.get("HOME", "\0")):
            self.events.append(f"files: reads {args[0]}")
        elif event in LEAVING:
            self.events.append(f"files: {event}")
        elif event == "import" and not self.shipped:
            name = str(args[0])
            ours = name.startswith("asiarc.kernels") and name not in ALLOWED_KERNELS
            if ours or name.split(".")[0] in ("fla", "transformers"):
                self.events.append(f"imports: imports {name}")

    def run(self, tensors: list[Tensors], same_buffers: bool = False, poison: bool = False) -> dict[str, Any]:
        """One forward and backward pass; gives the outcome, the inputs as they are afterwards, and what was seen."""
        inputs, upstream = self.placed(tensors[0], same_buffers), list(tensors[1].values())
        entered: set[CodeType] = set()
        if poison:
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with Operators() as seen:
                with watched(entered):
                    result = self.call(**inputs)
                outputs = outputs_of(result, self.outputs)
                found = self.gradients(outputs, inputs, upstream)
        finally:
            if poison:
                torch.use_deterministic_algorithms(False)
        running = tasks() - self.tasks
        plain = all(type(x) is Tensor and x.untyped_storage().nbytes() > 0 for x in outputs.values())
        plain = plain and all(x.layout is torch.strided for x in outputs.values())
        if self.known & entered:
            self.events.append("imports: calls its own reference")
        outcome = {n: x.detach() for n, x in outputs.items()} | found
        given = {x.untyped_storage().data_ptr() for x in inputs.values()}
        facts = {
            "operators": sorted(set(seen.names)),
            "elements": seen.elements,
            "plain": plain,
            "running": running,
            "laid over": [n for n, x in outputs.items() if plain and x.untyped_storage().data_ptr() in given],
        }
        answer = facts | {"tensors": [outcome, dict(inputs), self.previous]}
        self.previous = {name: x.detach() for name, x in outputs.items()} if plain else {}
        return answer

    def placed(self, tensors: Tensors, same_buffers: bool) -> Tensors:
        """The inputs as leaves: in buffers of their own, or in the very tensors of the last call."""
        if same_buffers:
            with torch.no_grad():
                for name, x in tensors.items():
                    self.buffers[name].copy_(x)
        else:
            self.buffers = {name: x.clone().requires_grad_(name in self.leaves) for name, x in tensors.items()}
        return self.buffers

    def gradients(self, outputs: Tensors, inputs: Mapping[str, Tensor], upstream: list[Tensor]) -> Tensors:
        """The gradient of every leaf, d + its name; zero where none arrives."""
        pairs = [(o, d.to(o.dtype)) for o, d in zip(outputs.values(), upstream, strict=True) if o.requires_grad]
        return gradients(pairs, {name: inputs[name] for name in self.leaves})

    def fault(self, tensors: list[Tensors], share: float) -> dict[str, Any]:
        """Makes one operator of the forward pass raise, a `share` of the way in; says whether the kernel returned."""
        inputs = self.placed(tensors[0], False)
        with Operators() as seen:
            self.call(**inputs)
        with Operators(int(share * (len(seen.names) - 1))):
            _, failure = attempt(partial(self.call, **inputs))
        return {"returned": True} if failure is None else {"returned": False, "raised_as": failure.type}

    def take(self, tensors: list[Tensors]) -> dict[str, Any]:
        """Input sets for the timed calls, (inputs, upstream) in turn."""
        pairs = zip(tensors[::2], tensors[1::2], strict=True)
        self.sets = [
            ({name: x.requires_grad_(name in self.leaves) for name, x in inputs.items()}, list(upstream.values()))
            for inputs, upstream in pairs
        ]
        return {}

    def go(self, calls: int, slower: float = 0.0) -> dict[str, Any]:
        """The timed calls; every outcome is kept, for the judge to look at any."""
        assert not slower
        self.timed = []
        for i in range(calls):
            inputs, upstream = self.sets[i % len(self.sets)]
            outputs = outputs_of(self.call(**inputs), self.outputs)
            found = self.gradients(outputs, inputs, upstream)
            self.timed.append({n: x.detach() for n, x in outputs.items()} | found)
        return {"running": tasks() - self.tasks}

    def give(self, index: int) -> dict[str, Any]:
        """The outcome of one timed call."""
        return {"tensors": [self.timed[index]]}

    def leave(self) -> dict[str, Any]:
        """What has changed since before the kernel was loaded, and what it reached for."""
        now = attributes()
        patched = [".".join(key) for key, value in self.attributes.items() if now.get(key) is not value]
        changed = [
            f"{name}: {old} -> {settings()[name]}" for name, old in self.settings.items() if settings()[name] != old
        ]
        return {"patched": patched, "settings": changed, "events": self.events, "running": tasks() - self.tasks}


def serve_declaring(connection: Connection) -> None:
    """The child's main loop for a file that declares kernels."""
    worker.serve(connection, DeclaringSide())


def serve_kernel(connection: Connection) -> None:
    """The child's main loop for a kernel."""
    worker.serve(connection, KernelSide())

"""The memory in use, as seen from outside a candidate's code: which storages operators made, and when each goes.

What a candidate holds (a variable, a buffer, an attribute, autograd's saved tensors) keeps its storage alive whoever
holds it, and torch says when the last holder lets go. What a kernel uses within one operator is not seen.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Memory:
    """Bytes in use of what was made since this began: `now`, and the most at once, `peak`."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def take(self, made: Iterable[Tensor]) -> None:
        """Follow the memory of tensors until nothing holds it; each memory once."""
        for tensor in made:
            for storage in _storages(tensor):
                if storage._cdata not in self._held:
                    self._follow(storage)
        self.peak = max(self.peak, self.now)

    def _follow(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()

        def gone(_: object) -> None:
            self.now -= size
            del self._held[place]

        self._held[place] = weakref.ref(storage, gone)
        self.now += size


@contextmanager
def uncollected() -> Iterator[None]:
    """Cycles stay while this lasts: when they would be collected depends on what else the process did."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def python_peak(call: Callable[..., object], *arguments: Any) -> int:
    """The most bytes that Python's own objects (texts, lists, numbers) take at once during `call(*arguments)`, beyond
    those that were there: what no operator shows.
    """
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        with uncollected():
            call(*arguments)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not traced:
            tracemalloc.stop()


class OperatorMode(TorchDispatchMode):
    """Sees the operators that run while active; base of all modes here."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Skipping it would import the compiler, which takes longer than an admission.
        return False


class Live(OperatorMode):
    """Follows what operators make while active, and counts nothing else: `memory`."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.memory.take(tensors_in(result))
        return result


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among an operator's arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for child in value:
            yield from tensors_in(child)
    elif isinstance(value, dict):
        yield from tensors_in([*value.values()])


def _storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """The memory behind a tensor; a sparse one has its numbers and their places."""
    if tensor.layout == torch.strided:
        yield Tensor.untyped_storage(tensor)
    elif tensor.layout == torch.sparse_coo:
        yield from (part.untyped_storage() for part in (tensor._indices(), tensor._values()))
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (part.untyped_storage() for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()))
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (part.untyped_storage() for part in (tensor.ccol_indices(), tensor.row_indices(), tensor.values()))

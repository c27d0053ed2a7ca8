"""What is examined: a module that is made anew for each call, and one way to call whatever its forward looks like.

A module made anew cannot remember the last call, and random numbers are held still, so that a program which counts its
calls or adds noise breaks the one property that says so and no other.

B batch, T tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from asiarc.engineer.gates.counting import Counter
from asiarc.execution.attempt import Failure, attempt

LENGTHS = (100, 128, 64)  # the first one that runs is the usual length; some programs want whole chunks
MASKS = ("attention_mask", "padding_mask", "mask")
CACHES = ("past_key_values", "past_key_value", "cache", "cache_params", "state", "hidden_state", "hx")
# (largest error from another order of sums, largest change where shapes are equal), relative to the largest output. Far
# above rounding in float64: what an epsilon in a denominator lets through is no leak.
_ROUNDING = {
    torch.float64: (1e-5, 1e-7),
    torch.float32: (2e-3, 1e-5),
    torch.bfloat16: (6e-2, 1e-2),
    torch.float16: (6e-2, 1e-2),
}


class UnanswerableError(Exception):
    """A question that cannot be put to this module; the text says why."""


class MalformedError(Exception):
    """An output that is none: another shape than the input's, or not finite."""


class _Absent:
    """No cache is passed, which is something else than passing None."""


ABSENT = _Absent()


@dataclass(frozen=True)
class Specimen:
    """A module under examination.

    `make()` gives it with equal weights each time; `draw(batch, tokens, seed)` its inputs, [B, T, D] or ids [B, T];
    `new_caches()` the caches that a first call may be given. `tolerance` and `leak` come from the narrowest type that
    a call computes in.
    """

    maker: Callable[[], nn.Module]
    draw: Callable[[int, int, int], Tensor]
    dtype: torch.dtype
    new_caches: Callable[[], list[Any]] = lambda: [None]
    tokens: int = LENGTHS[0]
    tolerance: float = field(default=0.0)
    leak: float = field(default=0.0)
    random: bool = False

    def examined(self) -> Specimen:
        """The same, with a length at which it runs and the rounding that it shows.

        Raises `UnanswerableError` with what its first call raised where none runs.
        """
        first: Failure | None = None
        for tokens in LENGTHS:
            probe = replace(self, tokens=tokens, random=False)
            found, failure = attempt(probe._measured)
            if failure is None:
                return found
            first = first or failure
        raise UnanswerableError(str(first))

    def _measured(self) -> Specimen:
        x, module, before = self.draw(2, self.tokens, 0), self.make(), torch.get_rng_state()
        with Counter() as counter:
            self.call(x, module=module)
        tolerance, leak = _ROUNDING[counter.narrowest]
        random = not torch.equal(before, torch.get_rng_state())
        return replace(self, tolerance=tolerance, leak=leak, random=random)

    @contextmanager
    def running(self) -> Iterator[None]:
        """No autograd, the specimen's type as torch's default."""
        default = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype if self.dtype == torch.float64 else torch.float32)
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_default_dtype(default)

    def make(self) -> nn.Module:
        """A fresh module."""
        with self.running():
            return self.maker()

    def call(
        self, x: Tensor, *, module: nn.Module | None = None, mask: Tensor | None = None, cache: Any = ABSENT
    ) -> tuple[Tensor, Any]:
        """(output, cache to go on from) of a fresh module, or of `module` as the last call left it."""
        module = module or self.make()
        options = _options(module, mask, cache)
        with self.running(), _Still() if self.random else nullcontext():
            result = module(x.clone(), **options)
        y, following = read(result)
        if y.shape[:2] != x.shape[:2] or (x.is_floating_point() and y.shape != x.shape):
            raise MalformedError(f"the output has the shape {[*y.shape]} for an input {[*x.shape]}")
        if not y.isfinite().all():
            raise MalformedError("the output is not finite")
        return y, cache if following is None and cache is not ABSENT else following

    def run(self, x: Tensor, **options: Any) -> Tensor:
        """The output alone."""
        return self.call(x, **options)[0]

    def runs(self, x: Tensor, **options: Any) -> Tensor | None:
        """The output, or None where the module raises."""
        y, failure = attempt(lambda: self.run(x, **options))
        return None if failure else y


def _options(module: nn.Module, mask: Tensor | None, cache: Any) -> dict[str, Any]:
    taken = inspect.signature(module.forward).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    options: dict[str, Any] = {}
    if mask is not None:
        options[_name(taken, MASKS, open_ended, "attention mask")] = mask
    if cache is not ABSENT:
        options[_name(taken, CACHES, open_ended, "cache or state")] = cache
        if "use_cache" in taken or (open_ended and "past_key_values" in options):
            options["use_cache"] = True
    return options


def _name(taken: Any, names: tuple[str, ...], open_ended: bool, what: str) -> str:
    found = next((name for name in names if name in taken), None)
    if found is None and not open_ended:
        raise UnanswerableError(f"forward takes no {what}")
    return found or names[0]


def read(result: Any) -> tuple[Tensor, Any]:
    """(output, cache) of what a forward returned: a tensor, a tuple that begins with one, a model's output object."""
    if isinstance(result, Tensor):
        return result, None
    if isinstance(result, (tuple, list)) and result and isinstance(result[0], Tensor):
        return result[0], result[-1] if len(result) > 1 else None
    for name in ("logits", "last_hidden_state"):
        value = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
        if isinstance(value, Tensor):
            cache = (
                result.get("past_key_values")
                if isinstance(result, dict)
                else getattr(result, "past_key_values", None)
            )
            return value, cache
    raise MalformedError(
        f"forward returned {type(result).__name__}, neither a tensor nor a tuple that begins with one"
    )


class _Still(TorchDispatchMode):
    """Random numbers are all one half, so that noise is the same at every length and in every batch."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            return tree_map_only(
                Tensor, lambda t: t.fill_(0.5) if t.is_floating_point() else t.zero_(), result
            )
        return result

"""What is examined: any module, made to look to the gates like a candidate.

It is made anew for each call, so that it cannot remember the last one, and random numbers are held still: a program
which counts its calls or adds noise breaks the one property that says so and no other.

B batch, T tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from asiarc.core.seeds import Part, seed_of
from asiarc.engineer.gates.counting import Counter
from asiarc.engineer.gates.guard import ContractError
from asiarc.engineer.gates.live import OperatorMode
from asiarc.engineer.gates.subject import Rounding, Subject
from asiarc.execution.attempt import Caught, attempt

LENGTHS = (100, 128, 64)  # the first one that runs is the usual length; some programs want whole chunks
MASKS = ("attention_mask", "padding_mask", "mask")
CACHES = ("past_key_values", "past_key_value", "cache", "cache_params", "state", "hidden_state", "hx")
# By the narrowest type that a call computes in. Wider than the gates' in float64: what an epsilon in a denominator
# lets through is no leak.
_ROUNDING = {
    torch.float64: Rounding(1e-5, 1e-7),
    torch.float32: Rounding(2e-3, 1e-5),
    torch.bfloat16: Rounding(6e-2, 1e-2),
    torch.float16: Rounding(6e-2, 1e-2),
}


class UnanswerableError(Exception):
    """A question that cannot be put to this module; the text says why."""


class MalformedError(Exception):
    """An output that is none: another shape than the input's, or not finite."""


class _Absent:
    """No cache is passed, which is something else than passing None."""


ABSENT = _Absent()


@dataclass(frozen=True)
class Decoding:
    """A way to go on from a cache: with one module for all calls or a fresh one each, and which first cache."""

    kept: bool
    first: int


@dataclass
class Specimen(Subject):
    """A module under examination, as the gates' subject: the properties can be asked of it, not its source.

    `make()` gives it with equal weights each time; `draw(batch, tokens, seed)` its inputs: [B, T, D], or ids [B, T, 1]
    where there is a `vocabulary`, which whatever comes in is wrapped into. `new_caches()` are the caches that a first
    call may be given. With `masked`, every call is given a mask of ones; segments can be asked for once `decoding`
    says how.
    """

    maker: Callable[[], nn.Module]
    draw: Callable[[int, int, int], Tensor]
    exact: torch.dtype
    new_caches: Callable[[], list[Any]] = lambda: [None]
    vocabulary: int | None = None
    tokens: int = LENGTHS[0]
    narrowest: torch.dtype = torch.float64
    random: bool = False
    masked: bool = False
    decoding: Decoding | None = None

    def __post_init__(self) -> None:
        super().__init__(source="", d_model=0, num_heads=0, seed=0)

    def examined(self) -> Specimen:
        """The same, with a length at which it runs and the rounding that it shows.

        Raises `UnanswerableError` with what its first call raised where none runs.
        """
        first: Caught | None = None
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
        return replace(self, narrowest=counter.narrowest, random=not torch.equal(before, torch.get_rng_state()))

    # --- what the gates ask of a subject ---

    def make(self, **_: Any) -> nn.Module:
        """A fresh module, as it was written: in evaluation mode, in its own types."""
        with self.running():
            return self.maker()

    def mixer(self, **_: Any) -> nn.Module:
        """A mixer of the candidate contract that makes a fresh module for each call and hands no state on."""
        return _Anew(self)

    def runs_in(self, dtype: torch.dtype) -> bool:
        """It is asked in the one type that it was made in."""
        return dtype == self.exact

    def inputs(self, batch: int, tokens: int, *address: Part, dtype: torch.dtype | None = None) -> Tensor:
        """Inputs for an address: [B, T, D], or ids [B, T, 1]."""
        return self.draw(batch, tokens, seed_of("audit", *address))

    def rounding(self, dtype: torch.dtype) -> Rounding:
        """By the narrowest type that was seen in a call, whichever the output has."""
        return _ROUNDING[self.narrowest]

    def segments(self, mixer: nn.Module, x_BTD: Tensor, lengths: list[int]) -> Tensor:
        """The outputs [B, T, D] of consecutive segments, continued as `decoding` says."""
        if self.decoding is None:
            raise ContractError("how to go on from a state is a question of its own")
        module = self.make() if self.decoding.kept else None
        cache = self.new_caches()[self.decoding.first]
        outputs: list[Tensor] = []
        for segment in x_BTD.split(lengths, 1):
            y, cache = self.call(segment, module=module, cache=cache)
            outputs.append(y)
        return torch.cat(outputs, 1)

    # --- calls, whatever forward looks like ---

    @contextmanager
    def running(self) -> Iterator[None]:
        """No autograd, the specimen's type as torch's default."""
        default = torch.get_default_dtype()
        torch.set_default_dtype(self.exact if self.exact == torch.float64 else torch.float32)
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_default_dtype(default)

    def fed(self, x: Tensor) -> Tensor:
        """An input as the module takes it, in memory of its own: [B, T, D], or ids [B, T]."""
        x = x if self.vocabulary is None else x.squeeze(-1) % self.vocabulary
        return x.clone(memory_format=torch.contiguous_format)

    def call(self, x: Tensor, *, module: nn.Module | None = None, cache: Any = ABSENT) -> tuple[Tensor, Any]:
        """(output [B, T, ...], cache to go on from) of a fresh module, or of `module` as the last call left it.

        Raises `UnanswerableError` where forward takes no mask or no cache and one is to be given, `MalformedError`
        for an output that is none, and whatever the module raises.
        """
        module = module or self.make()
        options = self._options(module, x, cache)
        with self.running(), _Still() if self.random else nullcontext():
            result = module(self.fed(x), **options)
        y, following = read(result)
        if y.shape[:2] != x.shape[:2] or (self.vocabulary is None and y.shape != x.shape):
            raise MalformedError(f"the output has the shape {[*y.shape]} for an input {[*x.shape]}")
        if not y.isfinite().all():
            raise MalformedError("the output is not finite")
        return y, cache if following is None and cache is not ABSENT else following

    def run(self, x: Tensor, **options: Any) -> Tensor:
        """The output [B, T, D] (logits [B, T, V] of a model) of `call`; raises as that does."""
        return self.call(x, **options)[0]

    def runs(self, x: Tensor, **options: Any) -> Tensor | None:
        """The output, or None where the module raises."""
        y, failure = attempt(lambda: self.run(x, **options))
        return None if failure else y

    def _options(self, module: nn.Module, x: Tensor, cache: Any) -> dict[str, Any]:
        taken = inspect.signature(module.forward).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in taken.values())
        options: dict[str, Any] = {}
        if self.masked:
            mask = torch.ones(x.shape[:2], dtype=torch.long)
            options[_name(taken, MASKS, open_ended, "attention mask")] = mask
        if cache is not ABSENT:
            options[_name(taken, CACHES, open_ended, "cache or state")] = cache
            if "use_cache" in taken or (open_ended and "past_key_values" in options):
                options["use_cache"] = True
        return options


class _Anew(nn.Module):
    """A specimen behind the candidate contract."""

    def __init__(self, specimen: Specimen) -> None:
        super().__init__()
        self.specimen = specimen

    def forward(self, x_BTD: Tensor, state: None = None) -> tuple[Tensor, None]:
        return self.specimen.run(x_BTD), None


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
                result.get("past_key_values") if isinstance(result, dict) else getattr(result, "past_key_values", None)
            )
            return value, cache
    raise MalformedError(f"forward returned {type(result).__name__}, neither a tensor nor a tuple that begins with one")


class _Still(OperatorMode):
    """Random numbers are all one half, so that noise is the same at every length and in every batch."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            return tree_map_only(Tensor, lambda t: t.fill_(0.5) if t.is_floating_point() else t.zero_(), result)
        return result

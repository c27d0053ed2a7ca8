"""The candidate under examination: fresh mixers with weights fixed by address, inputs fixed by address, one way to run.

B batch, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from asiarc.core.candidate import load_mixer
from asiarc.core.seeds import Part, seed_of
from asiarc.engineer.gates.counting import Counter
from asiarc.engineer.gates.guard import CandidateFailure, ContractError, guarded

State = Any
T = TypeVar("T")


class Rounding(NamedTuple):
    """The largest errors, relative to the largest output, that rounding in one type explains.

    `sums`: where sums are taken in another order, as chunked and stepwise forms of a recurrence do. `same`: where
    shapes are equal, so that an honest output is equal bit for bit, but for a padded FFT, whose rounding spreads.
    """

    sums: float
    same: float


# Generous against rounding and tight against any real dependence.
ROUNDING = {
    torch.float64: Rounding(1e-8, 1e-10),
    torch.float32: Rounding(2e-3, 1e-5),
    torch.bfloat16: Rounding(0.1, 1e-2),
}


class Subject:
    """One candidate at one size, seen through one seed; the one way in which gates see what they examine.

    `max_examples` is how many cases each property gate draws. Whoever examines other modules overrides how they are
    made, fed and continued, and what rounding they are allowed.
    """

    def __init__(self, source: str, d_model: int, num_heads: int, seed: int, max_examples: int = 12) -> None:
        self.source = source
        self.d_model = d_model
        self.num_heads = num_heads
        self.seed = seed
        self.max_examples = max_examples
        self._memo: dict[Hashable, Any] = {}

    @cached_property
    def mixer_class(self) -> type[nn.Module]:
        """The candidate's `Mixer`, loaded once."""
        return load_mixer(self.source)

    def make(
        self,
        *,
        dtype: torch.dtype | None = torch.float32,
        train: bool = False,
        as_initialised: bool = False,
        **overrides: Any,
    ) -> nn.Module:
        """A fresh Mixer; its weights are equal at every call.

        Each parameter is moved off its initial value by a fifth of its size, unless `as_initialised`: a path
        behind a gate that starts at zero is no less a path. `dtype` None leaves the types as they are made. `overrides`
        go to the constructor.
        """
        arguments = {"d_model": self.d_model, "num_heads": self.num_heads, **overrides}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("gates", "weights", self.seed))
            mixer = self.mixer_class(**arguments)
            if not as_initialised:
                _move_off_initial(mixer)
        return (mixer if dtype is None else mixer.to(dtype)).train(train)

    def once(self, key: Hashable, call: Callable[[], T]) -> T:
        """The value of `call()`, computed at the first time that the key is asked for."""
        if key not in self._memo:
            self._memo[key] = call()
        return self._memo[key]

    def mixer(self, *, dtype: torch.dtype = torch.float32, train: bool = False) -> nn.Module:
        """As `make`, but one for all: for gates that trust the candidate to keep no state of its own."""
        return self.once(("mixer", dtype, train), lambda: self.make(dtype=dtype, train=train))

    def dtype(self, name: str) -> torch.dtype:
        """A dtype by name; "exact" is the widest in which the candidate runs."""
        return self.exact if name == "exact" else getattr(torch, name)

    def runs_in(self, dtype: torch.dtype) -> bool:
        """Whether a short call succeeds in a dtype; FFT and complex numbers, for two, know no bfloat16."""
        x_BTD = self.inputs(2, 5, "runs", dtype=dtype)
        outcome = self.once(("runs", dtype), lambda: guarded(lambda: run(self.make(dtype=dtype), x_BTD)))
        return not isinstance(outcome, CandidateFailure)

    def inputs(self, batch: int, tokens: int, *address: Part, dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal inputs [B, T, D] for an address."""
        generator = torch.Generator().manual_seed(seed_of("gates", "inputs", self.seed, *address))
        return torch.randn(batch, tokens, self.d_model, generator=generator).to(dtype)

    def rounding(self, dtype: torch.dtype) -> Rounding:
        """What rounding may explain of a difference between two outputs in a dtype."""
        return ROUNDING[dtype]

    def segments(self, mixer: nn.Module, x_BTD: Tensor, lengths: list[int]) -> Tensor:
        """The outputs [B, T, D] of consecutive segments, each continued from the state that the one before returned.

        Each segment has memory of its own: the tokens before it are in the state or nowhere.
        """
        state: State = None
        outputs = []
        for segment in x_BTD.split(lengths, dim=1):
            y, state = run(mixer, segment.clone(), state)
            state = plain_copy(state)
            outputs.append(y)
        return torch.cat(outputs, dim=1)

    @cached_property
    def exact(self) -> torch.dtype:
        """float64 where the candidate runs in it throughout, else float32."""
        x_BTD = self.inputs(1, 5, "exact", dtype=torch.float64)
        mixer = self.make(dtype=torch.float64)
        with Counter() as counter:
            y = guarded(lambda: run(mixer, x_BTD)[0])
        throughout = isinstance(y, Tensor) and y.dtype == torch.float64 and counter.narrowest == torch.float64
        return torch.float64 if throughout else torch.float32


def _move_off_initial(mixer: nn.Module) -> None:
    with torch.no_grad():
        for parameter in mixer.parameters():
            expanded = parameter.untyped_storage().nbytes() < parameter.numel() * parameter.element_size()
            if parameter.is_floating_point() and not expanded:
                size = parameter.square().mean().sqrt().clamp(min=0.1)
                parameter.add_(0.2 * size * torch.randn_like(parameter))


def from_a_layer(x_BTD: Tensor, *, grad: bool) -> Tensor:
    """The input as another layer would hand it on: with `grad` it has a history, as all inputs have in training."""
    return x_BTD.requires_grad_(grad).clone()


def run(mixer: nn.Module, x_BTD: Tensor, state: State = None) -> tuple[Tensor, State]:
    """One call of the mixer on x [B, T, D]: (y [B, T, D], state); `ContractError` unless it returns (tensor, state).

    The shape of y is not looked at here; whatever the mixer raises passes through.
    """
    result = mixer(x_BTD, state)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        raise ContractError(f"forward must return (y, state), got {_kind(result)}; return the state even if it is None")
    return result


def plain_copy(state: State) -> State:
    """A copy of a state that keeps its tensors and numbers and nothing that may be hidden on them.

    `ContractError` for anything but nested tuples, lists and dicts of tensors, numbers and None.
    """
    if isinstance(state, Tensor):
        return state.as_subclass(Tensor).clone()
    if isinstance(state, dict):
        return {key: plain_copy(value) for key, value in state.items()}
    if isinstance(state, (tuple, list)):
        items = [plain_copy(value) for value in state]
        if isinstance(state, list):
            return items
        return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
    if state is None or (isinstance(state, (bool, int, float)) and abs(state) < 2**63):
        return state
    raise ContractError(f"a state holds tensors in tuples, lists and dicts, this one holds {_kind(state)}")


def leaves(state: State) -> Iterator[Tensor]:
    """The tensors of a state, in the order of its tuples, lists and dicts; plain numbers are passed over."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from leaves(value)
    elif isinstance(state, (tuple, list)):
        for value in state:
            yield from leaves(value)


def state_bytes(state: State) -> int:
    """Bytes that a state holds, eight for each plain number."""
    held = sum(leaf.numel() * leaf.element_size() for leaf in leaves(state))
    return held + 8 * sum(isinstance(leaf, (int, float)) for leaf in tree_leaves(state))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """max |actual - expected| / max |expected| over tensors of one shape; infinite where a difference is not a number,
    0 where they are empty.
    """
    actual, expected = actual.detach().double(), expected.detach().double()
    if actual.numel() == 0:
        return 0.0
    error = (actual - expected).abs().max()
    scale = expected.abs().max().clamp(min=1e-30)
    ratio = float(error / scale)
    return ratio if ratio == ratio else float("inf")


def _kind(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{type(value).__name__}"

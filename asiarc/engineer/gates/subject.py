"""The candidate under examination: fresh mixers with weights fixed by address, inputs fixed by address, one way to run.

B batch, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from asiarc.core.candidate import load_mixer, make_mixer
from asiarc.core.recipe import RECIPES
from asiarc.core.seeds import Part, rng_of, seed_of
from asiarc.engineer.gates.counting import Counter
from asiarc.engineer.gates.guard import CandidateFailure, ContractError, guarded

State = Any
T = TypeVar("T")


class Rounding(NamedTuple):
    """The largest errors, relative to what is usual at their place, that rounding in one type explains.

    `sums`: where sums are taken in another order, as chunked and stepwise forms of a recurrence do. `same`: where
    shapes are equal, so that an honest output is equal bit for bit, but for what is divided out again at its end.
    """

    sums: float
    same: float


# Generous against rounding and tight against any real dependence.
ROUNDING = {
    torch.float64: Rounding(1e-9, 1e-12),
    torch.float32: Rounding(1e-3, 3e-6),
    torch.bfloat16: Rounding(0.1, 1e-2),
}
TRANSFORMED = 8.0  # how much more of `same` a Fourier transform needs: its rounding spreads over all positions
FEW = 16  # tokens; fewer do not show how large a channel's outputs are
FLOOR = 16.0  # roundings of the largest output of all that every output is allowed
MOVED = 0.2  # of its size each weight is moved off where it starts
GROWN = 1.0  # and as far as training moves it at most
WIDEST = 256  # of the recipes' widths that a candidate is tried at


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
        self, *, dtype: torch.dtype | None = torch.float32, train: bool = False, moved: float = MOVED
    ) -> nn.Module:
        """A fresh Mixer, made, converted and switched as a model does it; its weights are equal at every call.

        Each parameter is moved off its initial value by `moved` of its size: a path behind a gate that starts at zero
        is no less a path. `dtype` None leaves the types as they are made.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("gates", "weights", self.seed))
            mixer = make_mixer(self.mixer_class, self.d_model, self.num_heads)
            _move_off_initial(mixer, moved)
        model = nn.ModuleList([mixer])  # a mixer is converted and switched as the model around it is
        (model if dtype is None else model.to(dtype)).train(train)
        return mixer

    def at(self, d_model: int, num_heads: int) -> Subject:
        """The same candidate at another size."""
        return Subject(self.source, d_model, num_heads, self.seed, self.max_examples)

    @cached_property
    def elsewhere(self) -> tuple[Subject, ...]:
        """The same at the other widths that recipes name, up to `WIDEST`."""
        heads = {recipe.d_model: recipe.num_heads for recipe in RECIPES.values() if recipe.d_model <= WIDEST}
        others = tuple(self.at(width, heads[width]) for width in sorted(heads) if width != self.d_model)
        for other in others:  # what rounding explains is a matter of the operators, and asked once
            other._first_call = self._first_call
        return others

    def drawn(self, low: int, high: int, *address: Part) -> int:
        """A whole number in [low, high] for an address: what a candidate cannot know when it is written."""
        return rng_of("gates", self.seed, *address).randint(low, high)

    def once(self, key: Hashable, call: Callable[[], T]) -> T:
        """The value of `call()`, computed at the first time that the key is asked for."""
        if key not in self._memo:
            self._memo[key] = call()
        return self._memo[key]

    def mixer(self, *, dtype: torch.dtype = torch.float32, train: bool = False, moved: float = MOVED) -> nn.Module:
        """As `make`, but one for all: for gates that trust the candidate to keep no state of its own."""
        return self.once(("mixer", dtype, train, moved), lambda: self.make(dtype=dtype, train=train, moved=moved))

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

    def text(self, batch: int, tokens: int, words: int, *address: Part, dtype: torch.dtype = torch.float32) -> Tensor:
        """Inputs [B, T, D] as a text gives them: so many different tokens of the size that a norm leaves, no two rows
        alike, and every row opens with the same one. 0 words: as `inputs`.
        """
        if not words:
            return self.inputs(batch, tokens, *address, dtype=dtype)
        words_VD = torch.nn.functional.rms_norm(self.inputs(1, words, "words")[0], (self.d_model,))
        generator = torch.Generator().manual_seed(seed_of("gates", "text", self.seed, *address))
        ids_BT = torch.randint(words, (batch, tokens), generator=generator)
        ids_BT[:, 0] = 0
        return words_VD[ids_BT].to(dtype)

    def rounding(self, dtype: torch.dtype) -> Rounding:
        """What rounding may explain of a difference between two outputs in a dtype."""
        sums, same = ROUNDING[dtype]
        return Rounding(sums, same * TRANSFORMED if self._first_call.spreads else same)

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
        return torch.float64 if self._first_call.narrowest == torch.float64 else torch.float32

    @cached_property
    def _first_call(self) -> Counter:
        """What a short call in float64 is made of; what fails in it has something narrower in it."""
        x_BTD = self.inputs(1, 70, "exact", dtype=torch.float64)
        mixer = self.mixer(dtype=torch.float64)
        with torch.no_grad(), Counter() as counter:
            y = guarded(lambda: run(mixer, x_BTD)[0])
        if not isinstance(y, Tensor) or y.dtype != torch.float64:
            counter.narrowest = torch.float32
        return counter


def _move_off_initial(mixer: nn.Module, moved: float) -> None:
    with torch.no_grad():
        for parameter in mixer.parameters():
            expanded = parameter.untyped_storage().nbytes() < parameter.numel() * parameter.element_size()
            if moved and parameter.is_floating_point() and not expanded:
                size = parameter.square().mean().sqrt().clamp(min=0.1)
                parameter.add_(moved * size * torch.randn_like(parameter))


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

    `ContractError` for anything but nested tuples, lists and dicts (with texts or numbers for keys) of dense tensors,
    numbers and None.
    """
    if isinstance(state, Tensor) and state.layout == torch.strided and not state.is_quantized:
        return state.as_subclass(Tensor).clone(memory_format=torch.contiguous_format)
    if isinstance(state, dict):
        return {_plain_key(key): plain_copy(value) for key, value in state.items()}
    if isinstance(state, (tuple, list)):
        items = [plain_copy(value) for value in state]
        if isinstance(state, list):
            return items
        return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
    if state is None or (isinstance(state, (bool, int, float)) and abs(state) < 2**63):
        return state
    what = f"a tensor of layout {state.layout}" if isinstance(state, Tensor) else _kind(state)
    raise ContractError(f"a state holds dense tensors in tuples, lists and dicts, this one holds {what}")


def _plain_key(key: Any) -> str | int:
    if type(key) in (str, int):
        return key
    raise ContractError(f"a state's dicts have texts or whole numbers for keys, this one has {_kind(key)}")


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
    """Bytes that it takes to write a state down; `ContractError` where it holds what a state may not.

    A tensor takes its elements, or its shape where that is more; a number and a None eight, a key its text, and what is
    nested in another eight for being there: keys, shapes and empty things can be remembered by, too.
    """
    return _written(plain_copy(state)) - (8 if isinstance(state, (dict, tuple, list)) else 0)


def _written(value: State) -> int:
    if isinstance(value, Tensor):
        return max(value.numel() * value.element_size(), 8 * value.ndim)
    if isinstance(value, dict):
        return 8 + sum(len(str(key).encode()) + _written(child) for key, child in value.items())
    return 8 + sum(map(_written, value)) if isinstance(value, (tuple, list)) else 8


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """max |actual - expected| / max |expected| over tensors of one shape; infinite where a difference is not a number,
    0 where they are empty.
    """
    return _largest(actual, expected, expected.detach().double().abs().max() if expected.numel() else expected)


def local_error(actual: Tensor, expected: Tensor) -> float:
    """As `relative_error` for [B, T, D], but each error relative to what is usual at its own place."""
    if not (actual.detach() - expected.detach()).any():  # equal, the usual case: nothing to scale, and true of no NaN
        return 0.0
    return _largest(actual, expected, usual(expected))


def usual(y_BTD: Tensor) -> Tensor:
    """How large outputs are at each place of [B, T, D], without gradient: a huge one excuses errors of no other.

    It is the largest at the position or, if smaller, the largest of the channel in the row (of a few tokens that says
    nothing), and never below `FLOOR` roundings of the largest of all.
    """
    size_BTD = y_BTD.detach().abs()
    usual_BT1 = size_BTD.amax(2, keepdim=True)
    channel_B1D = size_BTD.amax(1, keepdim=True)
    usual_BTD = torch.minimum(usual_BT1, channel_B1D) if y_BTD.shape[1] >= FEW else usual_BT1
    return usual_BTD.clamp(min=FLOOR * torch.finfo(y_BTD.dtype).eps * float(size_BTD.max()))


def _largest(actual: Tensor, expected: Tensor, scale: Tensor) -> float:
    if not expected.numel():
        return 0.0
    error = (actual.detach().double() - expected.detach().double()).abs() / scale.clamp(min=1e-30)
    return float(error.nan_to_num(nan=torch.inf).max())


def _kind(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{type(value).__name__}"

"""The state is handed over exactly, and there is none beside it.

B batch, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor, nn

from asiarc.core.candidate import make_mixer
from asiarc.core.drawing import choice, whole
from asiarc.engineer.gates.causality import WORDS
from asiarc.engineer.gates.counting import UNFILLED
from asiarc.engineer.gates.gate import Cost, Finding, Gate, PropertyGate, Violation
from asiarc.engineer.gates.live import OperatorMode
from asiarc.engineer.gates.snapshot import changes, snapshot
from asiarc.engineer.gates.subject import Subject, from_a_layer, local_error, relative_error, run

TRIAL = (32, 128)  # rows and tokens of a step
MODES = tuple((train, grad) for train in (True, False) for grad in (True, False))


class Determinism(Gate):
    """The output does not depend on torch's random numbers, nor on what fresh memory holds, and a call draws none.

    Dropout and sampling belong to training, not to the mixer. Cannot see randomness from outside torch, which
    the import rule keeps out.
    """

    name = "determinism"
    cost = Cost.FORWARD

    def check(self, subject: Subject) -> Finding | None:
        """Two seeds in each mode; where their outputs differ, one of them twice: what changes then is not chance."""
        x_BTD = subject.inputs(2, 40, "determinism")
        if found := self._uninitialised(subject, x_BTD):
            return found
        for train, grad in MODES:
            drew = False

            def output(seed: int, train: bool = train, grad: bool = grad) -> Tensor:
                nonlocal drew
                mixer = subject.make(train=train)
                with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(grad):
                    torch.manual_seed(seed)
                    before = torch.get_rng_state()
                    y_BTD, _ = run(mixer, x_BTD)
                    drew = drew or not torch.equal(before, torch.get_rng_state())
                return y_BTD

            outputs = _moved(output, 1, 2)
            if drew or outputs:
                outputs = outputs or [output(1), output(2)]
                example = {"batch": 2, "tokens": 40, "train": train, "grad": grad}
                return self.finds(
                    "draws random numbers in forward",
                    example=example,
                    expected="the same output",
                    actual=f"relative error {relative_error(*outputs):.2g} between two seeds",
                )
        return None

    def _uninitialised(self, subject: Subject, x_BTD: Tensor) -> Finding | None:
        def output(value: int) -> Tensor:
            mixer = subject.make()
            with torch.random.fork_rng(devices=[]), _FreshMemory(value):
                torch.manual_seed(0)
                return run(mixer, x_BTD)[0]

        if not (outputs := _moved(output, 0, 1)):
            return None
        return self.finds(
            "reads memory that it has not written: torch.empty holds anything; use torch.zeros, or fill it whole",
            example={"batch": 2, "tokens": 40},
            expected="the same output",
            actual=f"relative error {relative_error(*outputs):.2g} between memory of zeros and of ones",
        )


def _moved(output: Callable[[int], Tensor], one: int, other: int) -> list[Tensor]:
    """The outputs of two values where these move them, and not merely the next call; else nothing."""
    if torch.equal(output(one), output(other)):
        return []
    first, again, moved = (output(value) for value in (one, one, other))
    return [again, moved] if torch.equal(first, again) and not torch.equal(again, moved) else []


class _FreshMemory(OperatorMode):
    """What torch allocates without filling it holds one value."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        return result.fill_(self.value) if func.overloadpacket.__name__ in UNFILLED else result


class Statelessness(Gate):
    """The same input gives the same output whatever was computed before, bit for bit, and nothing is remembered.

    In training and evaluation, with and without autograd, after other lengths, after a backward pass, and
    with new data in the memory of an old input. After one call of each kind (tables may be filled at it), nothing that
    the code can reach changes: not by calls of a trial's size, forward and backward passes, changes between training
    and evaluation, a continued sequence, nor by making another mixer. What can be reached and not be compared is
    refused. Cannot see memory kept outside the interpreter.
    """

    name = "statelessness"
    cost = Cost.BACKWARD

    def check(self, subject: Subject) -> Finding | None:
        """Outputs in each mode, then what is remembered."""
        for train, grad in MODES:
            if found := self._outputs(subject, train, grad):
                return found
        mixer = subject.make(train=True)
        _use(subject, mixer)
        before = snapshot(mixer)
        _use(subject, mixer)
        after = snapshot(mixer)
        if paths := changes(before, after):
            what = f"remembers something between calls, beside the state it returns: {', '.join(paths[:4])}"
            example = {path: [before.get(path, "absent"), after.get(path, "absent")] for path in paths[:4]}
            return self.finds(what + "; what is learned is a parameter, what is carried is the state", example=example)
        return None

    def _outputs(self, subject: Subject, train: bool, grad: bool) -> Finding | None:
        mixer = subject.make(train=train)
        x_BTD = subject.inputs(2, 40, "first")
        buffer_BTD = x_BTD.clone()
        with torch.set_grad_enabled(grad):
            first, _ = run(mixer, buffer_BTD)
            buffer_BTD.copy_(subject.inputs(2, 40, "second"))
            reused, _ = run(mixer, buffer_BTD)
            fresh, _ = run(subject.make(train=train), subject.inputs(2, 40, "second"))
            _, state = run(mixer, subject.inputs(1, 7, "third"))
            run(mixer, subject.inputs(1, 1, "third"), state)
            again, _ = run(mixer, x_BTD.clone())
        example = {"batch": 2, "tokens": 40, "train": train, "grad": grad}
        if not torch.equal(reused, fresh):
            words = "new data in the memory of an old input gives another output than from a fresh mixer"
            return self._differs(words, reused, fresh, example)
        if not torch.equal(first, again):
            return self._differs("the same input gives another output after other calls", again, first, example)
        return None

    def _differs(self, reason: str, actual: Tensor, expected: Tensor, example: Mapping[str, object]) -> Finding:
        error = f"relative error {relative_error(actual, expected):.2g}"
        return self.finds(reason, example=example, expected="equal bits", actual=error)


def _use(subject: Subject, mixer: nn.Module) -> None:
    """What a trial does to a mixer: steps, an evaluation, decoding, and making the mixer of another layer."""
    model = nn.ModuleList([mixer])  # switched as the model around it is
    for batch, tokens in ((2, 40), TRIAL):
        x_BTD = from_a_layer(subject.text(batch, tokens, WORDS, "use"), grad=True)
        run(mixer, x_BTD)[0].sum().backward()
    model.eval()
    with torch.no_grad():
        _, state = run(mixer, subject.text(2, 7, WORDS, "use"))
        run(mixer, subject.text(2, 1, WORDS, "use"), state)
    model.train()
    make_mixer(subject.mixer_class, subject.d_model, subject.num_heads)


class SplitCase(NamedTuple):
    """A sequence cut into segments of these lengths."""

    segments: tuple[int, ...]
    batch: int
    train: bool
    dtype: str


class StateHandover(PropertyGate[SplitCase]):
    """Any split of a sequence, each part continued from the state of the one before, equals the whole.

    Prefill, decoding token by token and segment-wise training are this one property. Cannot see drift beyond
    1100 tokens.
    """

    name = "state_handover"

    def cases(self, subject: Subject) -> SearchStrategy[SplitCase]:
        """Two to four segments of up to 70 tokens."""
        segments = st.lists(whole(1, 70), min_size=2, max_size=4).map(tuple)
        return st.builds(SplitCase, segments, whole(1, 2), choice((False, True)), choice(("exact", "float32")))

    def known(self, subject: Subject) -> tuple[SplitCase, ...]:
        """Token by token, splits in the middle of chunks and at their edges, a long one."""
        splits = ((1, 1), (1, 64), (64, 1, 1), (63, 2, 65), (16, 17, 31, 1), (100, 28, 4), (601, 1, 498))
        steps = (SplitCase((1,) * 40, 2, False, "exact"), SplitCase((33,) + (1,) * 8, 1, True, "float32"))
        return (*steps, *(SplitCase(split, 1 + i % 2, i % 2 == 0, "exact") for i, split in enumerate(splits)))

    def elsewhere(self, subject: Subject) -> tuple[SplitCase, ...]:
        """Two segments and a token."""
        drawn = subject.drawn(1, 64, "elsewhere"), subject.drawn(1, 64, "elsewhere", 2), 1
        return (SplitCase(drawn, 2, False, "exact"),)

    def violation(self, subject: Subject, case: SplitCase) -> Violation | None:
        """Segments against the whole."""
        dtype = subject.dtype(case.dtype)
        mixer = subject.mixer(dtype=dtype, train=case.train)
        x_BTD = subject.inputs(case.batch, sum(case.segments), "handover", dtype=dtype)
        x_BTD = from_a_layer(x_BTD, grad=case.train)
        with torch.set_grad_enabled(case.train):
            expected, _ = run(mixer, x_BTD)
            actual = subject.segments(mixer, x_BTD, list(case.segments))
        error, most = local_error(actual, expected), subject.rounding(dtype).sums
        if error <= most:
            return None
        return Violation(
            "continuing from the returned state does not give what one call over the whole sequence gives",
            f"relative error <= {most:.0e}",
            f"{error:.2g}",
        )

"""A sequence gets the same output whoever its neighbours in the batch are, and whatever padding follows it.

B batch, T tokens, D model width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor, nn

from asiarc.core.drawing import choice, whole
from asiarc.engineer.gates.causality import WORDS
from asiarc.engineer.gates.gate import PropertyGate, Violation
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.subject import Subject, local_error, run


class RowCase(NamedTuple):
    """The row watched in a batch of B sequences of T tokens."""

    batch: int
    row: int
    tokens: int
    train: bool
    dtype: str = "exact"
    words: int = 0


@st.composite
def _rows(draw: st.DrawFn) -> RowCase:
    batch = draw(choice((2, 3, 5, 16)))
    return RowCase(
        batch,
        draw(whole(0, batch - 1)),
        draw(whole(1, 100)),
        draw(choice((False, True))),
        draw(choice(("exact", "float32"))),
        draw(choice((0, WORDS))),
    )


class BatchIndependence(PropertyGate[RowCase]):
    """A row of a batch equals the row alone, with loud strangers beside it, and with the rows in another order.

    Also when it is continued from its state, and when its memory is not contiguous, in float64 and float32. Cannot
    see batches over 64.
    """

    name = "batch_independence"

    def cases(self, subject: Subject) -> SearchStrategy[RowCase]:
        """Batches of up to 16, of text and of other inputs."""
        return _rows()

    def known(self, subject: Subject) -> tuple[RowCase, ...]:
        """A pair and larger batches."""
        return (
            RowCase(2, 0, 1, True),
            RowCase(3, 1, 65, False),
            RowCase(8, 7, 20, True),
            RowCase(17, 3, 9, False, "float32"),
            RowCase(64, 40, 5, True, "float32"),
            RowCase(32, subject.drawn(0, 31, "row"), subject.drawn(66, 128, "row"), True, "float32", WORDS),
        )

    def elsewhere(self, subject: Subject) -> tuple[RowCase, ...]:
        """A row of a small batch of text."""
        return (RowCase(3, subject.drawn(0, 2, "elsewhere"), subject.drawn(2, 66, "elsewhere"), True, words=WORDS),)

    def violation(self, subject: Subject, case: RowCase) -> Violation | None:
        """Four batches that hold the row against the row alone."""
        dtype = subject.dtype(case.dtype)
        mixer = subject.mixer(dtype=dtype, train=case.train)
        x_BTD = subject.text(case.batch, case.tokens, case.words, "batch", dtype=dtype)
        row = slice(case.row, case.row + 1)
        strangers_BTD = 50 * x_BTD.flip(0)
        strangers_BTD[row] = x_BTD[row]
        strided_BTD = strangers_BTD.flip(0).transpose(1, 2).contiguous().transpose(1, 2)
        with torch.no_grad():
            alone, _ = run(mixer, x_BTD[row])
            others: dict[str, Tensor] = {
                "in a batch": run(mixer, x_BTD)[0][row],
                "beside loud rows in reverse, in memory that is not contiguous,": run(mixer, strided_BTD)[0].flip(0)[
                    row
                ],
            }
            pairs = {how: (y, alone) for how, y in others.items()}
            pairs |= self._continued(subject, mixer, strangers_BTD, row)
        most = subject.rounding(dtype).sums
        for how, (actual, expected) in pairs.items():
            if not (error := local_error(actual, expected)) <= most:
                limit = f"relative error <= {most:.0e}"
                return Violation(f"row {case.row} gives another output {how} than alone", limit, f"{error:.2g}")
        return None

    @staticmethod
    def _continued(subject: Subject, mixer: nn.Module, x_BTD: Tensor, row: slice) -> dict[str, tuple[Tensor, Tensor]]:
        """The row continued from its state, in the batch and alone; nothing where it cannot be continued at all."""
        lengths = [1, x_BTD.shape[1] - 1] if x_BTD.shape[1] > 1 else [1]
        alone = guarded(lambda: subject.segments(mixer, x_BTD[row], lengths))
        if isinstance(alone, CandidateFailure):  # a case for state_handover
            return {}
        return {"continued in a batch": (subject.segments(mixer, x_BTD, lengths)[row], alone)}


class PaddingCase(NamedTuple):
    """A sequence of T tokens followed by `padding` tokens of one value."""

    tokens: int
    padding: int
    value: float


class Padding(PropertyGate[PaddingCase]):
    """Padding after a sequence, silent or loud, changes none of its outputs.

    The mixer is given no mask, so zeros must not act as one. Cannot see padding before a sequence, which is
    input.
    """

    name = "padding"

    def cases(self, subject: Subject) -> SearchStrategy[PaddingCase]:
        """Up to 80 tokens followed by up to 80 of padding."""
        return st.builds(PaddingCase, whole(1, 80), whole(1, 80), choice((0.0, 1.0, -100.0)))

    def known(self, subject: Subject) -> tuple[PaddingCase, ...]:
        """Silent padding to a chunk edge, and far beyond the sequence."""
        return (PaddingCase(5, 59, 0.0), PaddingCase(40, 100, 0.0), PaddingCase(33, 31, 100.0))

    def violation(self, subject: Subject, case: PaddingCase) -> Violation | None:
        """The padded row, beside a full one, against the sequence alone."""
        dtype = subject.exact
        mixer = subject.mixer(dtype=dtype)
        x_BTD = subject.inputs(2, case.tokens + case.padding, "padding", dtype=dtype)
        x_BTD[0, case.tokens :] = case.value
        with torch.no_grad():
            expected, _ = run(mixer, x_BTD[:1, : case.tokens])
            actual = run(mixer, x_BTD)[0][:1, : case.tokens]
        error, most = local_error(actual, expected), subject.rounding(dtype).sums
        if error <= most:
            return None
        return Violation(
            f"{case.padding} tokens of padding change the outputs of the {case.tokens} tokens before them",
            f"relative error <= {most:.0e}",
            f"{error:.2g}",
        )

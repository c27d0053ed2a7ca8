"""No output may know the future, and none may depend on how long the sequence will be.

B batch, T tokens, D model width. A cut c divides the tokens before it, [0, c), from those from it on, [c, T).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor, nn

from asiarc.core.drawing import choice, whole
from asiarc.engineer.gates.gate import PropertyGate, Violation
from asiarc.engineer.gates.subject import GROWN, MOVED, Subject, from_a_layer, local_error, run, usual

EVERY_CUT = 0
OWN_CUTS = -1
LONG = 1100  # tokens: past every chunk size and every round number that a leak may hide behind
DTYPES = ("exact", "float32", "bfloat16")
WORDS = 96  # about as many different bytes as a text has
CHUNKS = (16, 32, 64, 128)


def edges() -> tuple[int, ...]:
    """Lengths at the edges of the usual chunks: one below, at and one above."""
    return tuple(chunk + offset for chunk in CHUNKS for offset in (-1, 0, 1))


class CutCase(NamedTuple):
    """Suffix perturbed from `cut` on in a batch of sequences, in one mode.

    `cut` 0: a row for every cut; -1: a drawn one for each row. `words`: how many different tokens there are, as in
    text; 0 where no token comes twice. `grown`: with weights as far from the initial ones as training moves them.
    """

    tokens: int
    cut: int
    batch: int
    train: bool
    grad: bool
    dtype: str
    words: int = 0
    grown: bool = False


@st.composite
def _cut_cases(draw: st.DrawFn, dtypes: tuple[str, ...]) -> CutCase:
    tokens = draw(whole(2, 140))
    cut = draw(whole(1, tokens - 1))
    flags, batch = choice((False, True)), choice((1, 2, 3, 16))
    modes = draw(flags), draw(flags), draw(choice(dtypes))
    return CutCase(tokens, cut, draw(batch), *modes, draw(choice((0, 3, WORDS))), draw(flags))


def _cuts(subject: Subject, case: CutCase) -> Tensor:
    """Where each row of a case is cut: up to 140 tokens at every place, beyond at a selection."""
    if case.cut == OWN_CUTS:
        return torch.tensor([subject.drawn(1, case.tokens - 1, "cut", *case, row) for row in range(case.batch)])
    if case.cut != EVERY_CUT:
        return torch.full((case.batch,), case.cut)
    some = {1, 65, 257, 1001, subject.drawn(2, case.tokens - 2, "some"), case.tokens - 1}
    chosen = range(1, case.tokens) if case.tokens <= 140 else sorted(cut for cut in some if cut < case.tokens)
    return torch.tensor(chosen).repeat_interleave(case.batch)


class _Cut(NamedTuple):
    """A case made: who is asked, inputs and other inputs [B, T, D], which positions are before the cut [B, T, 1]."""

    mixer: nn.Module
    x: Tensor
    other: Tensor
    past: Tensor

    @classmethod
    def of(cls, subject: Subject, case: CutCase) -> _Cut:
        dtype, cuts_B = subject.dtype(case.dtype), _cuts(subject, case)
        mixer = subject.mixer(dtype=dtype, train=case.train, moved=GROWN if case.grown else MOVED)
        shape, alike = (case.batch, case.tokens, case.words), len(cuts_B) // case.batch
        x_BTD = subject.text(*shape, "causality", dtype=dtype).repeat(alike, 1, 1)
        other_BTD = subject.text(*shape, "suffix", dtype=dtype).repeat(alike, 1, 1) * (1 if case.words else 3)
        return cls(mixer, x_BTD, other_BTD, (torch.arange(case.tokens) < cuts_B[:, None])[..., None])

    def where(self, error_BTD: Tensor) -> dict[str, int]:
        """The cut and the position of the largest error."""
        row, position = divmod(int(error_BTD.amax(-1).argmax()), error_BTD.shape[1])
        return {"cut": int(self.past[row].sum()), "position": position}


class Causality(PropertyGate[CutCase]):
    """New inputs from a cut on leave every output before it as it was.

    In training and evaluation, with and without autograd, alone and in batches as large as a trial's, in float64,
    float32 and bfloat16, at the sizes that recipes name, for inputs like a text's and for others, with weights near the
    initial ones and far from them, at every cut of 130 tokens, at chunk edges, and past 1000 tokens. Errors are
    relative to what is usual at their place. Cannot see a leak that only certain weights or inputs open, or that
    begins past 1100 tokens; the trained model is therefore asked again.
    """

    name = "causality"

    def cases(self, subject: Subject) -> SearchStrategy[CutCase]:
        """Any cut of up to 140 tokens in any mode."""
        return _cut_cases(DTYPES)

    def known(self, subject: Subject) -> tuple[CutCase, ...]:
        """Every cut once, each mode at the edges, a trial's batches of text, and a long sequence."""
        modes = [(train, grad) for train in (True, False) for grad in (True, False)]
        sides = [CutCase(t, t - 1 - i % 2, 1 + i % 2, *modes[i % 4], "float32") for i, t in enumerate(edges())]
        every = [
            CutCase(130, EVERY_CUT, 1, True, True, "float32"),
            CutCase(70, EVERY_CUT, 1, False, False, "exact"),
            CutCase(40, EVERY_CUT, 1, True, True, "float32", words=3),
            CutCase(40, EVERY_CUT, 1, True, True, "bfloat16"),
            CutCase(48, 24, 1, False, False, "bfloat16"),
        ]
        trials = [
            CutCase(128, OWN_CUTS, 32, True, True, "float32", WORDS),
            CutCase(128, OWN_CUTS, 16, False, False, "exact", WORDS, grown=True),
        ]
        long = [
            CutCase(LONG, EVERY_CUT, 1, True, True, "float32"),
            CutCase(LONG, LONG // 2, 1, False, False, "float32"),
        ]
        return (*every, *trials, *sides, *long)

    def elsewhere(self, subject: Subject) -> tuple[CutCase, ...]:
        """A small batch of text."""
        return (CutCase(subject.drawn(66, 128, "elsewhere"), OWN_CUTS, 4, True, True, "float32", WORDS),)

    def violation(self, subject: Subject, case: CutCase) -> Violation | None:
        """Both runs have equal shapes."""
        dtype = subject.dtype(case.dtype)
        if not subject.runs_in(dtype):  # dtype_ladder tells
            return None
        cut = _Cut.of(subject, case)
        x_BTD = from_a_layer(cut.x, grad=case.grad)
        with torch.set_grad_enabled(case.grad):
            y_BTD, _ = run(cut.mixer, x_BTD)
            z_BTD, _ = run(cut.mixer, torch.where(cut.past, x_BTD, cut.other))
        error, most = local_error(z_BTD.where(cut.past, y_BTD), y_BTD), subject.rounding(dtype).same
        if error <= most:
            return None
        where = cut.where((y_BTD - z_BTD).abs().nan_to_num(nan=torch.inf) * cut.past)
        return Violation(
            f"leaks the future: the output at position {where['position']} changes when inputs from position "
            f"{where['cut']} on do",
            f"relative change <= {most:.0e}",
            f"{error:.2g}",
            where,
        )


class FutureGradient(PropertyGate[CutCase]):
    """No output before a cut has a gradient to an input after it.

    Finds leaks that the values hide, such as straight-through estimators. Cannot see what is detached from
    autograd.
    """

    name = "future_gradient"

    def cases(self, subject: Subject) -> SearchStrategy[CutCase]:
        """Any cut of up to 140 tokens, in training and evaluation."""
        return _cut_cases(("exact", "float32")).map(lambda case: case._replace(grad=True))

    def known(self, subject: Subject) -> tuple[CutCase, ...]:
        """Every cut of 70 tokens, and a long sequence."""
        every = (CutCase(70, EVERY_CUT, 1, True, True, "exact"), CutCase(33, EVERY_CUT, 1, False, True, "float32"))
        return (*every, CutCase(LONG, LONG // 2, 1, True, True, "float32"))

    def violation(self, subject: Subject, case: CutCase) -> Violation | None:
        """The gradient of a random projection of the past outputs, each row with its own cut."""
        dtype, cut = subject.dtype(case.dtype), _Cut.of(subject, case)
        x_BTD = cut.x.requires_grad_(True)
        y_BTD, _ = run(cut.mixer, x_BTD)
        if not y_BTD.requires_grad:
            return Violation("the output has no gradient to the input")
        weights_BTD = subject.inputs(*y_BTD.shape[:2], "projection", dtype=dtype) / usual(y_BTD).clamp(min=1e-30)
        (dx_BTD,) = torch.autograd.grad((y_BTD * weights_BTD * cut.past).sum(), x_BTD)
        leak_BTD = (dx_BTD.abs() * ~cut.past).nan_to_num(nan=torch.inf)
        ratio = float(leak_BTD.max() / dx_BTD.abs().max().clamp(min=1e-30))
        if ratio <= subject.rounding(dtype).same:
            return None
        where = cut.where(leak_BTD)
        return Violation(
            f"outputs before position {where['cut']} have a gradient to the input at {where['position']}",
            "no gradient",
            f"{ratio:.2g} of the largest",
            where,
        )


class PrefixCase(NamedTuple):
    """The first `tokens` of `total`."""

    tokens: int
    total: int
    batch: int
    train: bool


class PrefixConsistency(PropertyGate[PrefixCase]):
    """f(x[:t]) = f(x)[:t]: an output does not depend on how long the sequence is.

    For every t up to 66 against 131 tokens, at edges, and 131 against 1100; lengths that share no chunk.
    Cannot see a dependence on length that starts beyond 1100 tokens.
    """

    name = "prefix_consistency"

    def cases(self, subject: Subject) -> SearchStrategy[PrefixCase]:
        """Any two lengths up to 200."""
        pair = st.tuples(whole(1, 140), whole(1, 60), whole(1, 2), choice((False, True)))
        return pair.map(lambda p: PrefixCase(p[0], p[0] + p[1], p[2], p[3]))

    def elsewhere(self, subject: Subject) -> tuple[PrefixCase, ...]:
        """Two drawn lengths."""
        return (PrefixCase(subject.drawn(1, 65, "elsewhere"), subject.drawn(66, 128, "elsewhere"), 2, False),)

    def known(self, subject: Subject) -> tuple[PrefixCase, ...]:
        """Every length up to 66, then edges, then a long total."""
        lengths = (*range(1, 67), *(t for t in edges() if 66 < t < 131))
        long = (PrefixCase(131, LONG, 1, False), PrefixCase(1001, LONG, 1, True))
        return (*(PrefixCase(t, 131, 1, t % 2 == 0) for t in lengths), *long)

    def violation(self, subject: Subject, case: PrefixCase) -> Violation | None:
        """Both lengths from one mixer, with autograd in training."""
        dtype = subject.exact
        mixer = subject.mixer(dtype=dtype, train=case.train)
        x_BTD = subject.inputs(case.batch, case.total, "prefix", case.total, dtype=dtype)
        x_BTD = from_a_layer(x_BTD, grad=case.train)
        with torch.set_grad_enabled(case.train):
            whole_BTD = subject.once(("prefix", *case[1:]), lambda: run(mixer, x_BTD)[0])
            y_BTD, _ = run(mixer, x_BTD[:, : case.tokens])
        error, most = local_error(y_BTD, whole_BTD[:, : case.tokens]), subject.rounding(dtype).sums
        if error <= most:
            return None
        return Violation(
            f"the first {case.tokens} outputs differ when the sequence is {case.total} tokens long",
            f"relative error <= {most:.0e}",
            f"{error:.2g}",
        )

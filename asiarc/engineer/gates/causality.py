"""No output may know the future, and none may depend on how long the sequence will be.

B batch, T tokens, D model width. A cut c divides the tokens before it, [0, c), from those from it on, [c, T).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from asiarc.engineer.gates.drawing import choice, whole
from asiarc.engineer.gates.gate import PropertyGate, Violation
from asiarc.engineer.gates.subject import Subject, from_a_layer, relative_error, run

EVERY_CUT = 0
LONG = 1100  # tokens: past every chunk size and every round number that a leak may hide behind
DTYPES = ("exact", "float32", "bfloat16")


def edges(chunks: tuple[int, ...] = (16, 32, 64, 128)) -> tuple[int, ...]:
    """Lengths at the edges of the usual chunks: one below, at and one above."""
    return tuple(chunk + offset for chunk in chunks for offset in (-1, 0, 1))


def cuts_of(tokens: int, cut: int) -> Tensor:
    """The cut asked for; for `EVERY_CUT` all of them up to 140 tokens, and a selection beyond."""
    if cut != EVERY_CUT:
        return torch.tensor([cut])
    if tokens <= 140:
        return torch.arange(1, tokens)
    chosen = {1, 65, 128, 257, tokens // 2, 1000, 1001, 1025, tokens - 1}
    return torch.tensor(sorted(c for c in chosen if c < tokens))


class CutCase(NamedTuple):
    """Suffix perturbed from `cut` on (0: a row for every cut) in a batch of equal sequences, in one mode.

    `words`: how many different tokens there are, as in text; 0 where no token comes twice.
    """

    tokens: int
    cut: int
    batch: int
    train: bool
    grad: bool
    dtype: str
    words: int = 0


@st.composite
def _cut_cases(draw: st.DrawFn, dtypes: tuple[str, ...]) -> CutCase:
    tokens = draw(whole(2, 140))
    cut = draw(whole(1, tokens - 1))
    flags = choice((False, True))
    return CutCase(tokens, cut, draw(whole(1, 3)), draw(flags), draw(flags), draw(choice(dtypes)), draw(choice((0, 3))))


class Causality(PropertyGate[CutCase]):
    """New inputs from a cut on leave every output before it as it was.

    In training and evaluation, with and without autograd, alone and in a batch, in float64, float32 and
    bfloat16, for tokens that repeat and that do not, at every cut of 130 tokens, at chunk edges, and past 1000
    tokens. Cannot see a leak that only weights far from the initial ones or inputs far from normal ones open, or
    that begins past 1100 tokens.
    """

    name = "causality"

    def cases(self, subject: Subject) -> SearchStrategy[CutCase]:
        """Any cut of up to 140 tokens in any mode."""
        return _cut_cases(DTYPES)

    def known(self, subject: Subject) -> tuple[CutCase, ...]:
        """Every cut once, each mode at the edges, and a long sequence."""
        modes = [(train, grad) for train in (True, False) for grad in (True, False)]
        sides = [CutCase(t, t - 1 - i % 2, 1 + i % 2, *modes[i % 4], "float32") for i, t in enumerate(edges())]
        every = [
            CutCase(130, EVERY_CUT, 1, True, True, "float32"),
            CutCase(70, EVERY_CUT, 1, False, False, "exact"),
            CutCase(40, EVERY_CUT, 1, True, True, "float32", words=3),
        ]
        every += [CutCase(40, EVERY_CUT, 1, True, True, "bfloat16"), CutCase(48, 24, 1, False, False, "bfloat16")]
        long = [
            CutCase(LONG, EVERY_CUT, 1, True, True, "float32"),
            CutCase(LONG, LONG // 2, 1, False, False, "float32"),
        ]
        return (*every, *sides, *long)

    def violation(self, subject: Subject, case: CutCase) -> Violation | None:
        """Rows are copies of one batch, each with its own cut; both runs have equal shapes."""
        dtype = subject.dtype(case.dtype)
        if not subject.runs_in(dtype):  # dtype_ladder tells
            return None
        mixer = subject.mixer(dtype=dtype, train=case.train)
        cuts = cuts_of(case.tokens, case.cut)
        x_BTD = subject.inputs(case.batch, case.tokens, "causality", dtype=dtype).repeat(len(cuts), 1, 1)
        if case.words:
            x_BTD = x_BTD[:, torch.arange(case.tokens).square().floor_divide(3) % min(case.words, case.tokens)]
        x_BTD = from_a_layer(x_BTD, grad=case.grad)
        past_BT1 = (torch.arange(case.tokens) < cuts.repeat_interleave(case.batch)[:, None])[..., None]
        other_BTD = 3 * subject.inputs(case.batch, case.tokens, "suffix", dtype=dtype).repeat(len(cuts), 1, 1)
        with torch.set_grad_enabled(case.grad):
            y_BTD, _ = run(mixer, x_BTD)
            z_BTD, _ = run(mixer, torch.where(past_BT1, x_BTD, other_BTD))
        error = ((y_BTD - z_BTD).abs() * past_BT1).nan_to_num(nan=torch.inf)
        ratio, most = float(error.max() / y_BTD.abs().max().clamp(min=1e-30)), subject.rounding(dtype).same
        if ratio <= most:
            return None
        row, position = divmod(int(error.amax(-1).argmax()), case.tokens)
        cut = int(cuts[row // case.batch])
        return Violation(
            f"leaks the future: the output at position {position} changes when inputs from position {cut} on do",
            f"relative change <= {most:.0e}",
            f"{ratio:.2g}",
            {"cut": cut, "position": position},
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
        dtype = subject.dtype(case.dtype)
        mixer = subject.mixer(dtype=dtype, train=case.train)
        cuts = cuts_of(case.tokens, case.cut)
        x_BTD = subject.inputs(case.batch, case.tokens, "gradient", dtype=dtype).repeat(len(cuts), 1, 1)
        x_BTD.requires_grad_(True)
        past_BT1 = (torch.arange(case.tokens) < cuts.repeat_interleave(case.batch)[:, None])[..., None]
        weights_BTD = subject.inputs(case.batch, case.tokens, "projection", dtype=dtype).repeat(len(cuts), 1, 1)
        y_BTD, _ = run(mixer, x_BTD)
        if not y_BTD.requires_grad:
            return Violation("the output has no gradient to the input")
        (dx_BTD,) = torch.autograd.grad((y_BTD * weights_BTD * past_BT1).sum(), x_BTD)
        leak = (dx_BTD.abs() * ~past_BT1).nan_to_num(nan=torch.inf)
        ratio = float(leak.max() / dx_BTD.abs().max().clamp(min=1e-30))
        if ratio <= subject.rounding(dtype).same:
            return None
        row, position = divmod(int(leak.amax(-1).argmax()), case.tokens)
        cut = int(cuts[row // case.batch])
        return Violation(
            f"outputs before position {cut} have a gradient to the input at {position}",
            "no gradient",
            f"{ratio:.2g} of the largest",
            {"cut": cut, "position": position},
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
        error, most = relative_error(y_BTD, whole_BTD[:, : case.tokens]), subject.rounding(dtype).sums
        if error <= most:
            return None
        return Violation(
            f"the first {case.tokens} outputs differ when the sequence is {case.total} tokens long",
            f"relative error <= {most:.0e}",
            f"{error:.2g}",
        )

"""Cost grows less than with the square of the length; neither the state nor a decoding step grows with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

import torch

from asiarc.engineer.gates import counting
from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.subject import Subject, run, state_bytes

LENGTHS = (64, 128, 256, 512, 1024)
# The second difference of a cost over T, 2T, 4T vanishes where it is linear. From one octave to the next it
# grows twofold for T log T, 2.8-fold for T**1.5 and fourfold for T**2.
SUPERLINEAR = 3.4
STEEP = 6.0  # in the last octave counted; a change of algorithm may triple a cost once, all-to-all work does far more
LONGEST = 8192
MOST_OPERATORS = 3_000  # a loop over tokens is not followed beyond LENGTHS
NEGLIGIBLE = 1e-3  # of the cost at the longest length


class Complexity(Gate):
    """FLOPs and memory, counted and not timed, grow less than quadratically; state and decoding step do not grow.

    The forward pass is counted at 64, 128 … 1024 tokens, elementwise operators and FFT included, and on to 8192
    unless that takes thousands of operators; the candidate's lines that Python runs up to 512. Cannot see work that
    Python's built-in functions do outside torch, quadratic work that starts beyond 8192 tokens, nor, in a loop over
    tokens, beyond 1024.
    """

    name = "complexity"
    cost = Cost.COUNTED

    def check(self, subject: Subject) -> Finding | None:
        """Growth first, then the state and the step."""
        mixer = subject.mixer(train=True)
        inputs = {tokens: subject.inputs(1, tokens, "complexity") for tokens in LENGTHS}
        costs = {tokens: counting.count(run, mixer, x_BTD) for tokens, x_BTD in inputs.items()}
        findings = (_growth_finding(self, longer) for longer in chain([costs], _longer(subject, costs)))
        return next(filter(None, findings), None) or self._lines(subject) or self._state(subject)

    def _lines(self, subject: Subject) -> Finding | None:
        counted = {}
        for tokens in (LENGTHS[0] // 2, *LENGTHS[:-1]):
            with torch.no_grad():
                x_BTD = subject.inputs(1, tokens, "complexity")
                counted[str(tokens)] = counting.count_lines(run, subject.mixer(train=True), x_BTD)
        growth = quadratic_growth([float(lines) for lines in counted.values()])
        if growth is None:
            return None
        return self.finds(
            "the number of lines that Python runs grows quadratically with the length",
            example=counted,
            expected=f"second differences grow less than {SUPERLINEAR}-fold an octave",
            actual=f"{growth:.2f}-fold",
        )

    def _state(self, subject: Subject) -> Finding | None:
        mixer = subject.mixer()
        sizes, steps = {}, {}
        for tokens in (LENGTHS[2], LENGTHS[4]):
            with torch.no_grad():
                _, state = run(mixer, subject.inputs(1, tokens, "state"))
                sizes[str(tokens)] = state_bytes(state)
                steps[str(tokens)] = counting.count(run, mixer, subject.inputs(1, 1, "step"), state).flops
        for words, numbers in (("the state", sizes), ("a decoding step's FLOPs", steps)):
            early, late = numbers.values()
            if late > 1.25 * early:
                return self.finds(
                    f"{words} grows with the length",
                    example=numbers,
                    expected="constant",
                    actual=f"{late / max(early, 1):.2f} times from {LENGTHS[2]} to {LENGTHS[4]} tokens",
                )
        return None


class BackwardCost(Gate):
    """The backward pass, too, grows less than quadratically.

    A warning: slicing a sequence in a loop costs one full-length gradient a slice, which is quadratic and
    cheap at first; split, unbind or chunk it once instead. Cannot see what starts beyond 512 tokens.
    """

    name = "backward_cost"
    cost = Cost.COUNTED
    severity = "warn"

    def check(self, subject: Subject) -> Finding | None:
        """Only the backward pass is counted."""
        costs = {}
        for tokens in (LENGTHS[0] // 2, *LENGTHS[:-1]):
            x_BTD = subject.inputs(1, tokens, "complexity").requires_grad_(True)
            y_BTD, _ = run(subject.mixer(train=True), x_BTD)
            costs[tokens] = counting.count(y_BTD.sum().backward)
        return _growth_finding(self, costs)


def _longer(subject: Subject, costs: dict[int, counting.Counted]) -> Iterator[dict[int, counting.Counted]]:
    """The costs with one octave more at a time, as long as that takes few operators."""
    tokens = LENGTHS[-1]
    while tokens < LONGEST and 2 * costs[tokens].operators <= MOST_OPERATORS:
        tokens *= 2
        with torch.no_grad():
            costs[tokens] = counting.count(run, subject.mixer(), subject.inputs(1, tokens, "complexity"))
        yield costs


def _growth_finding(gate: Gate, costs: dict[int, counting.Counted]) -> Finding | None:
    """What the last five octaves say."""
    tests = {
        "flops": ("FLOPs", quadratic_growth, f"second differences grow less than {SUPERLINEAR}-fold an octave"),
        "allocated_bytes": (
            "memory",
            quadratic_growth,
            f"second differences grow less than {SUPERLINEAR}-fold an octave",
        ),
        "largest_bytes": ("the largest tensor", tripling, "less than threefold when the length doubles"),
    }
    for field, (words, growth_of, limit) in tests.items():
        counted = {str(tokens): getattr(costs[tokens], field) for tokens in sorted(costs)[-5:]}
        *_, before, last = counted.values()
        growth = growth_of(list(counted.values()))
        if growth is None and max(costs) > LENGTHS[-1] and last > STEEP * before:
            growth, limit = last / before, f"at most {STEEP:.0f}-fold when the length doubles"
        if growth is not None:
            reason = f"{words} grows quadratically with the length"
            return gate.finds(reason, example=counted, expected=limit, actual=f"{growth:.2f}-fold")
    return None


def quadratic_growth(costs: list[float]) -> float | None:
    """How the second differences of costs at T, 2T … 16T grow, where that means T**2; None where it does not.

    Both steps have to say so: a kink (a chunk that fills up, a path that opens) makes one step of any size.
    """
    differences = [far - 3 * middle + 2 * near for near, middle, far in zip(costs, costs[1:], costs[2:], strict=False)]
    if min(differences) <= 0 or differences[-1] <= NEGLIGIBLE * costs[-1]:
        return None
    growth = min(later / earlier for earlier, later in pairwise(differences))
    return growth if growth > SUPERLINEAR else None


def tripling(costs: list[float]) -> float | None:
    """The smaller growth of the last two octaves, where it is more than threefold."""
    growth = min(later / max(earlier, 1) for earlier, later in pairwise(costs[-3:]))
    return growth if growth > 3 else None

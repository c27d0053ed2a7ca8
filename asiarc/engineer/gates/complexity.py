"""Cost grows less than with the square of the length; neither the state nor a decoding step grows with it."""

from __future__ import annotations

from functools import partial

import torch

from asiarc.engineer.gates import counting
from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.subject import Subject, run, state_bytes

LENGTHS = (128, 256, 512, 1024)
# The second difference of a cost over T, 2T, 4T vanishes where it is linear. From one octave to the next it
# grows twofold for T log T, 2.8-fold for T**1.5 and fourfold for T**2.
SUPERLINEAR_GROWTH = 3.4
LONGEST = 65_536
MOST_OPERATORS = 2_000
NEGLIGIBLE = 1e-3  # of the cost at the longest length


class Complexity(Gate):
    """FLOPs and memory, counted and not timed, grow less than quadratically; state and decoding step do not grow.

    The forward pass is counted at 128, 256, 512 and 1024 tokens, elementwise operators and FFT included;
    then, on tensors without data, at every octave up to 65,536 that takes no more than a few thousand
    operators. Cannot see work done outside torch, nor, in a loop over tokens, quadratic work that starts
    beyond 1024.
    """

    name = "complexity"
    cost = Cost.COUNTED

    def check(self, subject: Subject) -> Finding | None:
        """Growth first, then the state and the step."""
        mixer = subject.mixer(train=True)
        inputs = {tokens: subject.inputs(1, tokens, "complexity") for tokens in LENGTHS}
        costs = {tokens: counting.count(run, mixer, x_BTD) for tokens, x_BTD in inputs.items()}
        costs |= _without_data(subject, costs[LENGTHS[-1]].operators)
        return _growth_finding(self, costs) or self._state(subject)

    def _state(self, subject: Subject) -> Finding | None:
        mixer = subject.mixer()
        sizes, steps = {}, {}
        for tokens in LENGTHS[1::2]:
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
                    actual=f"{late / max(early, 1):.2f} times from {LENGTHS[1]} to {LENGTHS[3]} tokens",
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


def _without_data(subject: Subject, operators: int) -> dict[int, counting.Counted]:
    """Counts at longer lengths on the meta device; as far as it goes, since some code needs numbers to run."""
    mixer = subject.make(train=True).to("meta")
    costs: dict[int, counting.Counted] = {}
    tokens = 2 * LENGTHS[-1]
    while tokens <= LONGEST and operators * tokens / LENGTHS[-1] <= MOST_OPERATORS:
        x_BTD = torch.empty(1, tokens, subject.d_model, device="meta")
        with torch.device("meta"):
            counted = guarded(partial(counting.count, run, mixer, x_BTD))
        if isinstance(counted, CandidateFailure):
            break
        costs[tokens] = counted
        tokens *= 2
    return costs


def _growth_finding(gate: Gate, costs: dict[int, counting.Counted]) -> Finding | None:
    words = {"flops": "FLOPs", "allocated_bytes": "memory", "largest_bytes": "the largest tensor"}
    lengths = sorted(costs)
    for field, word in words.items():
        for i in range(len(lengths) - 3):
            counted = {str(tokens): getattr(costs[tokens], field) for tokens in lengths[i : i + 4]}
            if (growth := quadratic_growth(list(counted.values()))) is not None:
                return gate.finds(
                    f"{word} grows quadratically with the length",
                    example=counted,
                    expected=f"second difference grows less than {SUPERLINEAR_GROWTH}-fold an octave",
                    actual=f"{growth:.2f}-fold",
                )
    return None


def quadratic_growth(costs: list[float]) -> float | None:
    """How the second difference of costs at T, 2T, 4T, 8T grows, where that means T**2; None where it does not.

    A second difference that begins at zero or below tells of a step (a chunk that fills up, a path that
    opens), not of a power, and is left to the octaves after it.
    """
    first, second = (costs[i + 2] - 3 * costs[i + 1] + 2 * costs[i] for i in (0, 1))
    if second <= NEGLIGIBLE * costs[-1] or first <= 0:
        return None
    growth = second / first
    return growth if growth > SUPERLINEAR_GROWTH else None

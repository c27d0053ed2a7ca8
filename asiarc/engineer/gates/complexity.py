"""Cost grows less than with the square of the length; neither the state nor a decoding step grows with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

import torch

from asiarc.engineer.gates import counting
from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.subject import Subject, run, state_bytes

OCTAVES = (1, 2, 4, 8, 16)
FIRST = 65, 79  # the drawn length from which octaves are counted
ROUND = (128, 512)  # lengths that algorithms like, and that the drawn ones are not
# The second difference of a cost over T, 2T, 4T vanishes where it is linear. From one octave to the next it
# grows twofold for T log T, 2.8-fold for T**1.5 and fourfold for T**2.
SUPERLINEAR = 3.4
STEEP = 6.0  # in the last octave counted; a change of algorithm may triple a cost once, all-to-all work does far more
LONGEST = 10_240
MOST_OPERATORS = 3_000  # a loop over tokens is not followed beyond the octaves
AT_ROUND = 2.0  # times what the next longer drawn length costs
LONGEST_TEXT = 1024  # tokens whose inputs a state may not be large enough to hold
NEGLIGIBLE = 5e-3  # of the cost at the longest length: what chunks that are not full leave over


class Complexity(Gate):
    """FLOPs and memory, counted and not timed, grow less than quadratically; state and decoding step do not grow.

    The forward pass is counted at five octaves of a drawn length, on beyond 8192 tokens unless that takes thousands of
    operators, and at round lengths; what operators compute, allocate, read and write, whether or not a formula knows
    them; and the candidate's lines that Python runs. The state may not be as large as a text itself. Cannot see work
    that Python's built-in functions do outside torch, quadratic work that starts beyond 8192 tokens, nor, in a loop
    over tokens, beyond 1264.
    """

    name = "complexity"
    cost = Cost.COUNTED

    def check(self, subject: Subject) -> Finding | None:
        """Growth first, then the state and the step."""
        costs = {tokens: _cost(subject, tokens, train=True) for tokens in _lengths(subject)}
        findings = (_growth_finding(self, longer) for longer in chain([costs], _longer(subject, costs)))
        found = next(filter(None, findings), None) or self._at_round_lengths(subject, costs)
        return found or self._lines(subject) or self._state(subject)

    def _at_round_lengths(self, subject: Subject, costs: dict[int, counting.Counted]) -> Finding | None:
        for tokens in ROUND:
            next_longer = min(length for length in costs if length >= tokens)
            there, beside = _cost(subject, tokens, train=False), costs[next_longer]
            for field, words in (("flops", "FLOPs"), ("moved_bytes", "memory traffic")):
                actual, usual = getattr(there, field), getattr(beside, field)
                if actual > AT_ROUND * usual:
                    return self.finds(
                        f"{words} of {tokens} tokens are more than those of {next_longer}{_unknown(there)}",
                        example={str(tokens): actual, str(next_longer): usual},
                        expected=f"at most {AT_ROUND:g} times",
                        actual=f"{actual / max(usual, 1):.1f} times",
                    )
        return None

    def _lines(self, subject: Subject) -> Finding | None:
        counted = {}
        for tokens in (length // 2 for length in _lengths(subject)):
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
        for tokens in _lengths(subject)[2::2]:
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
                    actual=f"{late / max(early, 1):.2f} times when it is four times as long",
                )
        most = 4 * LONGEST_TEXT * subject.d_model
        if max(sizes.values()) <= most:
            return None
        reason = (
            f"the state is as large as the inputs of {LONGEST_TEXT} tokens, and could hold a text instead of reading it"
        )
        return self.finds(reason, example=sizes, expected=f"at most {most} bytes", actual=f"{max(sizes.values())}")


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
        for tokens in (length // 2 for length in _lengths(subject)):
            x_BTD = subject.inputs(1, tokens, "complexity").requires_grad_(True)
            y_BTD, _ = run(subject.mixer(train=True), x_BTD)
            costs[tokens] = counting.count(y_BTD.sum().backward)
        return _growth_finding(self, costs)


def _lengths(subject: Subject) -> list[int]:
    """Five octaves of a drawn length that no algorithm expects."""
    return [subject.drawn(*FIRST, "length") * octave for octave in OCTAVES]


def _cost(subject: Subject, tokens: int, *, train: bool) -> counting.Counted:
    x_BTD = subject.inputs(1, tokens, "complexity")
    with torch.set_grad_enabled(train):
        return counting.count(run, subject.mixer(train=train), x_BTD)


def _longer(subject: Subject, costs: dict[int, counting.Counted]) -> Iterator[dict[int, counting.Counted]]:
    """The costs with one octave more at a time, as long as that takes few operators."""
    tokens = max(costs)
    while 2 * tokens <= LONGEST and 2 * costs[tokens].operators <= MOST_OPERATORS:
        tokens *= 2
        costs[tokens] = _cost(subject, tokens, train=False)
        yield costs


def _growth_finding(gate: Gate, costs: dict[int, counting.Counted]) -> Finding | None:
    """What the last five octaves say."""
    growing = f"second differences grow less than {SUPERLINEAR}-fold an octave"
    tests = {
        "flops": ("FLOPs", quadratic_growth, growing),
        "allocated_bytes": ("memory", quadratic_growth, growing),
        "moved_bytes": ("memory traffic", quadratic_growth, growing),
        "largest_bytes": ("the largest tensor", tripling, "less than threefold when the length doubles"),
    }
    for field, (words, growth_of, limit) in tests.items():
        counted = {str(tokens): getattr(costs[tokens], field) for tokens in sorted(costs)[-5:]}
        *_, before, last = counted.values()
        growth = growth_of(list(counted.values()))
        if growth is None and len(costs) > len(OCTAVES) and last > STEEP * before:
            growth, limit = last / before, f"at most {STEEP:.0f}-fold when the length doubles"
        if growth is not None:
            reason = f"{words} grows quadratically with the length{_unknown(costs[max(costs)])}"
            return gate.finds(reason, example=counted, expected=limit, actual=f"{growth:.2f}-fold")
    return None


def _unknown(cost: counting.Counted) -> str:
    """Who may be to blame where nobody has said what an operator does."""
    names = ", ".join(sorted(cost.unknown))
    return f"; no formula is known for {names}, which counts as all pairs: write it with others" if names else ""


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

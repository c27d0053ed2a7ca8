"""Cost grows less than with the square of the length; neither the state nor a decoding step grows with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import torch

from asiarc.engineer.gates import counting
from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.live import Live, python_peak, uncollected
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
LONGEST_STEP, MOST_OPERATORS_BACK = 2_560, 300  # the same of a training step, which costs more
AT_ROUND = 2.0  # times what the next longer drawn length costs
LONGEST_TEXT = 1024  # tokens whose inputs a state may not be large enough to hold
NEGLIGIBLE = 5e-3  # of the cost at the longest length: what chunks that are not full leave over
# Of memory in use at once: linear doubles from octave to octave, T log T grows 2.2-fold at these lengths.
STEEPER = 2.35
CURVED = 2.6  # the same of second differences, in which what is linear vanishes
LITTLE = 40  # KiB of Python's own, below which lists as long as a text come and go by chance


class Complexity(Gate):
    """FLOPs and memory, counted and not timed, grow less than quadratically; state and decoding step do not grow.

    The forward pass is counted at five octaves of a drawn length, on beyond 8192 tokens unless that takes thousands of
    operators, and at round lengths; what operators compute, allocate, read and write, whether or not a formula knows
    them; the candidate's lines that Python runs, and the memory of its objects. The state may not be as large as a text
    itself. Cannot see work that Python's built-in functions do outside torch, quadratic work that starts beyond 8192
    tokens, nor, in a loop over tokens, beyond 1264.
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
        """What Python does and holds; the first of the two calls at a length fills what is filled once."""
        lines, kept = {}, {}
        for tokens in _halves(subject):
            with torch.no_grad():
                call = run, subject.mixer(train=True), subject.inputs(1, tokens, "complexity")
                lines[str(tokens)] = counting.count_lines(*call)
                kept[str(tokens)] = python_peak(*call) >> 10
        if growth := quadratic_growth([*lines.values()]):
            return self._python("the number of lines that Python runs", lines, SUPERLINEAR, growth)
        if max(kept.values()) > LITTLE and (growth := swelling([*kept.values()])):
            return self._python("the memory of Python's own objects, in KiB,", kept, STEEPER, growth)
        return None

    def _python(self, words: str, counted: dict[str, int], most: float, growth: float) -> Finding:
        return self.finds(
            f"{words} grows quadratically with the length",
            example=counted,
            expected=f"grows less than {most}-fold an octave",
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


class PeakMemory(Gate):
    """What a training step holds at once, forward and backward pass, grows with the length as a list of tokens does.

    Measured from outside: the memory that operators made and that anything still holds, at drawn lengths; a matrix of
    all pairs shows whatever holds it, and of whatever type. Cannot see what one operator uses within itself, nor what
    starts beyond 2,300 tokens or, in a loop over tokens, beyond 570.
    """

    name = "peak_memory"
    cost = Cost.COUNTED

    def check(self, subject: Subject) -> Finding | None:
        """The steps that `BackwardCost` counts, too."""
        held = {str(tokens): step.peak_bytes for tokens, step in [*_steps(subject).items()][-len(OCTAVES) :]}
        growth = swelling([*held.values()])
        if growth is None:
            return None
        return self.finds(
            "what a training step holds in memory grows faster than the length: keep nothing of all pairs of tokens",
            example=held,
            expected=f"grows less than {STEEPER}-fold an octave",
            actual=f"{growth:.2f}-fold",
        )


class BackwardCost(Gate):
    """The backward pass, too, grows less than quadratically.

    A warning: slicing a sequence in a loop costs one full-length gradient a slice, which is quadratic and
    cheap at first; split, unbind or chunk it once instead. Cannot see what starts beyond 2,300 tokens or, in a loop,
    beyond 570.
    """

    name = "backward_cost"
    cost = Cost.COUNTED
    severity = "warn"

    def check(self, subject: Subject) -> Finding | None:
        """Only the backward pass is counted."""
        return _growth_finding(self, {tokens: step.backward for tokens, step in _steps(subject).items()})


class StepCost(NamedTuple):
    """What the backward pass of a step costs, and the most bytes that both passes hold at once."""

    backward: counting.Counted
    peak_bytes: int


def _steps(subject: Subject) -> dict[int, StepCost]:
    """Steps at half the drawn lengths, and at longer ones while they take few operators."""

    def steps() -> dict[int, StepCost]:
        taken = {tokens: _step(subject, tokens) for tokens in _halves(subject)}
        while 2 * max(taken) <= LONGEST_STEP and taken[max(taken)].backward.operators <= MOST_OPERATORS_BACK:
            taken[2 * max(taken)] = _step(subject, 2 * max(taken))
        return taken

    return subject.once("steps", steps)


def _step(subject: Subject, tokens: int) -> StepCost:
    mixer, x_BTD = subject.mixer(train=True), subject.inputs(1, tokens, "complexity").requires_grad_(True)
    with uncollected():
        with Live() as live:
            y_BTD, _ = run(mixer, x_BTD)
        with counting.Counter(live.memory) as counter:
            y_BTD.sum().backward()
    return StepCost(counter.cost, live.memory.peak)


def _halves(subject: Subject) -> list[int]:
    return [tokens // 2 for tokens in _lengths(subject)]


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


def quadratic_growth(costs: Sequence[float], most: float = SUPERLINEAR) -> float | None:
    """How the second differences of costs at T, 2T … 16T grow, where that means T**2; None where it does not.

    Both steps have to say so: a kink (a chunk that fills up, a path that opens) makes one step of any size.
    """
    differences = [far - 3 * middle + 2 * near for near, middle, far in zip(costs, costs[1:], costs[2:], strict=False)]
    if min(differences) <= 0 or differences[-1] <= NEGLIGIBLE * costs[-1]:
        return None
    growth = min(later / earlier for earlier, later in pairwise(differences))
    return growth if growth > most else None


def swelling(held: Sequence[float]) -> float | None:
    """How memory at T, 2T … 16T grows where that is more than T log T; None where it is not.

    Either the steps of the last octaves say so, whatever was largest before, or the second differences of all, beneath
    what is linear.
    """
    steps = [later - earlier for earlier, later in pairwise(held)]
    growth = min(later / max(earlier, 1) for earlier, later in pairwise(steps[-3:]))
    return growth if growth > STEEPER else quadratic_growth(held, CURVED)


def tripling(costs: list[float]) -> float | None:
    """The smaller growth of the last two octaves, where it is more than threefold."""
    growth = min(later / max(earlier, 1) for earlier, later in pairwise(costs[-3:]))
    return growth if growth > 3 else None

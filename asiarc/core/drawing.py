"""Drawing cases with Hypothesis: the same cases from the same seed in every process, shrunk when one fails.

Unusual: Hypothesis mixes numbers found in whatever modules happen to be loaded into the integers that it
draws, which would make a verdict depend on what the process did before. No module holds numbers near `_FAR`,
so integers are drawn there and shifted back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from hypothesis import Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")
V = TypeVar("V")

_FAR = 7_000_000_000_000_003
_SHRINK_RUNS = 40  # cases tried after the first failure; shrinking must not cost more than the search
_PHASES = (Phase.generate, Phase.shrink)


def whole(low: int, high: int) -> SearchStrategy[int]:
    """Integers in [low, high], shrinking to low."""
    return st.integers(_FAR + low, _FAR + high).map(lambda n: n - _FAR)


def choice(options: Sequence[T]) -> SearchStrategy[T]:
    """One of the options, shrinking to the first."""
    return whole(0, len(options) - 1).map(options.__getitem__)


def smallest_failing(
    cases: SearchStrategy[T],
    violation: Callable[[T], V | None],
    *,
    known: Sequence[T] = (),
    seed: int,
    max_examples: int,
) -> tuple[T, V] | None:
    """The smallest failing case found with its violation, or None when all pass.

    Every case in `known` runs, then `max_examples` drawn ones. The smallest drawn failure is preferred to a
    known one, since only drawn ones are shrunk. `violation` must be a function of its case.
    """
    seen: dict[T, V | None] = {}
    runs_left = max_examples + len(known)

    def failed(case: T) -> bool:
        nonlocal runs_left
        if case not in seen:
            if runs_left <= 0:
                return False
            runs_left -= 1
            seen[case] = violation(case)
            if seen[case] is not None and sum(v is not None for v in seen.values()) == 1:
                runs_left = _SHRINK_RUNS
        return seen[case] is not None

    fallback = next((case for case in known if failed(case)), None)
    quiet = settings(
        max_examples=max_examples, database=None, deadline=None, derandomize=False, phases=_PHASES,
        verbosity=Verbosity.quiet, print_blob=False, backend="hypothesis",
    )  # fmt: skip
    try:
        case = find(cases, failed, settings=quiet, random=Random(seed))
    except NoSuchExample:
        if fallback is None:
            return None
        case = fallback
    found = seen[case]
    assert found is not None
    return case, found


# Hypothesis sets itself up at its first draws. Workers import this module once and examine each candidate in a fork.
smallest_failing(whole(0, 1_000_000), lambda _: None, seed=0, max_examples=50)

"""What the suites share: how a broken rule is told, and a world whose global randomness moves between two questions."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import numpy as np

from asiarc.core.errors import BrokenRuleError

Answer = TypeVar("Answer")


def broken(subject: object, rule: str, found: str) -> NoReturn:
    """Raise `BrokenRuleError` for a rule of a subject, with what was found."""
    name = subject if isinstance(subject, str) else type(subject).__name__
    raise BrokenRuleError(f"{name} breaks the rule {rule!r}: {found}")


def asked(question: Callable[[], Answer], number: int) -> Answer:
    """A question's answer where the global generators stand elsewhere each time; they come back as they were."""
    before = random.getstate(), np.random.get_state()
    random.seed(number)
    np.random.seed(number)
    try:
        return question()
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def is_text(value: Any) -> bool:
    """Whether a value is a text that says something."""
    return isinstance(value, str) and bool(value.strip())

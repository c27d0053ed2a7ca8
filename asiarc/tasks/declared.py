"""A task of one's own: ``@asiarc.task(chance=...)`` above a generator, and the file that it stands in.

The generator obeys the contract of `asiarc.tasks.synthetic`: it takes a numpy generator, a number of rows and its
settings, and returns ``(inputs_BT, targets_BT)``. Light on purpose: a campaign's file imports this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any, get_args

from asiarc.core.errors import TaskError, unknown_name
from asiarc.tasks.catalogue import BASE, CHECK, Listing, Role, Settings, Style, Training

METRICS = ("accuracy", "bits_per_byte")
Generator = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class DeclaredTask:
    """A generator with what is declared of it; calling it calls the generator.

    `place` is what a campaign's ``tasks`` may hold in its stead: ``file.py:function`` or ``file.py:function:level``.
    """

    generator: Generator
    listing: Listing
    choices: tuple[str, ...] = ()
    level: str = BASE

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """What the generator gives."""
        return self.generator(*args, **settings)

    @property
    def name(self) -> str:
        """The generator's name."""
        return str(self.generator.__name__)

    @property
    def file(self) -> Path:
        """The file that the generator stands in."""
        code: CodeType = self.generator.__code__
        return Path(code.co_filename)

    @property
    def line(self) -> int:
        """The line of it at which the generator begins."""
        code: CodeType = self.generator.__code__
        return code.co_firstlineno

    @property
    def place(self) -> str:
        """File, function and level, as one text."""
        return f"{self.file}:{self.name}" + (f":{self.level}" if self.level != BASE else "")

    @property
    def settings(self) -> Settings:
        """What the generator is called with at this level."""
        return self.listing.levels[self.level]

    @property
    def chance(self) -> float | None:
        """The accuracy of the best reader who never looks, at this level; None where the metric is no accuracy."""
        return None if self.listing.chance is None else self.listing.chance(self.settings)

    def at(self, level: str) -> DeclaredTask:
        """The same task at one of its levels. Raises `TaskError`."""
        if level not in self.listing.levels:
            raise TaskError(unknown_name(f"level of task {self.name!r}:", level, self.listing.levels))
        return replace(self, level=level)


def task(
    *,
    chance: float | Callable[[Settings], float] | None = None,
    metric: str = "accuracy",
    role: Role = "reported",
    levels: Mapping[str, Settings] | None = None,
    training: Training = CHECK,
    choices: str = "",
) -> Callable[[Generator], DeclaredTask]:
    """Make a task of the generator below it: ``generator(rng, count, **settings)`` gives ``(inputs_BT, targets_BT)``.

    Every row of ``inputs_BT`` opens with 0 and goes on in ASCII; ``targets_BT[:, t]`` is what is due once t characters
    are read, or -100 where nothing is. `chance` is the accuracy of the best reader who knows the task and the position
    and reads nothing, a number or a function of the level's settings. With the metric ``bits_per_byte`` every character
    is due as it comes, and there is no chance. `role` says what a score may be used for: it ``decides``, is a
    ``capability`` check, or is ``reported``. `levels` names settings, one of them "base". `choices` are the characters
    that an answer is chosen among; without them it must be the model's own first choice among all bytes. `training` is
    a model and a budget. Raises `TaskError`.
    """
    levels = dict(levels or {BASE: {}})
    _check_words(metric, role, levels, choices)
    if (metric == "accuracy") != (chance is not None):
        raise TaskError(f"a task by accuracy declares its chance level and no other does; given {metric=}, {chance=}")
    by_level = _chance_of(chance, levels)
    style: Style = "rolling" if metric == "bits_per_byte" else "choice" if choices else "cloze"

    def declare(generator: Generator) -> DeclaredTask:
        _check_place(generator)
        summary = (generator.__doc__ or "").strip().partition("\n")[0].rstrip(".") or generator.__name__
        listing = Listing(
            summary, "a generator of one's own", role, style, levels, training, chance=by_level,
        )  # fmt: skip
        return DeclaredTask(generator, listing, tuple(choices))

    return declare


def _check_words(metric: str, role: str, levels: Mapping[str, Settings], choices: str) -> None:
    if metric not in METRICS:
        raise TaskError(unknown_name("metric", metric, METRICS))
    if role not in get_args(Role):
        raise TaskError(unknown_name("role", role, get_args(Role)))
    if BASE not in levels:
        raise TaskError(f"levels={{{', '.join(levels)}}} has no {BASE!r}, which is meant where none is named")
    for level in levels:
        if not re.fullmatch(r"[\w.-]+", level):
            raise TaskError(f"level {level!r}: a level is named by letters, digits, dots and dashes")
    if len(set(choices)) != len(choices) or len(choices) == 1 or not choices.isascii() or "\0" in choices:
        raise TaskError(f"choices={choices!r}: give two ASCII characters or more, each once")


def _chance_of(
    chance: float | Callable[[Settings], float] | None, levels: Mapping[str, Settings]
) -> Callable[[Settings], float] | None:
    """`chance` as a function of settings. Raises `TaskError` where it is no share at some level."""
    if chance is None:
        return None
    found = chance if callable(chance) else lambda _: chance
    for level, settings in levels.items():
        share = found(settings)
        if not isinstance(share, (int, float)) or not 0 < share < 1:
            raise TaskError(f"chance is {share!r} at level {level!r}; an accuracy by chance lies between 0 and 1")
    return found


def _check_place(generator: Generator) -> None:
    name = getattr(generator, "__qualname__", type(generator).__name__)
    if not hasattr(generator, "__code__") or not name.isidentifier():
        raise TaskError(f"{name} is no function at the top of a file, where jobs could find it: move it there")

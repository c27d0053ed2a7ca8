"""What a run looks like on a terminal: a table that is drawn anew in place, with the lines of progress above it.

The table stands still only where nothing else writes: it is taken away before anybody else does. Plain characters, no
frame around it; colour is the terminal's to have. rich is imported when the first table is drawn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from asiarc.harness.options import folded

if TYPE_CHECKING:
    import pytest
    from rich.console import Console, RenderableType

    from asiarc.studies.frame import Frame

PAUSE_S = 0.5  # between two looks at the archive
SHARE = 20  # of the time, one part in so many is spent on looking
LABEL = 12  # columns


def suits(config: pytest.Config, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether pytest's own terminal reporter has a person's terminal to itself: no pipe, no CI, no live log, no -q."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    return (
        type(reporter).__module__ == "_pytest.terminal"
        and config.option.verbose >= 0
        and reporter.isatty
        and environment.get("TERM", "") not in ("", "dumb")
        and not any(environment.get(name) for name in ("CI", "BUILD_NUMBER"))
        and not config.getini("log_cli")
        and not config.option.log_cli_level
    )


def console_on(file: TextIO, *, colour: bool) -> Console:
    """rich's console on a terminal, which it does not ask about: pytest's capture hides the real one."""
    from rich.console import Console

    width, height = size_of(file)
    return Console(
        file=file, force_terminal=True, width=width, height=height, highlight=False, emoji=False, markup=False,
        no_color=not colour or None,
    )  # fmt: skip


def size_of(file: TextIO) -> tuple[int, int]:
    """Columns and lines of a terminal; 80 by 24 where the file is none."""
    try:
        found = os.get_terminal_size(file.fileno())
    except (OSError, ValueError):
        return 80, 24
    return found.columns or 80, found.lines or 24


def drawn(frame: Frame | None, seconds: float | None = None) -> RenderableType:
    """A frame as rich draws it, at any width, and how long it has been looked at."""
    from rich.table import Table

    from asiarc.studies.frame import rows_of

    table = Table.grid(padding=(0, 1))
    table.add_column(width=LABEL, no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows_of(frame) if frame else []:
        table.add_row(label, text)
    if seconds is not None:
        minutes, rest = divmod(int(seconds), 60)
        table.add_row("elapsed", f"{minutes}:{rest:02}")
    return table


class LiveTable:
    """A table in place on a console: `refresh` looks again, not too often; `say` puts a line above it.

    In between only the clock is drawn, once a second, by a thread that reads no archive.
    """

    def __init__(self, console: Console, read: Callable[[], Frame], *, redirect: bool = False) -> None:
        from rich.live import Live

        self.console, self.read = console, read
        self.frame: Frame | None = None
        self._began, self._due = time.monotonic(), 0.0
        self._live = Live(
            get_renderable=self._drawn, console=console, refresh_per_second=1, transient=True,
            redirect_stdout=redirect, redirect_stderr=redirect,
        )  # fmt: skip

    def __enter__(self) -> LiveTable:
        self._live.start()
        self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def refresh(self) -> None:
        """Look again and draw, where the last time is long enough ago for what a look costs."""
        began = time.monotonic()
        if began < self._due:
            return
        self.console.width, self.console.height = size_of(self.console.file)  # type: ignore[arg-type]
        self.frame = self.read()
        self._live.refresh()
        ended = time.monotonic()
        self._due = ended + max(PAUSE_S, SHARE * (ended - began))

    def _drawn(self) -> RenderableType:
        return drawn(self.frame, time.monotonic() - self._began)

    def say(self, line: str) -> None:
        """A line that stays, above the table, which is looked up again: it may not contradict the line."""
        self.console.print("\n".join(folded(line, self.console.width)))
        self._due = 0.0
        self.refresh()

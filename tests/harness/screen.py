"""A terminal for tests: a command on a pseudo-terminal, and the screen that its bytes leave behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path

_STEP = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07|([\r\n\x08])|([^\x1b\r\n\x08]+)")


class Screen:
    """What a terminal of so many columns shows: text, returns, erasing a line, the cursor up and down."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.cursor_shown = True

    def feed(self, text: str) -> Screen:
        for step in _STEP.finditer(text):
            argument, command, control, plain = step.groups()
            if command:
                self._command(argument, command)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self._down()
            for character in plain or "":
                self._put(character)
        return self

    def _command(self, argument: str, command: str) -> None:
        if command == "A":
            self.row = max(0, self.row - int(argument or 1))
        elif command == "K" and argument == "2":
            self.lines[self.row] = ""
        elif argument == "?25":
            self.cursor_shown = command == "h"
        else:
            assert command == "m", f"not known to this terminal: {argument}{command}"

    def _down(self) -> None:
        self.row += 1
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def _put(self, character: str) -> None:
        if self.column == self.width:
            self._down()
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)


def on_terminal(
    command: list[str], folder: Path, *, width: int = 60, interrupt_at: str | None = None, **environment: str
) -> tuple[int, str]:
    """The exit status and every byte that a command wrote to a terminal; Ctrl-C once some text is seen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER", "COLUMNS")}
    process = subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=kept | {"TERM": "xterm"} | environment
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
            if interrupt_at and interrupt_at.encode() in seen:
                interrupt_at = None
                process.send_signal(signal.SIGINT)
    except OSError:  # Linux says so where the other side is closed
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=60), seen.decode(errors="replace")

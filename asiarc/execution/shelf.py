"""A shelf: where a job's checkpoints outlive its process, for the next attempt of the same job and for nothing else.

The job hands a checkpoint out through a pipe, as bytes that nobody outside reads; its supervisor writes them, so that
the job itself can write no place that outlives it. On the disk are at most two: the last that is whole, and the one
before it or the one being written. A checkpoint's name says how far it goes, what was spent on the way, and the hash
of both, of its content and of its shelf's own name: what is torn, bent, renamed or another shelf's is passed over. A
job can hand out only what goes further than the last, and what was spent before counts against its limits: to go on is
never to begin again with more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from asiarc.execution import frames
from asiarc.execution.removal import remove_tree

_HEADER = struct.Struct(">QQ")  # a step, and how many bytes come; none: the step at which the job starts
_DRAFT = "draft"
_MOST_NOTES = 8
EVERY_S = 60.0  # between two checkpoints: what a kill costs at most
FORGOTTEN_S = 30 * 86_400.0  # after which nobody comes back for a checkpoint


@dataclass(frozen=True)
class Shelf:
    """A job's own `folder` (absolute; its last name says what the job is), how many bytes a checkpoint may have, and
    how many seconds pass between two."""

    folder: str
    most_bytes: int
    every_s: float

    def opened(self) -> int:
        """A descriptor of the folder, which is made where it is missing; `OSError` where it cannot be."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - a path as it came
        return os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


@dataclass(frozen=True)
class Saved:
    """A checkpoint on its shelf: after how many steps, and what the attempts that led there had spent by then."""

    step: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.step}-{self.cpu_s:.3f}-{self.wall_s:.3f}"

    def hash_on(self, shelf: Shelf) -> Any:
        """The hash that its content goes into."""
        return hashlib.sha256(f"{Path(shelf.folder).name} {self}\n".encode())

    @classmethod
    def named(cls, name: str) -> tuple[Saved, str]:
        """What a file's name says, its hash last; `ValueError` where it is no checkpoint's."""
        step, cpu_s, wall_s, found = name.split("-")
        return cls(int(step), float(cpu_s), float(wall_s)), found


class Checkpoints:
    """A job's side: the `file` that it may go on from, saved after `step` steps (None and 0: from the start), and the
    way out for the next one, which takes the `descriptors`."""

    def __init__(
        self,
        file: Path | None,
        step: int,
        every_s: float,
        send: Callable[[Any], object],
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.file, self.step, self.every_s, self.descriptors = file, step, every_s, descriptors
        self._send = send
        self._last_s = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last_s >= self.every_s

    def starts(self, step: int) -> None:
        """Say from which step the job goes on: 0 where it could not read the file."""
        self._send(_HEADER.pack(step, 0))

    def save(self, step: int, size: int, parts: Iterable[Any]) -> None:
        """Hand out a checkpoint of `size` bytes; what becomes of it, only its keeper knows."""
        self._send(_HEADER.pack(step, size))
        for part in parts:
            self._send(part)
        self._last_s = time.monotonic()


class Keeper:
    """The other side, outside the job: offers the last checkpoint that is whole, writes the next, and takes no word of
    the job's for anything but the step.

    `folder_fd` is the shelf's folder, which stays locked while it is open. Nothing here raises for what the job sends
    or the disk refuses: `notes` tell of it, and the job goes on.
    """

    def __init__(self, shelf: Shelf, folder_fd: int) -> None:
        self.shelf, self.notes = shelf, list[str]()
        self._folder = folder_fd
        fcntl.flock(folder_fd, fcntl.LOCK_EX)  # an earlier attempt may still be dying
        self._names = dict(self._whole())  # oldest first
        self.offered = self._last = next(reversed(self._names), Saved())
        self._spent: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        self._head, self._left = bytearray(), 0
        self._draft: _Draft | None = None
        self._written_s = -float("inf")

    @property
    def file(self) -> Path | None:
        """What the job may go on from, and therefore read."""
        return Path(self.shelf.folder, self._names[self.offered]) if self.offered.step else None

    @property
    def steps(self) -> set[int]:
        """After which steps there is a checkpoint that is whole."""
        return {saved.step for saved in self._names}

    def step_back(self, step: int) -> None:
        """Offer the one of this step, 0 for none: of several jobs that take every step together, one may have kept one
        more than another when they were killed."""
        self.offered = self._last = next((saved for saved in self._names if saved.step == step), Saved())
        self._discard(saved for saved in self._names if saved.step > step)

    def checkpoints(self, fd: int) -> Checkpoints:
        """The job's side: what it writes to `fd` must come to `accept`."""
        send = partial(frames.write_all, fd, write=os.write)
        return Checkpoints(self.file, self.offered.step, self.shelf.every_s, send, (fd,))

    def here(self) -> Checkpoints:
        """The same for a job that runs in this very process."""
        return Checkpoints(self.file, self.offered.step, self.shelf.every_s, self.accept)

    def watch(self, spent: Callable[[], tuple[float, float]]) -> None:
        """How many CPU-seconds and seconds this attempt has taken, whenever asked."""
        self._spent = spent

    def accept(self, chunk: bytes | memoryview) -> None:
        """The next bytes from the job."""
        rest = memoryview(chunk).cast("B")
        while rest:
            wanted = self._left or _HEADER.size - len(self._head)
            part, rest = rest[:wanted], rest[wanted:]
            if self._left:
                self._body(part)
            else:
                self._header(part)

    def close(self) -> None:
        """Let go of the folder; what is not whole by now never will be."""
        self._drop()
        os.close(self._folder)

    def _whole(self) -> Iterator[tuple[Saved, str]]:
        """The checkpoints that are what their names say, oldest first; whatever else lies there is removed."""
        found = []
        for name in os.listdir(self._folder):  # noqa: PTH208 - by its descriptor
            with self._told():
                saved = self._saved_as(name)
                if saved is not None:
                    found.append((saved, name))
                    continue
                os.unlink(name, dir_fd=self._folder)
                if name != _DRAFT:
                    self._note(f"a checkpoint was not as it was written, and is passed over: {name[:100]}")
        return iter(sorted(found, key=lambda one: one[0].step))

    def _saved_as(self, name: str) -> Saved | None:
        try:
            saved, due = Saved.named(name)
        except ValueError:
            return None
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._folder), "rb") as file:
            found = hashlib.file_digest(file, partial(saved.hash_on, self.shelf)).hexdigest()
        return saved if found == due else None

    def _header(self, part: memoryview) -> None:
        self._head += part
        if len(self._head) < _HEADER.size:
            return
        step, self._left = _HEADER.unpack(self._head)
        self._head.clear()
        if not self._left:
            self._starts(step)
        elif why_not := self._why_not(step, self._left):
            self._note(f"a checkpoint was not kept: {why_not}")
        else:
            self._begin(step)

    def _starts(self, step: int) -> None:
        if self.offered.step:
            went_on = f"went on from step {step}" if step == self.offered.step else "started anew"
            spent = f"{self.offered.cpu_s:.0f} CPU-seconds"
            self._note(f"{went_on} after a checkpoint of step {self.offered.step} ({spent})")

    def _why_not(self, step: int, size: int) -> str:
        if size > self.shelf.most_bytes:
            return f"it has {size:,} bytes, allowed are {self.shelf.most_bytes:,}"
        if step <= self._last.step:
            return f"step {step} is not beyond step {self._last.step}"
        if time.monotonic() - self._written_s < self.shelf.every_s / 2:
            return f"it came sooner than every {self.shelf.every_s:g} s"
        return ""

    def _begin(self, step: int) -> None:
        cpu_s, wall_s = self._spent()
        saved = Saved(step, round(self.offered.cpu_s + cpu_s, 3), round(self.offered.wall_s + wall_s, 3))
        self._discard(one for one in self._names if one != self._last)
        with self._told():
            self._draft = _Draft(self._folder, saved, saved.hash_on(self.shelf))

    def _discard(self, some: Iterable[Saved]) -> None:
        with self._told():
            for one in list(some):
                os.unlink(self._names.pop(one), dir_fd=self._folder)

    def _body(self, part: memoryview) -> None:
        self._left -= len(part)
        with self._told():
            if self._draft:
                self._draft.write(part)
            if self._draft and not self._left:
                self._names[self._draft.saved] = self._draft.finish()
                self._last, self._draft, self._written_s = self._draft.saved, None, time.monotonic()

    def _drop(self) -> None:
        draft, self._draft = self._draft, None
        if draft:
            with contextlib.suppress(OSError):
                draft.drop()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._note(not_kept(error))
            self._drop()

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append(text)


class _Draft:
    """The checkpoint that is being written."""

    def __init__(self, folder_fd: int, saved: Saved, hashed: Any) -> None:
        self.saved, self._folder, self._hash = saved, folder_fd, hashed
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(_DRAFT, flags, 0o600, dir_fd=folder_fd), "wb", buffering=0)

    def write(self, part: memoryview) -> None:
        self._hash.update(part)
        while part:
            part = part[self._file.write(part) :]

    def finish(self) -> str:
        """On the disk under its name, which is returned."""
        os.fsync(self._file)
        self._file.close()
        name = f"{self.saved}-{self._hash.hexdigest()}"
        os.rename(_DRAFT, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)
        return name

    def drop(self) -> None:
        self._file.close()
        os.unlink(_DRAFT, dir_fd=self._folder)


def not_kept(error: OSError) -> str:
    """What to say where the disk refuses."""
    return f"no checkpoint is kept ({error.strerror}): a kill would cost this trial its training so far"


def sweep(parent: Path, is_over: Callable[[str], bool]) -> None:
    """Remove the shelves below a folder whose job is over, by its name, or which nobody came back for."""
    with contextlib.suppress(OSError):
        for folder in list(parent.iterdir()):
            if is_over(folder.name) or time.time() - folder.stat().st_mtime > FORGOTTEN_S:
                remove_tree(folder)
        parent.rmdir()

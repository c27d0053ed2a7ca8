"""What a job leaves in its scratch folder is removed, whatever it is."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, whatever its depth, names and modes; what cannot be removed stays.

    The folders in a folder are moved to the top before it is removed, so that neither the stack nor the number of
    open files grows with the depth. Links are removed and not followed.
    """
    with contextlib.suppress(OSError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            waiting = _emptied(".", top)
            while waiting:
                name = waiting.pop()
                with contextlib.suppress(OSError):
                    waiting += _emptied(name, top)
                    os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
        folder.rmdir()


def _emptied(name: str, top: int) -> list[str]:
    """Remove the files of a folder and move its folders to the top; their names there."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    moved = []
    try:
        for entry in list(os.scandir(fd)):
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.name, 0o700, dir_fd=fd)  # it may have been locked
                    moved.append(uuid.uuid4().hex)
                    os.rename(entry.name, moved[-1], src_dir_fd=fd, dst_dir_fd=top)
                else:
                    os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    return moved

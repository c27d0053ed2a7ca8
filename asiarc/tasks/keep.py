"""The cache folder: what is built once for tasks, and kept in files for jobs to open by a key.

``$ASIARC_CACHE``, else ``$XDG_CACHE_HOME/asiarc``, else ``~/.cache/asiarc``. Texts are in ``corpora/``, tasks of one's
own in ``own/``, a folder each, where the file `OPEN` is all that a candidate's process may read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asiarc.core.errors import TaskError

OPEN = "open.json"


def cache_folder() -> Path:
    """Where built corpora are kept; asked anew each time, so that the environment may move it."""
    if "ASIARC_CACHE" in os.environ:
        return Path(os.environ["ASIARC_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asiarc"


def own_folder(key: str) -> Path:
    """Where a task of one's own is kept."""
    return cache_folder() / "own" / key


def as_json(data: Any) -> bytes:
    """Plain data as a file holds it."""
    return json.dumps(data).encode()


def keep_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """All files of a folder at once: a rename decides between processes that build the same one. Raises `TaskError`."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
    except OSError as error:
        raise no_access(folder.parent, error) from error
    try:
        for name, content in files.items():
            (draft / name).write_bytes(content)
        draft.chmod(0o755)  # a worker may run as another user
        with contextlib.suppress(OSError):  # another process was first, with the same bytes
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_kept(key: str, name: str) -> Any:
    """A file of a task of one's own, as plain data. Raises `TaskError` where the cache does not hold it any more."""
    file = own_folder(key) / name
    try:
        return json.loads(file.read_bytes())
    except PermissionError as error:
        raise no_access(file, error) from error
    except (OSError, ValueError) as error:
        raise gone(key) from error


def gone(key: str) -> TaskError:
    """What to say of a task of one's own that is not there, or not as it was kept."""
    return TaskError(f"the task {key} is not kept in {cache_folder()}: run again the campaign that names its file.")


def no_access(folder: Path, error: OSError) -> TaskError:
    """What to say where the cache cannot be used."""
    return TaskError(f"cannot keep text in {folder} ({error.strerror}): set ASIARC_CACHE to a folder of your own.")

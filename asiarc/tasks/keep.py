"""The cache folder: what is built once for tasks, and kept in files for jobs to open by a key.

``$ASIARC_CACHE``, else ``$XDG_CACHE_HOME/asiarc``, else ``~/.cache/asiarc``. Texts are in ``corpora/``, tasks of one's
own in ``own/``, a folder each, where the file `OPEN` is all that a candidate's process may read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
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
    """All files of a folder at once, in the place of what differs from them there. Processes that build the same one
    take turns, so that none removes what another has just put there. Raises `TaskError`."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
    except OSError as error:
        raise no_access(folder.parent, error) from error
    try:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        draft.chmod(0o755)  # a worker may run as another user
        with _turn(folder.parent):
            if not _holds(folder, files):
                shutil.rmtree(folder, ignore_errors=True)
                draft.rename(folder)
    except OSError as error:
        raise no_access(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    with contextlib.suppress(OSError):
        return all((folder / name).read_bytes() == content for name, content in files.items())
    return False


def packed_folder(name: str) -> tuple[str, dict[str, bytes]]:
    """The hash and the files of a folder of the cache, for the way to another machine."""
    folder = cache_folder() / name
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}
    return _hash_of(files), files


def unpack_folder(name: str, content_hash: str, files: Mapping[str, bytes]) -> None:
    """Keep a folder that another machine packed. Raises `TaskError` where its bytes are not those of its hash."""
    if _hash_of(files) != content_hash:
        raise TaskError(f"{name} did not arrive as it was sent: run again.")
    keep_files(cache_folder() / name, files)


def _hash_of(files: Mapping[str, bytes]) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for name in sorted(files):
        hashed.update(json.dumps([name, len(files[name])]).encode() + files[name])
    return hashed.hexdigest()


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

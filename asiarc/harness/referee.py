"""`asiarc referee`: who owns the store, the seeds and what is held out, and answers proposals by a socket.

Nothing that is asked chooses a path, a setting or a process of its own: a request names a verb, an open campaign of the
referee's project, and text. Requests are read side by side and answered one after another, in the order in which they
were whole; the archive keeps that order, so that a referee that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import queue
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from hmac import compare_digest
from pathlib import Path
from typing import Any, NamedTuple

import asiarc
from asiarc.archive.secret import seal
from asiarc.archive.store import Archive
from asiarc.core.errors import AsiarcError, CampaignError, RefereeError, unknown_name
from asiarc.core.recipe import Tier
from asiarc.execution.layers import undumpable
from asiarc.harness import wire
from asiarc.harness.desk import Desk
from asiarc.harness.door_verbs import door_of
from asiarc.loop.door import Door
from asiarc.loop.feedback import Laddered
from asiarc.tasks.keep import cache_folder

WAITING = 16  # connections of one user at once
FILES = 64  # of one proposal
TEXTS = {"campaign": 80, "author": 80, "file": 120, "parent": 64, "idea": 2_000}  # most characters
TICK_S = 1.0  # answers leave at whole ones, so that what is kept and what is new take the same
Row = dict[str, Any]


class Caller(NamedTuple):
    """Who asks: a user of this machine, or the owner of a token (`user` is empty)."""

    name: str
    user: str
    connection: socket.socket
    line: bytes


class Referee:
    """Answers requests; `door` opens a campaign's door by its name for one request."""

    def __init__(self, door: Callable[[str], AbstractContextManager[Door]], *, decides: bool = True) -> None:
        self.door, self.decides = door, decides

    def line(self, said: bytes, who: str) -> bytes:
        """The line that answers a line."""
        try:
            told = {"answer": self.answer(_request(said), who)}
        except AsiarcError as error:
            told = {"error": [type(error).__name__, str(error)]}
        return json.dumps({"asiarc": wire.VERSION, **told}, default=str).encode() + b"\n"

    def answer(self, request: Row, who: str) -> Any:
        """The answer to a request. Raises the errors of the door, and `RefereeError` for what is no request."""
        verb = _text(request, "verb", 20)
        if verb not in VERBS:
            raise RefereeError(unknown_name("verb", verb, VERBS))
        if verb == "verdict" and not self.decides:
            raise RefereeError("verify closes the door: the owner of this referee says when, with pytest campaigns")
        name = _text(request, "campaign")
        if not re.fullmatch(r"\w+", name):
            raise CampaignError(f"{name!r} is no campaign's name; a referee takes the name of an open one, no path")
        author = f"{_text(request, 'author') or 'somebody'} @{who}"
        with self.door(name) as door:
            if request.get("tier", door.run.tier) != door.run.tier:
                raise RefereeError(f"this referee stands at tier {door.run.tier}, not {str(request['tier'])[:20]!r}")
            return VERBS[verb](Desk(door, Laddered), request, author)


def _propose(desk: Desk, request: Row, author: str) -> Any:
    given = request.get("files")
    if not isinstance(given, list) or not 0 < len(given) <= FILES:
        raise RefereeError(f"files is a list of 1 to {FILES} objects with file and source")
    files = dict(map(_file, given))
    if len(files) < len(given):
        raise RefereeError("two files of one name; give each its own")
    parent, idea = _text(request, "parent"), _text(request, "idea")
    return desk.propose(files, parent=parent, idea=idea, author=author)


VERBS: Mapping[str, Callable[[Desk, Row, str], Any]] = {
    "propose": _propose,
    "brief": lambda desk, _, author: desk.brief(author),
    "tried": lambda desk, request, _: desk.tried(*_file(request)),
    "standings": lambda desk, _, author: desk.standings(author),
    "verdict": lambda desk, *_: desk.verdict(),
}


def _file(given: Any) -> tuple[str, str]:
    if not isinstance(given, dict) or not isinstance(given.get("source"), str):
        raise RefereeError("a file is an object with the texts file and source")
    try:
        given["source"].encode()
    except UnicodeEncodeError as error:
        raise RefereeError("a source that is no Unicode text; save the file as UTF-8") from error
    return _text(given, "file") or "candidate", given["source"]


def _text(given: Mapping[str, Any], name: str, most: int = 0) -> str:
    """A short text of one line that a screen can show. Raises `RefereeError`."""
    text, most = given.get(name, ""), most or TEXTS[name]
    if not isinstance(text, str) or len(text) > most or not text.isprintable():
        raise RefereeError(f"{name} is one line of at most {most} printable characters, not {str(text)[:40]!r}")
    return text


def _request(said: bytes) -> Row:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise RefereeError("a request is one line of JSON") from error
    if not isinstance(found, dict) or found.get("asiarc") != wire.VERSION:
        version = found.get("asiarc") if isinstance(found, dict) else None
        raise RefereeError(
            f"a request of version {str(version)[:20]}, this referee speaks {wire.VERSION}: install the same asiarc"
        )
    return found


# --- the socket -------------------------------------------------------------------------------------------------------


class Server:
    """Listens, reads requests side by side and answers them in their order, until `stop` is called."""

    def __init__(
        self, referee: Referee, *, tokens: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.referee, self.tokens, self.clock, self.pause = referee, tokens or {}, clock, pause
        self._queue: queue.Queue[Caller | None] = queue.Queue()
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()

    def listen(self, listener: socket.socket) -> None:
        """Take connections from now on, in a thread of their own."""
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Answer what was read so far, and no more."""
        self._queue.put(None)

    def serve(self) -> None:
        """Answer, one after another."""
        while (caller := self._queue.get()) is not None:
            begun = self.clock()
            said = self.referee.line(caller.line, caller.name)
            self.pause(-(self.clock() - begun) % TICK_S)
            _send(caller.connection, said)
            self._done(caller.user)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed: no more come
            while True:
                connection, _ = listener.accept()
                who = user_of(connection) if listener.family == socket.AF_UNIX else ""
                with self._lock:
                    self._waiting[who] += 1
                    is_one_too_many = self._waiting[who] > WAITING
                if is_one_too_many:
                    self._refuse(connection, who, RefereeError(f"{WAITING} connections at once, ask one by one"))
                else:
                    threading.Thread(target=self._read, args=(connection, who), daemon=True).start()

    def _read(self, connection: socket.socket, who: str) -> None:
        try:
            line = wire.read_line(connection, wire.READ_S)
            self._queue.put(Caller(who or self._by_token(line), who, connection, line))
        except (AsiarcError, OSError) as error:
            self._refuse(connection, who, error)

    def _done(self, user: str) -> None:
        with self._lock:
            self._waiting[user] -= 1

    def _refuse(self, connection: socket.socket, who: str, error: Exception) -> None:
        self._done(who)
        _send(connection, json.dumps({"asiarc": wire.VERSION, "error": ["RefereeError", str(error)]}).encode() + b"\n")

    def _by_token(self, line: bytes) -> str:
        """Whose token a request has. Raises `RefereeError`."""
        given = str(_request(line).get("token")).encode(errors="replace")
        for name, token in self.tokens.items():
            if compare_digest(given, token.encode()):
                return name
        raise RefereeError(f"that is nobody's token here; {wire.TOKEN} names the file that holds yours")


def _send(connection: socket.socket, line: bytes) -> None:
    """Write an answer to whoever still listens."""
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.settimeout(wire.READ_S)
        connection.sendall(line)


def user_of(connection: socket.socket) -> str:
    """The name of the user at the other end of a Unix socket."""
    uid = wire.uid_of(connection)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def unix_listener(path: Path) -> socket.socket:
    """A Unix socket that everybody may connect to. Raises `RefereeError` where a referee listens there already, where
    something else lies, or where others could put their own in its place."""
    if wire.is_open(path.absolute().parent):
        raise RefereeError(f"others may write in {path.absolute().parent} and replace the socket; give another folder")
    if path.is_socket():
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as other:
            if other.connect_ex(str(path)) == 0:
                raise RefereeError(f"a referee listens at {path} already; ask that one, or give another path")
        path.unlink()  # of one that was killed
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise RefereeError(f"no socket can be made at {path}: {error.strerror}; give another path") from error
    path.chmod(0o666)
    listener.listen()
    return listener


# --- what has to hold first -------------------------------------------------------------------------------------------


def require_private(folder: Path, what: str) -> None:
    """A folder that its owner, who runs this, alone may enter, where no other can put another in its place; it is made
    where it is missing. Raises `RefereeError`."""
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RefereeError(
            f"{what} {folder} has mode {found.st_mode & 0o777:o} and user {found.st_uid}: others may read what it "
            f"hides; chmod 700 {folder} as its owner, user {os.getuid()}, or give another"
        )
    for above in folder.resolve().parents:
        if wire.is_open(above):
            raise RefereeError(f"others may write in {above} and replace {what} {folder}; put it elsewhere")


def require_unwritable(paths: Mapping[str, Path]) -> None:
    """Code that nobody but root and who runs this can change. Raises `RefereeError`."""
    for what, path in paths.items():
        found = path.stat()
        if found.st_mode & 0o022 or found.st_uid not in (0, os.getuid()):
            raise RefereeError(
                f"{what} {path} can be changed by others (mode {found.st_mode & 0o777:o}, user {found.st_uid}): a "
                f"referee runs it; chmod go-w {path} as user {os.getuid()}"
            )


def read_tokens(file: Path) -> dict[str, str]:
    """Who may ask over TCP: lines ``NAME TOKEN`` of a file that nobody else may read. Raises `RefereeError`."""
    try:
        is_seen, lines = file.stat().st_mode & 0o077, file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RefereeError(f"{file} cannot be read: {error}; it has a line NAME TOKEN for each who may ask") from error
    found = dict(line.split() for line in lines if len(line.split()) == 2)
    if is_seen or not found or any(len(token) < 16 for token in found.values()):
        raise RefereeError(
            f"{file} has a line NAME TOKEN for each who may ask, tokens of 16 characters at least, and is readable by "
            f"its owner alone: chmod 600 {file}"
        )
    return found


def of_project(name: str, *, tier: Tier, store: Path, workers: int) -> AbstractContextManager[Door]:
    """The door of an open campaign of this project, whose file nobody else can change."""
    return door_of(name, tier, store, workers, checked=lambda file: require_unwritable({"the campaign": file}))


@contextlib.contextmanager
def standing(
    path: Path, listen: str | None, tokens: Path | None, referee: Referee, **timed: Callable[..., Any]
) -> Iterator[Server]:
    """A server that listens at a path, and at HOST:PORT for who has a token of a file."""
    server = Server(referee, tokens=read_tokens(tokens) if tokens else None, **timed)
    server.listen(unix_listener(path))
    if listen:
        server.listen(socket.create_server(wire.host_and_port(listen)))
    try:
        yield server
    finally:
        path.unlink(missing_ok=True)


def prepare(store: Path) -> str:
    """Shut the store and this process to others, and give the store a secret; its commitment. Raises `RefereeError`
    where others could read or change what the referee rests on."""
    os.umask(0o077)
    os.environ.setdefault("ASIARC_CACHE", str(store.absolute() / "cache"))
    require_private(store, "the store")
    require_private(cache_folder(), "the cache of texts")
    require_unwritable({"the package": Path(asiarc.__file__).parent, "the project": Path.cwd()})
    undumpable()
    with Archive(store) as archive:
        return seal(archive).commitment

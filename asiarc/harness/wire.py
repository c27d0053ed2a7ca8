"""How the agent's side asks a referee: one line of JSON each way, on a Unix socket or on HOST:PORT.

    {"asiarc": 1, "verb": "propose", ...}\\n    ->    {"asiarc": 1, "answer": ...}\\n  or  {..., "error": [kind, text]}

One request a connection, bounded in size and time. On a Unix socket the kernel says who asks; over TCP a token does,
which is sent as it is: let the port be this machine's own, or the end of a tunnel.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asiarc.core import errors
from asiarc.core.errors import AsiarcError, RefereeError

VERSION = 1
MOST_BYTES = 8 << 20  # of a line
READ_S = 10.0  # for a whole request, and for one to be written
TOKEN = "ASIARC_REFEREE_TOKEN"  # names the file that holds one
_PEER = struct.Struct("3i")


def ask(where: str, request: Mapping[str, Any]) -> Any:
    """A referee's answer; it takes as long as the training does.

    Raises what the referee raised, and `RefereeError` where none can be asked.
    """
    line = json.dumps({"asiarc": VERSION, **_token(where), **request}).encode() + b"\n"
    if len(line) > MOST_BYTES:
        raise RefereeError(f"{len(line):,} bytes to ask, {MOST_BYTES:,} are allowed; propose fewer files at once")
    try:
        with contextlib.closing(_connected(where)) as connection:
            connection.sendall(line)
            connection.settimeout(None)
            said = read_line(connection, None)
    except OSError as error:
        raise RefereeError(
            f"no referee answers at {where}: {error.strerror or error}; its owner starts one with: asiarc referee"
        ) from error
    return _answer(said, where)


def _answer(said: bytes, where: str) -> Any:
    try:
        told = json.loads(said)
        if "error" in told:
            kind, text = map(str, told["error"])
            error = getattr(errors, kind, RefereeError)
            is_ours = isinstance(error, type) and issubclass(error, AsiarcError)
            raise (error if is_ours else RefereeError)(text)
        return told["answer"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefereeError(
            f"the referee at {where} hung up or does not speak as asiarc does; what it keeps goes on when it is asked "
            "again"
        ) from error


def _token(where: str) -> dict[str, str]:
    if _is_path(where):
        return {}
    named = os.environ.get(TOKEN)
    if not named:
        raise RefereeError(f"{where} asks for a token: {TOKEN} names the file that holds yours")
    try:
        return {"token": Path(named).read_text(encoding="utf-8").strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise RefereeError(f"{TOKEN}={named} cannot be read: {error}") from error


def _is_path(where: str) -> bool:
    return "/" in where or ":" not in where


def _connected(where: str) -> socket.socket:
    if not _is_path(where):
        return socket.create_connection(host_and_port(where), READ_S)
    with contextlib.ExitStack() as until_it_is_sound:
        connection = until_it_is_sound.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(READ_S)
        connection.connect(where)
        owner, listens = os.lstat(where).st_uid, uid_of(connection)
        if owner != listens or is_open(Path(where).absolute().parent):
            raise RefereeError(
                f"{where} belongs to user {owner} and user {listens} listens there, or others may write in its folder: "
                "it may have been put there by somebody else. Ask who runs the referee for its socket"
            )
        until_it_is_sound.pop_all()
    return connection


def host_and_port(text: str) -> tuple[str, int]:
    """``HOST:PORT`` in its parts. Raises `RefereeError`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise RefereeError(f"{text!r} is no HOST:PORT; give one as 127.0.0.1:7070, or the path of a Unix socket")
    return host, int(port)


def uid_of(connection: socket.socket) -> int:
    """Who is at the other end of a Unix socket: the kernel's word."""
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(said)[1])


def is_open(folder: Path) -> bool:
    """Whether others may put something in the place of what lies in a folder."""
    mode = folder.stat().st_mode
    return bool(mode & 0o022) and not mode & stat.S_ISVTX


def read_line(connection: socket.socket, within_s: float | None, clock: Callable[[], float] = time.monotonic) -> bytes:
    """One line, and nothing after it, until the other end has it written or closes.

    Raises `RefereeError` for one that is too long, takes longer than `within_s`, or is followed by another.
    """
    ends, line = None if within_s is None else clock() + within_s, bytearray()
    while not line.endswith(b"\n"):
        if ends is not None:
            connection.settimeout(max(0.001, ends - clock()))
        try:
            part = connection.recv(1 << 16)
        except TimeoutError as error:
            raise RefereeError(f"no whole request within {within_s:g} s; send it as one line") from error
        if ends is not None and clock() > ends:
            raise RefereeError(f"no whole request within {within_s:g} s; send it as one line")
        line += part
        if not part:
            break
        if len(line) > MOST_BYTES:
            raise RefereeError(f"more than {MOST_BYTES:,} bytes in a request; propose fewer files at once")
    if b"\n" in line[:-1]:
        raise RefereeError("two requests in one: a connection is for one; nothing was done")
    return bytes(line)

"""Messages over pipes: eight bytes of length, then the bytes. JSON inside, never pickle."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

_LENGTH = struct.Struct(">Q")


def send(fd: int, message: bytes, *, write: Callable[[int, memoryview], int] = os.write) -> None:
    """Write one message whole."""
    write_all(fd, _LENGTH.pack(len(message)) + message, write=write)


def write_all(fd: int, data: bytes, *, write: Callable[[int, memoryview], int] = os.write) -> None:
    """Write every byte."""
    rest = memoryview(data)
    while rest:
        rest = rest[write(fd, rest) :]


def receive(fd: int, limit: int) -> bytes:
    """Read one message and not a byte more; `EOFError` at the end, `ValueError` for more than `limit` bytes."""
    length = _LENGTH.unpack(_exactly(fd, _LENGTH.size))[0]
    if length > limit:
        raise ValueError(f"a message of {length} bytes where at most {limit} are asked for")
    return _exactly(fd, length)


def _exactly(fd: int, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        chunk = os.read(fd, min(count - len(got), 1 << 20))
        if not chunk:
            raise EOFError("the other side hung up")
        got += chunk
    return bytes(got)


def take(buffer: bytearray) -> bytes | None:
    """Remove the first complete message from the buffer, or return None until it is all there."""
    if len(buffer) < _LENGTH.size:
        return None
    end = _LENGTH.size + _LENGTH.unpack_from(buffer)[0]
    if len(buffer) < end:
        return None
    message = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return message

"""Messages over pipes: eight bytes of length, then the bytes. JSON inside, never pickle."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

_LENGTH = struct.Struct(">Q")


def send(fd: int, message: bytes, *, write: Callable[[int, memoryview], int] = os.write) -> None:
    """Write one message whole."""
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[write(fd, rest) :]


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

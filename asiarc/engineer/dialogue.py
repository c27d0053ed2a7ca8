"""What a trial's referee asks of the trained model, and how it is answered: token ids there, logits back.

Axes: R rows (documents), T tokens, V vocabulary.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asiarc.core.outcome import DivergedError
from asiarc.execution.line import Line, LineError

Tokens = NDArray[np.int64]
Logs = NDArray[np.float64]
Reading = Literal["open", "next", "whole"]
"""`open` begins new documents and `next` goes on with them, each answered after its last token; `whole` reads documents
of its own and is answered after every token."""

_QUESTION = struct.Struct("<cII")  # what is asked, rows, tokens
_CODES: dict[Reading, bytes] = {"open": b"O", "next": b"N", "whole": b"W"}
_END = b"E"
_QUESTION_BYTES = 1 << 30


@dataclass(frozen=True)
class Model:
    """A trained model at the other end of a line, which knows nothing but what it has been given to read."""

    line: Line
    vocab_size: int

    def read(self, reading: Reading, tokens_RT: Tokens) -> Logs:
        """log p of every next token: [R, V] after the last token, or where `whole` [R, T, V] after each.

        Raises `LineError` for an answer of another size and `DivergedError` where one is not a number.
        """
        rows, tokens = tokens_RT.shape
        self.line.send(_QUESTION.pack(_CODES[reading], rows, tokens) + tokens_RT.astype("<i4").tobytes())
        shape = (rows, tokens, self.vocab_size) if reading == "whole" else (rows, self.vocab_size)
        size = 4 * int(np.prod(shape))
        answer = self.line.receive(size)
        if len(answer) != size:
            raise LineError(f"{len(answer)} bytes of logits where {size} were asked for")
        logits = np.frombuffer(answer, dtype="<f4").reshape(shape).astype(np.float64)
        if not np.isfinite(logits).all():
            raise DivergedError("diverged: a logit is not a number when the trained model is scored")
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def end(self) -> None:
        """Nothing more is asked."""
        self.line.send(_QUESTION.pack(_END, 0, 0))


def answer_all(line: Line, read: Callable[[Reading, Tokens], NDArray[np.float32]]) -> None:
    """Answer what a `Model` asks, until it ends; `read` gives the logits, [R, V] or [R, T, V]."""
    readings = {code: reading for reading, code in _CODES.items()}
    while True:
        question = line.receive(_QUESTION_BYTES)
        code, rows, tokens = _QUESTION.unpack_from(question)
        if code == _END:
            return
        ids_RT = np.frombuffer(question, dtype="<i4", offset=_QUESTION.size).reshape(rows, tokens)
        line.send(np.ascontiguousarray(read(readings[code], ids_RT.astype(np.int64)), dtype="<f4").tobytes())

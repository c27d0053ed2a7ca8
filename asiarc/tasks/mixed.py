"""Real prose with something to remember in it: marked spans of five bytes between its words, scored apart.

``<k=v>`` binds key k, ``<k?v>`` asks for it, ``<k++>`` counts one more of k; keys and values are letters and digits, as
prose has them. In *recall* a key is bound once and asked for often, in *overwrite* it is bound again and again and the
last value is due, in *counting* the due value is the count of k so far modulo 10. The rest of a row is `text`. What
follows a ``?`` is trained on, and scored where its key stood last so far back that no control of two layers reaches it;
the prose is read and not trained on: beside it, answers are too few to be learnt at the smallest sizes.

A row draws its keys from all letters, and asks for all alike. Where the level says `zipf`, keys are the first letters
in all rows, bound as often as 1 over their rank says and asked for as 1 over its root, as words are used: what recall
takes is learnt from the frequent ones, within 100 steps on every seed, and the rare ones stand far back.

Axes: B rows, T positions.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asiarc.core.seeds import Part
from asiarc.tasks import BOS, IGNORE
from asiarc.tasks.recurring import FAR
from asiarc.tasks.task import Batch, Document, Split, TextTask

SPAN_BYTES = 5
KEYS, VALUES = string.ascii_uppercase, string.ascii_lowercase[:16]
OPEN, BLANK = b"< "


class MixedTask(TextTask):
    """`text` with spans; the level's ``kind`` is 0 recall, 1 overwrite, 2 counting, `spans` how many a row has, and
    with `zipf` some keys are more frequent than others."""

    trains_on_answers = True

    def batch(self, split: Split, count: int, *address: Part, seq_len: int | None = None) -> Batch:
        """Rows of prose and spans, whose answers are targets. Longer rows have more spans in proportion."""
        rows_BT = self._rows(split, count, address, seq_len or self.seq_len)
        inputs_BT = np.concatenate([np.full((count, 1), BOS), rows_BT[:, :-1]], axis=1)
        is_answer_BT = np.stack([np.isin(np.arange(rows_BT.shape[1]), list(answers(row_T))) for row_T in rows_BT])
        return Batch(inputs_BT, np.where(is_answer_BT, rows_BT, IGNORE))

    def documents(self, split: Split, count: int, *address: Part) -> list[Document]:
        """`count` rows as ``text``."""
        rows_BT = self._rows(split, count, (*address, "documents"), self.seq_len)
        return [{"text": row_T.astype(np.uint8).tobytes().decode("ascii")} for row_T in rows_BT]

    def scored(self, tokens_T: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The bytes that answer a question whose key stood last at least `FAR` bytes before; of the text alone."""
        is_due_T = np.zeros(len(tokens_T), dtype=bool)
        is_due_T[[place for place, back in answers(tokens_T).items() if back >= FAR]] = True
        return is_due_T

    def _rows(self, split: Split, count: int, address: tuple[Part, ...], length: int) -> NDArray[np.int64]:
        rng, text_N = self._rng(split, address), self.corpus.texts[split]
        spans = max(2, int(self.settings["spans"]) * length // self.seq_len)
        prose = length - SPAN_BYTES * spans
        rows = np.empty((count, length), dtype=np.int64)
        for row_T in rows:
            start = int(rng.integers(len(text_N) - prose + 1))
            words = bytes(text_N[start : start + prose]).replace(b"<", b" ")
            between = [place for place, byte in enumerate(words) if byte == BLANK] or [0]
            cuts = [0, *sorted(rng.choice(between, size=spans).tolist()), prose]
            pieces = [words[a:b] for a, b in pairwise(cuts)]
            told = [span.encode() for span in self._spans(rng, spans)]
            row_T[:] = np.frombuffer(b"".join(a + b for a, b in zip(pieces, [*told, b""], strict=True)), dtype=np.uint8)
        return rows

    def _spans(self, rng: np.random.Generator, spans: int) -> list[str]:
        """The spans of one row in order: the first binds, of the rest every other one asks, on average."""
        kind, is_zipf, count = int(self.settings["kind"]), "zipf" in self.settings, int(self.settings["keys"])
        keys = list(KEYS[:count]) if is_zipf else [KEYS[i] for i in rng.permutation(len(KEYS))[:count]]
        known, told = dict[str, str](), list[str]()
        for _ in range(spans):
            key = _drawn(rng, keys, 1.0) if is_zipf else keys[rng.integers(len(keys))]
            asks = bool(known) and (rng.random() < 0.5 or (kind == 0 and key in known))
            if asks:
                asked = _drawn(rng, sorted(known), 0.5) if is_zipf else list(known)[rng.integers(len(known))]
                told.append(f"<{asked}?{known[asked]}>")
            elif kind == 2:
                known[key] = str((int(known.get(key, "0")) + 1) % 10)
                told.append(f"<{key}++>")
            else:
                known[key] = VALUES[rng.integers(len(VALUES))]
                told.append(f"<{key}={known[key]}>")
        return told


def _drawn(rng: np.random.Generator, keys: Sequence[str], power: float) -> str:
    """One of some keys, as often as its rank in the alphabet to the minus `power` says."""
    weights = np.array([1.0 + KEYS.index(key) for key in keys]) ** -power
    return keys[rng.choice(len(keys), p=weights / weights.sum())]


def answers(tokens_T: NDArray[np.int64]) -> dict[int, int]:
    """The place of every answer in a row, and how many bytes before its question the key stood last."""
    found, last = dict[int, int](), dict[int, int]()
    for opens in np.flatnonzero(tokens_T[:-3] == OPEN).tolist():
        key, mark = (int(tokens_T[opens + place]) for place in (1, 2))
        if mark == ord("?") and key in last:
            found[opens + 3] = opens - last[key]
        last[key] = opens
    return found

"""The referee of a trial: scores a trained model that it does not hold, one token at a time.

It runs outside the sandbox (`execution.job`). The model reads the next token of many documents at once, answers with
its logits, and only then is given the next: what is scored is what a decoder would have had, so to look ahead gains
nothing, whatever it looks like. What nobody scores is read at once. Beside it, one plain pass over a few documents that
have been read already, which is no evidence: where it differs from what was streamed, the model is another one in
training than in use, and the trial is rejected.

Axes: R rows (documents), T tokens, V vocabulary.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asiarc.core.digest import digest
from asiarc.core.outcome import DivergedError
from asiarc.core.recipe import SIZE_TOLERANCE, TrialRecipe
from asiarc.core.seeds import seed_of
from asiarc.engineer.dialogue import Logs, Model, Tokens
from asiarc.engineer.scoring import Score, has_lm_eval, score_documents, windows
from asiarc.engineer.within import Streamed, everything, of_part, summed
from asiarc.execution.line import Line, LineError
from asiarc.tasks import get_task
from asiarc.tasks.tokenizer import Tokenizer, tokenizer_of

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM

    from asiarc.tasks.task import Task
elif has_lm_eval():
    from lm_eval.api.model import TemplateLM
else:
    TemplateLM = object  # `scoring` asks then, and needs no more than is here

ROWS = 256  # documents that are read side by side
SAMPLE = 8  # documents of a trial that are read a second time, whole
SAMPLE_NUMBERS = 1 << 24  # probabilities that are kept for it: of a large vocabulary, those after some tokens
FAR = 5e-3  # total variation between two readings of the same token beyond which it is not rounding
TOLD_BYTES = 1 << 20
ENDINGS = ("size", "diverged")


class RejectedError(Exception):
    """The model gave itself away; the trial ends as rejected by `gate`."""

    def __init__(self, gate: str, reason: str) -> None:
        super().__init__(reason)
        self.gate = gate


@dataclass
class Row:
    """One text to read and what is asked of it: each question's place, the first position whose logits answer it, and
    the tokens that are due from there on."""

    inputs_T: Tokens  # noqa: N815
    asked: list[tuple[int, int, list[int]]]

    @property
    def first(self) -> int:
        """The first position at which something is asked."""
        return min(position for _, position, _ in self.asked)


class Due(NamedTuple):
    """What is asked at one position of rows that are read side by side. Axis N: questions."""

    rows_N: NDArray[np.int64]  # noqa: N815
    places_N: NDArray[np.int64]  # noqa: N815
    tokens_N: NDArray[np.int64]  # noqa: N815


def due_by_position(rows: Sequence[Row]) -> dict[int, Due]:
    """What is asked of some rows, by position."""
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        for place, first, due in row.asked:
            for position, token in enumerate(due, start=first):
                found[position].append((number, place, token))
    return {position: Due(*np.array(asked, dtype=np.int64).T) for position, asked in found.items()}


class StreamedLM(TemplateLM):
    """lm-eval's view of a `Model`: every context opens with BOS, as every trained sequence did."""

    def __init__(self, model: Model, max_length: int, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.model, self.max_length, self.tokenizer = model, max_length, tokenizer or tokenizer_of("bytes")
        self.streamed: list[Streamed] = []
        self.sample: list[tuple[Tokens, dict[int, Logs]]] = []

    @property
    def eot_token_id(self) -> int:
        """BOS, which is begin, end and padding; of bytes it is NUL."""
        return self.tokenizer.bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text."""
        return self.tokenizer.encode(string)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Both as they are in one text, where a token may be of either (lm-eval cuts before the context's last
        blanks); bytes never are."""
        pair = self.tok_encode(context), self.tok_encode(continuation)
        if self.tokenizer.pairs is not None:
            pair = super()._encode_pair(context, continuation)
        return [self.eot_token_id, *pair[0]], pair[1]

    def answers(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """`loglikelihood` of (context, continuation), for who asks without lm-eval."""
        return self._loglikelihood_tokens([(None, *self._encode_pair(*pair)) for pair in pairs])

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Nothing here generates."""
        raise NotImplementedError("a trial scores likelihoods only")

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of all tokens of each text, in windows of `max_length` that open as trained rows did."""
        pairs, owner = [], []
        for place, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            for start in range(0, len(tokens), self.max_length):
                pairs.append((None, [self.eot_token_id], tokens[start : start + self.max_length]))
                owner.append(place)
        self.streamed += [
            Streamed(place, np.array(window), np.zeros(len(window)))
            for place, (_, _, window) in zip(owner, pairs, strict=True)
        ]
        windows = self.streamed[len(self.streamed) - len(pairs) :]
        sums = [0.0] * len(requests)
        for place, (value, _) in zip(owner, self._loglikelihood_tokens(pairs, windows=windows), strict=True):
            sums[place] += value
        return sums

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        windows: Sequence[Streamed] = (),
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """(log p of the continuation, whether it is the model's own first choice) of each request; where they are
        windows of texts, each token's too."""
        log_p, is_first_choice = np.zeros(len(requests)), np.ones(len(requests), dtype=bool)
        rows = sorted(self._rows(requests), key=lambda row: (row.first, len(row.inputs_T)))
        for start in range(0, len(rows), ROWS):
            for position, due, logs_RV in self._stream(rows[start : start + ROWS]):
                found_N = logs_RV[due.rows_N, due.tokens_N]
                log_p[due.places_N] += found_N  # a question asks once at a position
                is_first_choice[due.places_N] &= logs_RV.argmax(axis=1)[due.rows_N] == due.tokens_N
                for place, found in zip(due.places_N, found_N, strict=True) if windows else ():
                    windows[place].log_p_T[position] = found
        return list(zip(log_p.tolist(), is_first_choice.tolist(), strict=True))

    def _rows(self, requests: Sequence[tuple[Any, list[int], list[int]]]) -> list[Row]:
        """One row for every text: questions that read the same share it."""
        rows: dict[tuple[int, ...], Row] = {}
        for place, (_, context, continuation) in enumerate(requests):
            tokens = [*context, *continuation][-self.max_length - 1 :]
            inputs = tuple(tokens[:-1])
            due = continuation[-len(inputs) :]
            row = rows.setdefault(inputs, Row(np.array(inputs), []))
            row.asked.append((place, len(inputs) - len(due), due))
        return list(rows.values())

    def _stream(self, rows: Sequence[Row]) -> Iterator[tuple[int, Due, Logs]]:
        """Read rows side by side, and give for every position at which something is asked that, with the logs [R, V]
        that answer it."""
        due = due_by_position(rows)
        first, longest = min(row.first for row in rows), max(len(row.inputs_T) for row in rows)
        tokens_RT = np.stack([np.pad(row.inputs_T, (0, longest - len(row.inputs_T))) for row in rows])
        sampled = range(len(rows))[-SAMPLE:] if not self.sample else range(0)
        seen: dict[int, dict[int, Logs]] = {number: {} for number in sampled}
        looked_at = {number: self._looked_at(rows[number].inputs_T) for number in sampled}
        for position in range(first, longest):
            begins = position == first
            read = tokens_RT[:, : first + 1] if begins else tokens_RT[:, position : position + 1]
            logs_RV = self.model.read("open" if begins else "next", read)
            if position in due:
                yield position, due[position], logs_RV
            for number, found in seen.items():
                if position in looked_at[number]:
                    found[position] = logs_RV[number]
        self.sample += [(rows[number].inputs_T, found) for number, found in seen.items()]

    def _looked_at(self, inputs_T: Tokens) -> set[int]:
        """The positions of a sampled text whose distributions are kept: all, or as many drawn as there is room for."""
        room = max(1, SAMPLE_NUMBERS // (SAMPLE * self.model.vocab_size))
        if len(inputs_T) <= room:
            return set(range(len(inputs_T)))
        rng = np.random.Generator(np.random.PCG64(seed_of("looked at", digest(inputs_T.tolist()))))
        return set(rng.choice(len(inputs_T), room, replace=False).tolist())

    def compare(self) -> None:
        """Read the sample again, whole; `RejectedError` where a token's distribution is another than when streamed."""
        for inputs_T, seen in self.sample:
            logs_TV = self.model.read("whole", inputs_T[None])[0]
            for position, logs_V in seen.items():
                apart = 0.5 * float(np.abs(np.exp(logs_TV[position]) - np.exp(logs_V)).sum())
                if apart > FAR:
                    raise RejectedError(
                        "streaming",
                        f"read whole, the next token after position {position} of {len(inputs_T)} has another "
                        f"distribution than read token by token (total variation {apart:.3f}, allowed are {FAR:g}): "
                        "the output at a position may depend on what came before it and on nothing else",
                    )


def score(secret: dict[str, Any], line: Line) -> dict[str, Any]:
    """One trial's verdict: metric, value and items, and the sizes of what was trained; or how it ended instead.

    Takes task, split, documents, items, recipe. `LineError` passes through: the job hung up, or talks nonsense.
    """
    recipe = TrialRecipe(**secret["recipe"])
    task = get_task(secret["task"], recipe.tokenizer)
    kept = _told(line)
    parameters = _whole(kept.get("parameters"))
    trained = {"curve": _curve(kept.get("curve")), "parameters": parameters}
    if "ended" in kept:
        kind = kept["ended"] if kept["ended"] in ENDINGS else "crashed"
        return {"ended": kind, "reason": str(kept.get("reason"))} | trained
    length = task.read_length(recipe.seq_len)
    documents = task.documents(secret["split"], secret["documents"], secret["items"])
    if recipe.tokenizer == "bytes":
        documents = windows(documents, length)
    lm = StreamedLM(Model(line, recipe.vocab_size), length, tokenizer_of(recipe.tokenizer))
    try:
        _sizes_match(parameters, kept.get("target"))
        line.send(digest(secret).encode())  # of the examination: told when nothing can be made of it any more
        found = _told(line)
        if found.get("rejected"):
            raise _rejection(found["rejected"])
        sizes = {name: _whole(found.get(name)) for name in ("hidden", "state_bytes", "flops_per_token")}
        scored = score_documents(lm, [(task, documents)])[0]
        lm.compare()
    except DivergedError as error:
        return {"ended": "diverged", "reason": str(error)} | trained
    except RejectedError as error:
        return {"ended": "rejected", "gate": error.gate, "reason": str(error)} | trained
    finally:
        lm.model.end()
    found = {"metric": scored.metric, "value": scored.value, "items": list(scored.items)}
    passes = {"passes": kept["passes"]} if "passes" in kept else {}
    return trained | sizes | passes | found | _read_with(lm, scored) | _within(lm, task, scored)


def _within(lm: StreamedLM, task: Task, scored: Score) -> dict[str, Any]:
    """Where a text's bits were lost, and the score of the part that the task is about, where it is about a part."""
    if not lm.streamed:
        return {}
    counted = task.scored if task.trains_on_answers else everything
    parts = summed(lm.streamed, of_bytes=lm.tokenizer.pairs is None, counted=counted)
    if task.scored(lm.streamed[0].tokens_T) is None:
        return {"within": parts | {"whole": scored.value}}
    value, items, uninformed = of_part(lm.streamed, task.scored)
    whole = value if task.trains_on_answers else scored.value
    return {"value": value, "items": items, "within": parts | {"uninformed": uninformed, "whole": whole}}


def _read_with(lm: StreamedLM, scored: Score) -> dict[str, Any]:
    """What a score means in tokens, where they are not bytes: bits a byte x bytes of the text = bits a token x tokens.

    Both are counted: the bytes from the text, by lm-eval, and the tokens that were scored; BOS is none of them.
    """
    if lm.tokenizer.pairs is None:
        return {}
    bits_per_token, tokens = None, sum(len(window.tokens_T) for window in lm.streamed)
    if scored.metric == "bits_per_byte":
        bits_per_token = scored.value * sum(item["value"][1] for item in scored.items) / tokens
    return {"read": {"tokenizer": lm.tokenizer.key, "tokens": tokens, "bits_per_token": bits_per_token}}


def _told(line: Line) -> dict[str, Any]:
    """What the job says of itself: a JSON object."""
    try:
        told = json.loads(line.receive(TOLD_BYTES))
    except (ValueError, RecursionError) as error:
        raise LineError(f"what was told is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise LineError(f"what was told is a {type(told).__name__}, not an object")
    return told


def _rejection(found: Any) -> RejectedError:
    if not isinstance(found, list) or len(found) != 2:
        raise LineError(f"a rejection is a gate and a reason, not {str(found)[:40]!r}")
    return RejectedError(*map(str, found))


def _whole(number: Any) -> int:
    if type(number) not in (int, float) or not 0 <= number < 2**62:
        raise LineError(f"a size is a number from 0 to 2**62, not {str(number)[:40]!r}")
    return round(number)


def _curve(rows: Any) -> list[list[float]]:
    """The curve, where it is one: it decides nothing."""
    try:
        table = np.array(rows, dtype=float)
    except (TypeError, ValueError):
        return []
    return table.tolist() if table.ndim == 2 and table.shape[1] == 3 and np.isfinite(table).all() else []


def _sizes_match(saved: int, target: Any) -> None:
    """Raise `RejectedError` where what was kept is not of the size that was asked for."""
    if target is not None and abs(saved - target) > SIZE_TOLERANCE * target:
        allowed = f"{target:,} are allowed within {SIZE_TOLERANCE:.0%}"
        raise RejectedError("size match", f"{saved:,} numbers were trained where {allowed}")

"""From the bytes of a response to what was said in it, in whatever form a server gives it: a stream of events, one JSON
body, JSON lines. Each byte is looked at a bounded number of times; how many come is the endpoint's to bound.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from asiarc.llm.exchange import ReplyFault

Event = dict[str, Any]
FIELDS = ("event", "id", "retry")  # of a stream of events, beside its data
DONE: Event = {"done_reason": "stop", "choices": None}
CUT_SHORT = ("length", "max_tokens", "max_output_tokens", "model_length")
WITHHELD = ("content_filter", "safety", "recitation", "prohibited_content", "blocklist")
BROKE_OFF = ("error", "insufficient_system_resource", "abort", "cancelled")
SAID = ("text", "response", "output_text")  # where servers put an answer that has no content
REASONED = ("reasoning_content", "reasoning", "thinking")  # where servers put what is no answer


def events(parts: Iterable[bytes]) -> Iterator[Event]:
    """The JSON objects of a response in order, and `DONE` where it says that it is complete.

    Raises ValueError where what comes is no JSON.
    """
    data, other, name = list[str](), list[str](), ""
    for line in _lines(parts):
        key, colon, value = line.partition(":")
        if key == "data" and colon:
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield from _event(data, name)
            if data[0].strip() == "[DONE]":
                return
            data, name = [], ""
        elif key == "event" and colon:
            name = value.strip()
        elif line.strip() and line[0] != ":" and not (colon and key in FIELDS):
            other.append(line)
    yield from _event(data, name)
    if other:
        yield from _body(other)


def _lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Lines that end in LF, CR or CRLF, wherever the bytes are cut."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("replace"), translate=True)
    pending = list[str]()
    for part in parts:
        first, *more = decoder.decode(part).split("\n")
        pending.append(first)
        for line in more:
            yield "".join(pending)
            pending = [line]
    yield "".join([*pending, decoder.decode(b"", final=True)])


def _event(data: list[str], name: str) -> Iterator[Event]:
    """One event; where its lines are no JSON together, each is one by itself."""
    text = "\n".join(data).strip()
    if text == "[DONE]":
        yield DONE
    elif text:
        try:
            found = [_json(text)]
        except ValueError:
            if len(data) == 1:
                raise
            found = [_json(line) for line in data if line.strip() not in ("", "[DONE]")]
        for value in found:
            if isinstance(value, dict):
                yield {"error": value.get("error") or value} if name == "error" else value


def _body(lines: list[str]) -> Iterator[Event]:
    """What came in place of a stream: one JSON value, or one a line. It is complete."""
    try:
        found = [_json("\n".join(lines))]
    except ValueError:
        found = [_json(line) for line in lines]
    yield from (value for value in found if isinstance(value, dict))
    yield DONE


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # brackets without end are no JSON either
        raise ValueError(f"what came is no JSON but begins {text[:60]!r}") from error


def text_in(content: object, kinds: tuple[str, ...] = ("text", "output_text"), depth: int = 2) -> str:
    """The text of a message's content: a text, or a list of parts of some kinds."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) and depth else []
    chosen = [part.get(kind) for part in parts for kind in kinds if part.get("type", kind) in kinds]
    return "".join(text_in(inner, depth=depth - 1) for inner in chosen)


@dataclass
class Heard:
    """What a response has said so far; of several choices the first one counts."""

    said: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    call: str = ""  # the first tool that was called, and with what
    arguments: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Any = None
    error: Any = None
    last: Event = field(default_factory=dict)
    size: int = 0  # characters

    def take(self, event: Event) -> None:
        """One more event, of a stream or the only one."""
        self.last = self.last if event is DONE else event
        self.usage = event.get("usage") or self.usage
        self.error = event.get("error") or self.error
        choices = event.get("choices", [event])  # some servers give no list of them
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("index") in (0, None, "0"):
                self._choose(choice)
        ends = (event if not choices else {}).get("done_reason")
        self.finish = self.finish or str(ends or "")

    def _choose(self, choice: Event) -> None:
        turn = choice.get("delta") or choice.get("message")
        turn = turn if isinstance(turn, dict) else choice
        reasoned = next((text for key in REASONED if (text := text_in(turn.get(key)))), "")
        content = turn.get("content")
        content = json.dumps(content) if isinstance(content, dict) else content  # it was parsed for us
        self._add(self.said, text_in(content) or next((text for key in SAID if (text := text_in(turn.get(key)))), ""))
        self._add(self.thought, reasoned or text_in(content if isinstance(content, list) else "", ("thinking",)))
        self._add(self.refusal, text_in(turn.get("refusal")))
        self._call(turn)
        ends = choice.get("finish_reason") or choice.get("done_reason") or choice.get("stop_reason")
        self.finish = str(ends).lower() if ends else self.finish

    def _add(self, texts: list[str], text: str) -> None:
        self.size += len(text)
        texts.append(text)

    def _call(self, turn: Event) -> None:
        """A call of the first tool, or a piece of it."""
        calls = turn.get("tool_calls")
        calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        made = [call.get("function") for call in calls if call.get("index") in (0, None)][:1] or [
            turn.get("function_call")
        ]
        for function in made:
            if isinstance(function, dict):
                self.call = self.call or str(function.get("name") or "unnamed")[:60]
                given = function.get("arguments")
                self._add(self.arguments, json.dumps(given) if isinstance(given, dict) else text_in(given))

    def ending(self) -> tuple[str, ReplyFault | None, str]:
        """The text, how it ended where it did not end well, and what is odd about it."""
        said, thought, called, refused = (
            _whole(parts) for parts in (self.said, self.thought, self.arguments, self.refusal)
        )
        if refused or self.finish in WITHHELD:
            return said + refused, "refusal", ""
        if self.finish in CUT_SHORT:
            return said, "truncated", "" if said.strip() else "all of it was reasoning; raise Models(reply_tokens=...)"
        if self.finish in BROKE_OFF or (not self.finish and (said or thought or called)):
            return said, "cut", ""
        if said.strip():
            return said, None, ""
        if self.call:
            note = f"the model called the tool {self.call!r}; Models(structured=False) asks for a bare file"
            return (called, None, note) if called.strip(" {}\n") else ("", "tool call", note)
        if thought.strip():
            return thought, None, "it came as reasoning alone: the server takes the whole reply for it"
        return "", "empty", ""


def _whole(parts: list[str]) -> str:
    """Parts as one text; surrogates that were cut in two are joined, and lone ones replaced."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

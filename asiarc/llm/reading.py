"""From a reply's text to data: reasoning is put aside, JSON is found wherever it stands, code wherever it is fenced.

Models wrap what they are asked for in thoughts, words and fences. A reading is lenient about the wrapping and strict
about the content: pydantic judges it, what is optional and malformed is left out, and two possible answers are none.
Every text is read in linear time.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from bisect import bisect
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError

from asiarc.core.candidate import address_of
from asiarc.core.plain import plain as readable

Model = TypeVar("Model", bound=BaseModel)
_NAME = r"(?:[a-z]+:)?(?:think(?:ing)?|thoughts?|reasoning|scratchpad|reflection)"
_CHANNEL = r"<\|channel\|>{}[^<\n]*<\|message\|>"
TAG = re.compile(  # of DeepSeek, Qwen, Magistral, Kimi, gpt-oss and their like
    rf"(?<![`\"'])(?:<(?i:{_NAME})(?:\s[^<>\n]*[^/<>\n])?\s*>|\[THINK\]|◁think▷|<\|begin_of_thought\|>)"
    rf"|{_CHANNEL.format('(?:analysis|commentary)')}"
    rf"|(?<!`)(?P<ends></(?i:{_NAME})\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|{_CHANNEL.format('final')})"
)
CONTROL = re.compile(r"<\|(?:end|return|im_end|eot_id|endoftext)\|>\s*\Z")
OPENS = re.compile(r"[ \t>]*+(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[^`\n]*+\Z")
SPACE = re.compile(r"\s*")
QUOTES = re.compile(r"\"\"\"|'''")
BEGINS = re.compile(r"^(?:from |import |class |def |@|#|[rR]?\"\"\"|[rR]?''')", re.MULTILINE)
IS_CODE = re.compile(r"^(?:[ \t]+\S|from |import |class |def |@)", re.MULTILINE)
_NOT = r"(?:unable|not able|not allowed|not permitted|not going) to"
REFUSES = re.compile(  # an apology alone refuses nothing
    r"\W*(?:(?:(?:I'?m|I am|we'?re|we are|my)\s)?(?:so |very |really |deeply )?(?:sorry|apologies|I apologi[sz]e)\b"
    r"[^.!\n]{0,80}?[,.;!]?\s*(?:but\s)?)?(?:unfortunately,?\s|as an? [^,.\n]{0,40},\s)?"
    r"(?:(?:I|we)\s(?:can'?t(?! wait)|can ?not|"
    rf"won'?t|will not|must decline|have to decline|decline|refuse|am {_NOT}|are {_NOT})|(?:I'?m|we'?re)\s{_NOT})\b",
    re.IGNORECASE,
)
TRIES = 8  # lines with a brace, or with the beginning of code, that are tried
SHORT = 600  # characters: a longer text is no plain refusal
LONGEST_CODE = 200_000  # characters; what is longer is not parsed, and is no candidate
MOST_BLOCKS = 500


class ReadingError(Exception):
    """A reply is not what was asked for; `fault` names how, the text says what to do about it."""

    def __init__(self, fault: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


def shown(text: str) -> str:
    """A text as terminals and archives like it: control characters and halves of surrogates are replaced."""
    spaced = "".join(" " if c.isspace() and c not in "\n\t" else c for c in text)
    return readable(spaced, longest=len(spaced))


# A field that people read.
Words = Annotated[str, BeforeValidator(lambda given: shown(given) if isinstance(given, str) else given)]


def plain(text: str) -> str:
    """A text with every line ended by a line feed, and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


# --- reasoning --------------------------------------------------------------------------------------------------------


def answer_in(text: str) -> str:
    """The reply without its reasoning: what stands in marks for it, or before a lone end of them.

    A mark inside of JSON or code that can be read as such is content. Raises `ReadingError` ("only reasoning").
    """
    text = CONTROL.sub("", plain(text)).rstrip()
    tags = list(TAG.finditer(text))
    if not tags or _python_fault(text) is None:
        return text
    solid = _Spans(text)
    kept, depth, start, ends = list[str](), 0, 0, False
    for tag in [tag for tag in tags if not solid.holds(tag.start())]:
        ends = bool(tag["ends"])
        is_stray = ends and tag.end() == len(text)  # no answer follows, so that it ends no reasoning
        if depth == 0 and (not ends or is_stray):
            kept.append(text[start : tag.start()])
        elif depth == 0:
            kept.clear()
        depth = max(0, depth - 1) if ends else depth + 1
        start = tag.end() if ends else start
    answer = text[start:] if ends else ""  # where a mark is too many, the last end counts
    answer = answer if depth else "".join([*kept, text[start:]])
    answer = answer if answer.strip() else "".join(kept)
    if not answer.strip():
        raise ReadingError("only reasoning", "no answer follows its reasoning; think shorter, end it, and answer")
    return answer


class _Spans:
    """Where a text holds JSON objects, and code in fences, that can be read: what stands there is content."""

    def __init__(self, text: str) -> None:
        self.spans = [(block.start, block.end) for block in fenced(text) if _is_solid(block.body)]
        self.spans = sorted({*self.spans, *((start, end) for start, end, _ in _decoded(text, []))})

    def holds(self, position: int) -> bool:
        i = bisect(self.spans, (position, len(self.spans) + position)) - 1
        return i >= 0 and self.spans[i][0] <= position < self.spans[i][1]


def _is_solid(body: str) -> bool:
    part = _decode(body, 0, [])
    return bool(part and not body[part[0] :].strip()) or _python_fault(body) is None


# --- fences and code --------------------------------------------------------------------------------------------------


class Fenced(NamedTuple):
    """A fenced block: its language in lower case, its lines, and where they stand in the text."""

    language: str
    body: str
    start: int
    end: int


def fenced(text: str) -> list[Fenced]:
    """Every fenced block; a fence inside of a block's docstring is part of it, and one that is never closed goes to
    the end."""
    lines, blocks, number = _lines(text), list[Fenced](), 0
    while number < len(lines) and len(blocks) < MOST_BLOCKS:
        opening = OPENS.match(lines[number][1])
        number += 1
        if opening:
            last = _closing(lines, number, opening[1], opening[2].lower())
            start, end = (lines[i][0] if i < len(lines) else len(text) for i in (number, last))
            body = textwrap.dedent(text[start:end])
            if last == len(lines):  # perhaps it was closed in its last line
                body = body.rstrip().removesuffix(opening[1]) + "\n"
            blocks.append(Fenced(opening[2].lower(), body, start, end))
            number = last + 1
    return blocks


def _lines(text: str) -> list[tuple[int, str]]:
    """Lines with their offsets."""
    found, offset = [], 0
    for line in text.split("\n"):
        found.append((offset, line))
        offset += len(line) + 1
    return found


def _closing(lines: list[tuple[int, str]], number: int, fence: str, language: str) -> int:
    """The line that closes a fence: outside of a docstring, or else the first that could."""
    closes = re.compile(rf"[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*\Z")
    first, quoted = len(lines), ""
    for i in range(number, len(lines)):
        line = lines[i][1]
        if closes.match(line):
            if not quoted:
                return i
            first = min(first, i)
        for quotes in QUOTES.findall(line) if language != "json" else ():
            quoted = quotes if not quoted else quoted * (quoted != quotes)
    return first if quoted else len(lines)


def _python_fault(text: str) -> int | None:
    """None for text that is Python, else the line where it is not (0: none is to blame)."""
    if len(text) > LONGEST_CODE:
        return 0
    try:
        ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 0
    except (ValueError, RecursionError, MemoryError):
        return 0
    return None


def code_of(text: str, *, defines: str) -> str:
    """The one file in a text that defines a class: the text itself, a fenced block, or code between words.

    Raises `ReadingError` ("ambiguous code" for two programs, "no code", "NUL in code").
    """
    text = plain(text)
    found = _defining(text, defines)
    if len(found) > 1 and len({address_of(code) for code in found}) > 1:
        raise ReadingError("ambiguous code", f"{len(found)} code blocks define 'class {defines}'; give one, complete")
    if not found:
        raise ReadingError(
            "no code", f"there is no code with 'class {defines}' in it; give one complete file that holds it"
        )
    code = found[-1].strip("\n") + "\n"
    if len(code) > LONGEST_CODE:
        raise ReadingError("code too long", f"the code has {len(code):,} characters; at most {LONGEST_CODE:,} are read")
    if "\0" in code:
        line = code[: code.index("\0")].count("\n") + 1
        raise ReadingError("NUL in code", f"line {line} of the code holds a NUL character; write it without")
    return code


def _defining(text: str, name: str) -> list[str]:
    """The candidates for the file that defines a class; what is no Python is one only where nothing else is."""
    defines = re.compile(rf"^[ \t]*class[ \t]+{name}\b", re.MULTILINE)
    if not defines.search(text):
        return []
    if _python_fault(text) is None:
        return [text]
    blocks = [b.body for b in fenced(text) if defines.search(b.body) and not b.body.lstrip().startswith("{")]
    sound = [body for body in blocks if _python_fault(body) is None] or _between_words(text, defines)
    return sound or blocks or [text]


def _between_words(text: str, defines: re.Pattern[str]) -> list[str]:
    """Code that stands between words without a fence: from a line that may begin it to where it ends being Python."""
    for begin in list(BEGINS.finditer(text))[:TRIES]:
        code = text[begin.start() :]
        fault = _python_fault(code)
        lines = code.split("\n")
        cut = len(lines) if fault is None else max(0, fault - 1)
        whole = "\n".join(lines[:cut])
        if not IS_CODE.search("\n".join(lines[cut:])) and defines.search(whole) and _python_fault(whole) is None:
            return [whole]
    return []


# --- JSON -------------------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """The JSON objects of a text, in order; and where that one breaks which got farthest, if any does."""

    objects: list[dict[str, Any]]
    fault: str = ""


def objects_in(text: str) -> Found:
    """The JSON objects in a text: all of it, or those in fences and those that stand between words."""
    text, faults = plain(text), list[tuple[int, str]]()
    whole = _decode(text, 0, faults) if text.lstrip()[:1] in ("{", "[") else None
    if whole and not text[whole[0] :].strip():
        return Found([data for data in [_one(whole[1])] if data is not None])
    blocks = fenced(text)
    starts = [block.start for block in blocks if block.body.lstrip()[:1] in ("{", "[")]
    parts = [part[1] for start in starts if (part := _decode(text, start, faults))]
    parts += [part for _, _, part in _decoded(_without(text, blocks), faults)]
    found = [data for data in map(_one, parts) if data is not None]
    return Found(found, _told(text, *max(faults)) if faults else "")


def _one(data: Any) -> dict[str, Any] | None:
    """The object, or the only one in a list."""
    data = data[0] if isinstance(data, list) and len(data) == 1 else data
    return data if isinstance(data, dict) else None


def _without(text: str, blocks: list[Fenced]) -> str:
    """The text with its blocks blanked, so that offsets stay."""
    parts, start = [], 0
    for block in blocks:
        parts += [text[start : block.start], " " * (block.end - block.start)]
        start = block.end
    return "".join([*parts, text[start:]])


def _decoded(text: str, faults: list[tuple[int, str]]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(start, end, object) from the first few lines that open a brace."""
    position = 0
    for _ in range(TRIES):
        brace = text.find("{", position)
        if brace < 0:
            return
        part = _decode(text, brace, faults)
        if part:
            yield brace, *part
        position = part[0] if part else text.find("\n", brace) % (len(text) + 1)


def _decode(text: str, start: int, faults: list[tuple[int, str]]) -> tuple[int, Any] | None:
    """(end, value) of the JSON at an offset; None, and its fault noted, where it breaks."""
    start = SPACE.match(text, start).end()  # type: ignore[union-attr]
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except json.JSONDecodeError as error:
        faults.append((error.pos, error.msg))
    except (ValueError, RecursionError) as error:  # a number too long, too many brackets
        faults.append((start, f"{type(error).__name__}: {error}"))
    else:
        return end, value
    return None


def _told(text: str, position: int, problem: str) -> str:
    """Where JSON breaks, for who has to mend it."""
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    before, after = text[max(0, position - 40) : position], text[position : position + 20]
    return f"its JSON breaks in line {line}, column {column}: {problem}, between {before!r} and {after!r}"


def read_model(text: str, model: type[Model], keep: Collection[str] = ()) -> Model:
    """The one JSON object of a reply that is a `model`. What is optional and malformed is left out, but for `keep`.

    Raises `ReadingError` ("invalid JSON", "wrong schema", "ambiguous JSON", "refusal", "only reasoning").
    """
    text = answer_in(text)
    found = objects_in(text)
    if not found.objects:
        raise _refusal(text) or ReadingError("invalid JSON", found.fault or "there is no JSON object in it")
    fits, misfits = [], []
    for data in found.objects:
        try:
            fits.append(fitted(data, model, keep)[0])
        except ReadingError as error:
            misfits.append((len(data.keys() & model.model_fields.keys()), error))
    if not fits:
        shared, misfit = max(misfits, key=lambda one: one[0])
        raise misfit if shared or not found.fault else ReadingError("invalid JSON", found.fault)
    if any(other != fits[0] for other in fits):
        raise ReadingError("ambiguous JSON", f"{len(fits)} JSON objects could be the answer; give one")
    return fits[0]


def _refusal(text: str) -> ReadingError | None:
    """A plain refusal: a short text of a refusing kind. It is not argued with."""
    words = " ".join(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    refuses = len(words) <= SHORT and "{" not in words and "```" not in words and REFUSES.match(words)
    return ReadingError("refusal", shown(words)) if refuses else None


def fitted(data: dict[str, Any], model: type[Model], keep: Collection[str] = ()) -> tuple[Model, list[str]]:
    """Data as a model, and what was left out or cut so that it fits; `ReadingError` where what counts does not."""
    notes: list[str] = []
    while True:
        try:
            return model.model_validate(data), notes
        except ValidationError as error:
            faults = error.errors(include_url=False)
            problems = [f"{'.'.join(map(str, p['loc'])) or 'it'}: {p['msg']}" for p in faults]
            if not _mended(data, faults, model, keep):
                reason = f"the JSON does not fit: {'; '.join(problems[:4])}"
                raise ReadingError("wrong schema", reason) from error
            notes += problems


def _mended(data: dict[str, Any], faults: list[Any], model: type[BaseModel], keep: Collection[str]) -> bool:
    """Whether the data may fit now: long texts are cut, optional parts dropped, each with what cannot be without it."""
    drop = set()
    for fault in faults:
        place = fault["loc"]
        if fault["type"] == "string_too_long":
            inner = _at(data, place[:-1])
            inner[place[-1]] = inner[place[-1]][: fault["ctx"]["max_length"]]
        elif (
            not place or (place[0] in keep and data[place[0]] is not None) or model.model_fields[place[0]].is_required()
        ):
            return False
        else:
            drop.add(place[:-1] if fault["type"] == "missing" else place)
    for place in drop:
        if not any(place[:i] in drop for i in range(1, len(place))):
            _at(data, place[:-1])[place[-1]] = None
    for place in drop:
        with suppress(TypeError, LookupError):  # what it stood in is dropped itself
            _compact(_at(data, place[:-1]))
    return True


def _at(data: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        data = data[step]
    return data


def _compact(inner: Any) -> None:
    """Drop what is None."""
    if isinstance(inner, list):
        inner[:] = [item for item in inner if item is not None]
    elif isinstance(inner, dict):
        for name in [name for name, value in inner.items() if value is None]:
            del inner[name]

"""From a reply's text to data: JSON wherever it stands, code wherever it is fenced, and a reason where neither is.

Models wrap what they are asked for in words and fences. A reading is lenient about the wrapping and strict about the
content: pydantic judges it, and two possible answers are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)


class ReadingError(Exception):
    """A reply is not what was asked for; `fault` names how, the text says what to do about it."""

    def __init__(self, fault: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


def read_model(text: str, model: type[Model]) -> Model:
    """The one JSON object of a reply, validated. Raises `ReadingError` ("invalid JSON" or "wrong schema")."""
    found = json_of(text)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc'])) or 'it'}: {p['msg']}" for p in error.errors()[:4]]
        raise ReadingError("wrong schema", f"the JSON does not fit: {'; '.join(problems)}") from error


def json_of(text: str) -> dict[str, Any]:
    """The JSON object in a text: all of it, or the first that is fenced, or the first that stands in it."""
    problem = "there is no JSON object in it"
    for piece in (text, *(body for _, body in fenced(text)), *_from_braces(text)):
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(piece.strip())
        except (json.JSONDecodeError, RecursionError) as error:
            if piece.lstrip().startswith("{"):
                problem = f"its JSON breaks: {error}"
            continue
        if isinstance(found, dict):
            return found
    raise ReadingError("invalid JSON", problem)


def _from_braces(text: str) -> Iterator[str]:
    """The text from its first few lines that open a brace."""
    for match in list(re.finditer(r"^[^\n{]*(\{)", text, re.MULTILINE))[:8]:
        yield text[match.start(1) :]


def fenced(text: str) -> list[tuple[str, str]]:
    """(language, body) of every fenced block; one that is never closed goes to the end."""
    return [(match[2].lower(), match[3]) for match in FENCE.finditer(text)]


def code_of(text: str, *, must_hold: str) -> str:
    """The code in a text: the fenced block that holds a word, or all of it where nothing is fenced.

    Raises `ReadingError` ("ambiguous code" for two such blocks that differ, "no code", "NUL in code").
    """
    blocks = [body for _, body in fenced(text)]
    holding = list(dict.fromkeys(body for body in blocks if must_hold in body)) if blocks else [text]
    if len(holding) > 1:
        raise ReadingError("ambiguous code", f"{len(holding)} code blocks define {must_hold!r}; give one, complete")
    if not holding or must_hold not in holding[0]:
        raise ReadingError(
            "no code", f"there is no code with {must_hold!r} in it; give one complete file that holds it"
        )
    if "\0" in holding[0]:
        line = holding[0][: holding[0].index("\0")].count("\n") + 1
        raise ReadingError("NUL in code", f"line {line} of the code holds a NUL character; write it without")
    return holding[0].strip("\n") + "\n"

"""What a server may not understand: the parameters of a request that can be left out or renamed, and how a refusal
names them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

Request = dict[str, Any]
LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# How a refusal may spell each parameter, and which setting does not send it.
PARAMETERS = {
    "stream_options": (r"stream[ _-]?options|include[ _-]?usage", ""),
    "seed": (r"seed", ""),
    "response_format": (
        r"response[ _-]?(?:format|schema)|json[ _-]?schema|structured[ _-]?outputs?",
        "structured=False",
    ),
    "frequency_penalty": (r"frequency[ _-]?penalty", "frequency_penalty=None"),
    "temperature": (r"temperature", "temperatures=()"),
    "stream": (r"stream(?:ing)?", ""),
    "max_tokens": (r"max[ _-]?(?:completion[ _-]?|output[ _-]?)?tokens", ""),
}
SIZE = re.compile(r"too (?:large|long|high|many|big)|exceed|context|at most|less than|maximum", re.IGNORECASE)
OPTIONAL = tuple(name for name in PARAMETERS if name not in ("stream", "max_tokens"))


def named_in(texts: Iterable[str], asked: Request) -> set[str]:
    """The parameters that a refusal names, by the first of its texts that names any that was sent."""
    sent = [name for name in PARAMETERS if name in asked or LIMITS.get(name) in asked]
    for text in texts:
        found = {n for n in sent if re.search(rf"(?<![a-z_])(?:{PARAMETERS[n][0]})(?![a-z_])", text, re.IGNORECASE)}
        if found := found - ({"max_tokens"} if is_of_size(text) else set()):
            return found
    return set()


def is_of_size(text: str) -> bool:
    """Whether a refusal is of how much was asked for, which leaving out does not mend."""
    return bool(SIZE.search(text))


def without(asked: Request, names: Collection[str]) -> Request:
    """The request without some parameters; the limit of tokens is renamed, since a cap rests on it."""
    other = {name: value for name, value in asked.items() if name not in names or name in LIMITS}
    if "stream" in names:
        other.pop("stream_options", None)
    return {LIMITS.get(name, name) if "max_tokens" in names else name: value for name, value in other.items()}


def told(names: Collection[str]) -> str:
    """What was changed for a server, and with which settings it would not have been sent."""
    changed = " and ".join(f"{n} is renamed" if n == "max_tokens" else f"{n} is left out" for n in sorted(names))
    settings = ", ".join(PARAMETERS[name][1] for name in sorted(names) if PARAMETERS[name][1])
    return changed + (f"; Models({settings}) does not send it" if settings else "")


def texts_of(body: object, whole: str) -> Iterator[str]:
    """What a refusal says, the most exact first: the parameter that it names, its message, all of it."""
    for key in ("param", "message", "detail", "error"):
        said = body.get(key) if isinstance(body, dict) else None
        if isinstance(said, list):  # how FastAPI tells what it does not take
            said = " ".join(str(item["loc"]) for item in said[:20] if isinstance(item, dict) and "loc" in item)
        if isinstance(said, str):
            yield said[:2000]
    yield whole[:4000]

"""What a language model answers when it proposes: an idea as data, with a whole file or edits of the parent's.

Read leniently, judged strictly: an edit's search text must stand in the parent exactly once (but for white space, where
nothing else could be meant), a predicted task must be one that is measured, an origin may only name what the model was
shown. What is optional and malformed is left out; a bare file counts as well as JSON.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from asiarc.core.candidate import motivation
from asiarc.core.errors import CandidateError
from asiarc.core.proposal import Origin
from asiarc.llm.reading import ReadingError, Words, answer_in, code_of, fenced, fitted, objects_in, plain, read_model

MIXER = "Mixer"
PREDICTION = re.compile(r"^Prediction:(.*)$", re.MULTILINE)
PREDICTED = re.compile(r"(?<!\S)(\S+) (better|worse|same)(?: by (\d+(?:\.\d+)?))?")
MEANT_AS_JSON = re.compile(r"^[ \t]*\{\s*\"(?:name|motivation|predicted|origins|source|edits)\"", re.MULTILINE)
LONGEST = 200  # characters of a line that is compared and shown
HOLDS_AN_IDEA = frozenset({"motivation", "source", "edits"})
ESSENTIAL = ("source", "edits")  # optional each, but never left out
UNSAID = "No motivation was given with the code."


def _magnitude(given: object) -> object:
    """A size without its sign: the direction says it."""
    return abs(given) if isinstance(given, int | float) else given


class Predicted(BaseModel):
    """One task against the parent: which way, and by how much (bits a byte, or accuracy)."""

    task: str
    direction: Literal["better", "worse", "same"]
    size: Annotated[float, BeforeValidator(_magnitude)] = Field(default=0.0, ge=0, le=10)


class Element(BaseModel):
    """One design element and where it comes from; `reference` names a cognition entry or a candidate."""

    element: Words = Field(max_length=200)
    kind: Literal["cognition", "experience", "original"]
    reference: Words = ""


class Edit(BaseModel):
    """Replace a text that stands exactly once in the parent's source."""

    search: str = Field(min_length=1)
    replace: str


def _as_name(given: str) -> str:
    """A name as the archive likes it; what else was meant is clear."""
    return re.sub(r"[^a-z0-9]+", "_", given.lower()).strip("_")[:40] or "unnamed"


class Idea(BaseModel):
    """A proposal as a model writes it: exactly one of `source` (the whole file) and `edits`."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, AfterValidator(_as_name)] = Field(description="short, lower case")
    motivation: Words = Field(min_length=20, max_length=4000, description="the idea, and why it should work")
    predicted: list[Predicted] = Field(default_factory=list, description="expected change against the parent")
    origins: list[Element] = Field(default_factory=list, description="where each design element comes from")
    source: str = Field(default="", description="the complete Python file, or empty when edits are given")
    edits: list[Edit] = Field(default_factory=list, description="search/replace edits of the parent's file")


def read_idea(text: str, *, parent: str, tasks: Collection[str]) -> Idea:
    """The idea in a reply, with its source complete. Raises `ReadingError`."""
    text = answer_in(text)
    if not _is_json(text):
        try:
            return from_code(code_of(text, defines=MIXER), tasks)
        except ReadingError as error:
            if error.fault != "no code" or any(block.language.startswith("py") for block in fenced(text)):
                raise
    try:
        idea = read_model(text, Idea, ESSENTIAL)
    except ReadingError as error:
        code = _beside(text) if error.fault == "invalid JSON" else None
        if code is None:
            raise
        return from_code(code, tasks)
    if bool(idea.source.strip()) and bool(idea.edits):
        raise ReadingError("wrong schema", "give either source or edits, both was given")
    source = _source(idea, text, parent)
    predicted = [p for p in idea.predicted if not tasks or p.task in tasks]
    return idea.model_copy(update={"source": _sound(source), "edits": [], "predicted": predicted})


def left_out(text: str) -> list[str]:
    """The optional parts of a reply that were malformed, or too long, and so are not in its idea."""
    try:
        objects = objects_in(answer_in(text)).objects
        return [note for data in objects[:1] for note in fitted(data, Idea, ESSENTIAL)[1]]
    except ReadingError:
        return []


def _is_json(text: str) -> bool:
    """Whether a reply is meant as JSON: an object in it holds an idea, or it begins like one."""
    held = any(HOLDS_AN_IDEA & data.keys() for data in objects_in(text).objects)
    return held or bool(MEANT_AS_JSON.search(text))


def _source(idea: Idea, text: str, parent: str) -> str:
    """The file that an idea stands for; a code block beside the JSON counts where the JSON holds none."""
    if idea.edits:
        return code_of(apply_edits(parent, idea.edits), defines=MIXER)
    try:
        return code_of(idea.source, defines=MIXER)
    except ReadingError as error:
        code = _beside(text) if error.fault == "no code" else None
        if code is None and not idea.source.strip():
            raise ReadingError("wrong schema", "give either source or edits, neither was given") from None
        if code is None:
            raise
        return code


def _beside(text: str) -> str | None:
    """The file in a code block beside JSON, if there is one."""
    blocks = [block.body for block in fenced(text) if not block.body.lstrip().startswith("{")]
    try:
        return code_of("".join(f"```\n{body}\n```\n" for body in blocks), defines=MIXER)
    except ReadingError as error:
        if error.fault != "no code":
            raise
        return None


def from_code(code: str, tasks: Collection[str]) -> Idea:
    """A bare file is an idea too: its docstring is the motivation, with a prediction where one stands in it."""
    try:
        words = motivation(code)
    except CandidateError:
        words = ""
    why = words if len(words) >= 20 else UNSAID
    said = PREDICTION.search(words)
    predicted = [
        Predicted(task=task, direction=direction, size=min(float(size or 0), 10))
        for task, direction, size in PREDICTED.findall(said[1] if said else "")
        if task in tasks
    ]
    name = re.split(r"[:.\n]", why)[0]
    return Idea(name=name, motivation=why[:4000], predicted=predicted, source=_sound(code))


def _sound(code: str) -> str:
    """Code that can be stored: text that no encoding takes is refused."""
    try:
        code.encode()
    except UnicodeEncodeError as error:
        raise ReadingError("unreadable code", f"the code holds characters that are no text ({error.reason})") from error
    return code


def apply_edits(source: str, edits: Sequence[Edit]) -> str:
    """The source with each edit made in turn; `ReadingError` names the edit that does not apply, and how near it is."""
    source = plain(source)
    for number, edit in enumerate(edits, start=1):
        search, new = plain(edit.search), plain(edit.replace)
        count = source.count(search)
        made = source.replace(search, new) if count == 1 else None if count else _drifted(source, search, new)
        if made is None:
            raise ReadingError("edit does not apply", f"edit {number}: {_misfit(source, search, count)}")
        source = made
    return source


def _words(text: str) -> list[str]:
    """The lines of a text without what white space says."""
    return [" ".join(line.split()) for line in text.split("\n")]


def _drifted(source: str, search: str, new: str) -> str | None:
    """The source with an edit whose search text stands in it once but for white space; None where it does not."""
    lines, wanted = source.split("\n"), search.strip("\n").split("\n")
    there, needle = "\n".join(["", *_words(source), ""]), "\n".join(["", *_words("\n".join(wanted)), ""])
    at = there.find(needle)
    if not needle.strip() or at < 0 or there.find(needle, at + 1) >= 0:
        return None
    first = there.count("\n", 0, at)
    old = lines[first : first + len(wanted)]
    pairs = {(_indent(mine), _indent(theirs)) for mine, theirs in zip(old, wanted, strict=True) if mine.strip()}
    shift, scale = min(mine - theirs for mine, theirs in pairs), max(mine / max(1, theirs) for mine, theirs in pairs)
    if all(mine == theirs + shift for mine, theirs in pairs):
        scale = 1
    elif any(mine != theirs * scale for mine, theirs in pairs):
        return None
    else:
        shift = 0
    made = [_moved(line, shift, scale) for line in new.strip("\n").split("\n")] if new.strip() else []
    return "\n".join([*lines[:first], *made, *lines[first + len(wanted) :]])


def _indent(line: str) -> int:
    """The columns before what a line says."""
    return len(line[: len(line) - len(line.lstrip())].expandtabs(4))


def _moved(line: str, shift: int, scale: float) -> str:
    return " " * max(0, round(scale * _indent(line)) + shift) + line.lstrip() if line.strip() else ""


def _misfit(source: str, search: str, count: int) -> str:
    """Why a search text is not found once: the first of its lines that is not in the file, and what is most like it."""
    if count > 1:
        return f"its search text stands {count} times in the file; add lines until it stands once"
    lines, known = source.split("\n"), set(_words(source))
    strange = next((line for line in search.split("\n") if " ".join(line.split()) not in known | {""}), None)
    if strange is None:
        return "each line of its search text is in the file, but not once and one after the other; copy them from there"
    close = difflib.get_close_matches(strange[:LONGEST], [line[:LONGEST] for line in lines], n=1, cutoff=0.4)
    hint = "; no line is like it"
    if close:
        number = next(i for i, line in enumerate(lines, start=1) if line.startswith(close[0]))
        hint = f". The nearest line is {number}: {close[0]!r}"
    return f"its line {strange[:LONGEST]!r} does not stand in the file{hint}"


def origins_of(idea: Idea, shown: Collection[str]) -> tuple[Origin, ...]:
    """The idea's origins; one that names nothing the model was shown counts as the model's own."""
    return tuple(
        Origin(element=e.element, kind=e.kind, reference=e.reference)
        if e.kind != "original" and e.reference in shown
        else Origin(element=e.element, kind="original")
        for e in idea.origins
    )


def predicted_text(predicted: Sequence[Predicted]) -> str:
    """Predictions as the archive keeps them: ``text better by 0.03, overwrite same``."""
    words = [f"{p.task} {p.direction}" + (f" by {p.size:g}" if p.size else "") for p in predicted]
    return ", ".join(words) or "nothing"

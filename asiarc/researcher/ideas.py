"""What a language model answers when it proposes: an idea as data, with a whole file or edits of the parent's.

Read leniently, judged strictly: an edit's search text must stand in the parent exactly once, a predicted task must be
one that is measured, an origin may only name what the model was shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from asiarc.core.candidate import motivation
from asiarc.core.errors import CandidateError, unknown_name
from asiarc.core.proposal import Origin
from asiarc.llm.reading import ReadingError, code_of, fenced, read_model

MIXER = "class Mixer"
PREDICTION = re.compile(r"^Prediction:(.*)$", re.MULTILINE)
PREDICTED = re.compile(r"(\S+) (better|worse|same)(?: by (\d+(?:\.\d+)?))?")


class Predicted(BaseModel):
    """One task against the parent: which way, and by how much (bits a byte, or accuracy)."""

    task: str
    direction: Literal["better", "worse", "same"]
    size: float = Field(default=0.0, ge=0, le=10)


class Element(BaseModel):
    """One design element and where it comes from; `reference` names a cognition entry or a candidate."""

    element: str = Field(max_length=200)
    kind: Literal["cognition", "experience", "original"]
    reference: str = ""


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
    motivation: str = Field(min_length=20, max_length=4000, description="the idea, and why it should work")
    predicted: list[Predicted] = Field(default_factory=list, description="expected change against the parent")
    origins: list[Element] = Field(default_factory=list, description="where each design element comes from")
    source: str = Field(default="", description="the complete Python file, or empty when edits are given")
    edits: list[Edit] = Field(default_factory=list, description="search/replace edits of the parent's file")


def read_idea(text: str, *, parent: str, tasks: Collection[str]) -> Idea:
    """The idea in a reply, with its source complete. Raises `ReadingError`."""
    try:
        idea = read_model(text, Idea)
    except ReadingError as error:
        is_code = MIXER in text or any(language.startswith("py") for language, _ in fenced(text))
        if error.fault != "invalid JSON" or not is_code:
            raise
        return _from_code(code_of(text, must_hold=MIXER), tasks)
    for predicted in idea.predicted:
        if tasks and predicted.task not in tasks:
            raise ReadingError("wrong schema", unknown_name("predicted task", predicted.task, tasks))
    if bool(idea.source.strip()) == bool(idea.edits):
        given = "both" if idea.edits else "neither"
        raise ReadingError("wrong schema", f"give either source or edits, {given} was given")
    source = apply_edits(parent, idea.edits) if idea.edits else idea.source
    return idea.model_copy(update={"source": _sound(code_of(source, must_hold=MIXER)), "edits": []})


def _from_code(code: str, tasks: Collection[str]) -> Idea:
    """A bare file is an idea too: its docstring is the motivation, with a prediction where one stands in it."""
    try:
        words = motivation(code)
    except CandidateError:
        words = ""
    why = words if len(words) >= 20 else "No motivation was given with the code."
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
    for number, edit in enumerate(edits, start=1):
        count = source.count(edit.search)
        if count != 1:
            raise ReadingError("edit does not apply", f"edit {number}: {_misfit(source, edit.search, count)}")
        source = source.replace(edit.search, edit.replace)
    return source


def _misfit(source: str, search: str, count: int) -> str:
    if count > 1:
        return f"its search text stands {count} times in the file; add lines until it stands once"
    lines = source.splitlines()
    wanted = max(search.splitlines(), key=lambda line: len(line.strip()), default="")
    close = difflib.get_close_matches(wanted, lines, n=1, cutoff=0.4)
    hint = f" The nearest line is {lines.index(close[0]) + 1}: {close[0]!r}" if close else ""
    return f"its search text does not stand in the file, to the letter.{hint}"


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

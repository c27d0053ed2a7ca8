"""What comes back from the sandbox, by its shape: an admission, a trial, a pace, a fingerprint.

The function that returned it is ours and the process was the candidate's. What is not exactly what that function
returns becomes a recorded outcome, `crashed`, that says what was given and what is asked for; nothing here raises.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, ValidationError, model_validator

from asiarc.core.plain import plain
from asiarc.execution import Result
from asiarc.execution.judge import Seconds, Whole, in_words, sound
from asiarc.tasks.recurring import Novelty

FINGERPRINT_NUMBERS = 16
FAR = 1e6  # beyond what a ratio, a score or a projection in units of its own size can be
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, lt=2.0**63)]
Near = Annotated[float, Field(ge=-FAR, le=FAR)]
Score = Annotated[float, Field(ge=0, le=FAR)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Said = Annotated[str, Field(min_length=1)]
CurveRow = Annotated[list[Number], Field(min_length=3, max_length=3)]


class Shape(BaseModel, strict=True, extra="forbid"):
    """What a function of ours returns: these fields, with no conversion of one type into another."""


class FindingShape(Shape):
    """As `gates.gate.Finding`."""

    gate: Name
    verdict: Literal["passed", "rejected", "warned", "not run", "exempt"]
    reason: str = ""
    example: dict[str, JsonValue] = {}
    expected: str = ""
    actual: str = ""
    cpu_s: Seconds = 0.0


class AdmissionShape(Shape):
    """What the gates found; an admitted candidate has measures, another one a gate that rejects it and says why."""

    admitted: bool
    findings: list[FindingShape]
    measures: dict[Literal["parameters", "state_bytes", "flops_per_token"], Amount] | None
    cpu_s: Seconds = 0.0

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        rejects = [finding for finding in self.findings if finding.verdict == "rejected"]
        if self.admitted == bool(rejects) or any(not finding.reason for finding in rejects):
            raise ValueError("an admission that its findings bear out")
        if self.admitted and len(self.measures or {}) < 3:
            raise ValueError("an admission with three measures")
        return self


class ItemShape(Shape):
    """One scored document: a number, or a log-likelihood and the bytes it is of."""

    document: Whole
    value: Number | Annotated[list[Number], Field(max_length=8)]


class ReadShape(Shape):
    """What a text was read with, where not as bytes: the tokenizer's key, tokens that were scored, bits a token."""

    tokenizer: Name
    tokens: Whole
    bits_per_token: Score | None


Sum = Annotated[list[Amount], Field(min_length=2, max_length=2)]  # tokens, and bits of them all
Bin = Annotated[list[Amount], Field(min_length=3, max_length=3)]  # the first position, and the same


class WithinShape(Shape):
    """Where a text's bits were lost (`engineer.within`): sums, and bits a byte of the whole text."""

    positions: Annotated[list[Bin], Field(max_length=64)]
    novelty: dict[Novelty, Sum]
    uninformed: Score
    whole: Score


class PassesShape(Shape):
    """As `models.memory.Passes`: how a step took its batch, where not whole."""

    micro_batch: Whole
    is_chunked: bool
    is_checkpointed: bool


class TrialShape(Shape):
    """A trained and scored model."""

    metric: Literal["bits_per_byte", "accuracy"]
    value: Score
    items: list[ItemShape]
    read: ReadShape | None = None
    within: WithinShape | None = None
    passes: PassesShape | None = None
    curve: list[CurveRow] = []
    parameters: Whole
    hidden: Whole
    state_bytes: Amount
    flops_per_token: Amount

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.metric == "accuracy" and self.value > 1:
            raise ValueError("an accuracy from 0 to 1")
        return self


class EndedShape(Shape):
    """A trial that ended without a score."""

    ended: Literal["size", "diverged", "rejected", "crashed"]
    reason: Said
    gate: str = ""
    curve: list[CurveRow] = []
    parameters: Whole = 0

    @model_validator(mode="after")
    def _names_its_gate(self) -> Self:
        if self.ended == "rejected" and not self.gate:
            raise ValueError("a rejection that names its gate")
        return self


class DeviceShape(Shape):
    """What a job finds of its device."""

    cuda: bool
    flops_per_s: Annotated[float, Field(gt=0, lt=1e18)] | None


class PaceShape(Shape):
    """As `speed.paired.Ratio`: three numbers or none."""

    ratio: Score | None
    low: Score | None
    high: Score | None
    pairs: Whole
    verdict: Name
    reason: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len({value is None for value in (self.ratio, self.low, self.high)}) > 1:
            raise ValueError("three numbers or none")
        return self


class FingerprintShape(Shape):
    """What a candidate computes on fixed probes, or nothing."""

    fingerprint: Annotated[list[Near], Field(min_length=FINGERPRINT_NUMBERS, max_length=FINGERPRINT_NUMBERS)] | None


def checked(result: object, shape: type[Shape]) -> Result:
    """The result, with text that can be shown; `crashed` where it is none, or its value has not this shape."""
    found = sound(result)
    if found.status != "ok":
        return replace(found, value=None)
    asked = EndedShape if shape is TrialShape and "ended" in (found.value or {}) else shape
    try:
        asked.model_validate(found.value)
    except ValidationError as error:
        reason = f"the result is not what {_named(shape)} returns: {in_words(error)}"
        return replace(found, status="crashed", value=None, reason=plain(reason))
    return replace(found, value=_plain(found.value))


def _named(shape: type[Shape]) -> str:
    name = shape.__name__.removesuffix("Shape").lower()
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _plain(value: Any) -> Any:
    """The same data with every text in it plain."""
    if isinstance(value, dict):
        return {plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return plain(value) if isinstance(value, str) else value

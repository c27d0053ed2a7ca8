"""The claim register, verdicts, and the functions that reach them.

A claim is a sentence of the paper that can be checked (`reproductions/claims.toml`). A function under
`@decides("C07")` in `reproductions/claim_*.py` takes the evidence of one tier and returns a `Verdict`. A
contradicted claim is a recorded verdict, never a red test; a verdict that *moves* without a note in the
snapshot is red.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asiarc.core.errors import EvidenceError, unknown_name
from asiarc.core.recipe import TIERS, Tier

if TYPE_CHECKING:
    from asiarc.evidence.paper import Paper
    from asiarc.evidence.release import Release

VerdictName = Literal[
    "reproduced",
    "reproduced at smaller scale",
    "partly",
    "contradicted at smaller scale",
    "contradicted",
    "inconclusive",
    "not testable here",
    "not stated clearly",
]
VERDICTS: tuple[VerdictName, ...] = get_args(VerdictName)
"""The closed list, strongest agreement first; the last three decide nothing."""
ROUNDING = 1e-12  # by which a bound may miss its own effect
AT_SMALLER_SCALE: dict[VerdictName, VerdictName] = {
    "reproduced": "reproduced at smaller scale",
    "contradicted": "contradicted at smaller scale",
}
"""What agreement and disagreement are called where the tier is below the claim's own size: alike."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence of one tier says of one claim.

    `statement` is what was found, in one sentence with its numbers; `effect`, `low`, `high`, `n` and `test`
    are its headline quantity, absent where the finding is a count or a contradiction in terms. `command`
    reruns it, `evidence_path` holds what it was read from. `registered` says when what decides it was fixed, under
    which hash, and what has changed since; empty where nobody registered it.

    Raises:
        EvidenceError: a verdict or tier outside the closed lists, or an effect outside its interval.
    """

    claim: str
    verdict: VerdictName
    statement: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    test: str = ""
    tier: Tier = "smoke"
    command: str = ""
    evidence_path: str = ""
    paper_value: str = ""
    our_value: str = ""
    note: str = ""
    registered: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise EvidenceError(unknown_name("verdict", self.verdict, VERDICTS))
        if self.tier not in TIERS:
            raise EvidenceError(unknown_name("tier", self.tier, TIERS))
        bounds = [bound for bound in (self.low, self.effect, self.high) if bound is not None]
        if any(b < a - ROUNDING for a, b in pairwise(bounds)):
            raise EvidenceError(f"{self.claim}: effect {self.effect} outside [{self.low}, {self.high}]")

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values; `Verdict(**fields)` reads them back."""
        fields = asdict(self)
        return fields if self.registered else {name: value for name, value in fields.items() if name != "registered"}


class Claim(BaseModel):
    """One entry of the register.

    `weakest_tier` is the smallest tier that can speak to the claim at all; `full_tier` the smallest at which
    it can be reproduced or contradicted as stated. In between, agreement is "reproduced at smaller scale" and
    disagreement "contradicted at smaller scale". `theme` is what the claim is about, in a few words:
    claims of one theme are read together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^C\d{2}[a-z]?$")
    theme: str = ""
    statement: str = Field(min_length=10)
    place: str
    kind: Literal["method", "quality", "scaling", "cost", "speed"]
    paper_value: str
    uncertainty: str = "none stated"
    counts_for: str
    counts_against: str
    weakest_tier: Tier
    full_tier: Tier
    deviations: str = ""
    needs: str = ""

    @model_validator(mode="after")
    def _tiers_in_order(self) -> Claim:
        if TIERS.index(self.full_tier) < TIERS.index(self.weakest_tier):
            raise ValueError(f"full_tier {self.full_tier!r} comes before weakest_tier {self.weakest_tier!r}")
        return self


def load_register(path: Path) -> dict[str, Claim]:
    """The claims of a register file (`[C01]` tables), by id in file order.

    Raises:
        EvidenceError: the file is missing, is not TOML, or a claim has a wrong or missing field.
    """
    claims: dict[str, Claim] = {}
    for claim_id, fields in _read_toml(path).items():
        try:
            claims[claim_id] = Claim.model_validate({"id": claim_id, **fields})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the claim"
            raise EvidenceError(f"{path}: [{claim_id}] {field}: {first['msg']}") from error
    return claims


def cap_verdict(verdict: Verdict, claim: Claim) -> Verdict:
    """The verdict, no stronger than its tier can carry for this claim (see `Claim`).

    Raises:
        EvidenceError: the verdict is about another claim.
    """
    if verdict.claim != claim.id:
        raise EvidenceError(f"a verdict on {verdict.claim} cannot be capped by claim {claim.id}")
    if verdict.verdict in ("inconclusive", "not testable here", "not stated clearly"):
        return verdict
    tier = TIERS.index(verdict.tier)
    if tier < TIERS.index(claim.weakest_tier):
        reason = f"the {verdict.tier} tier cannot speak to this claim; {claim.weakest_tier} can"
        return replace(verdict, verdict="not testable here", note="; ".join(filter(None, (verdict.note, reason))))
    is_small = tier < TIERS.index(claim.full_tier)
    return replace(verdict, verdict=AT_SMALLER_SCALE.get(verdict.verdict, verdict.verdict)) if is_small else verdict


class Evidence(Protocol):
    """What a decider may look at; all of it read-only."""

    @property
    def tier(self) -> Tier:
        """The tier under which the claims are being decided."""

    @property
    def paper(self) -> Paper:
        """The tables and figures that the paper prints."""

    @property
    def release(self) -> Release:
        """The authors' released numbers."""

    def campaign(self, name: str) -> Any:
        """The result of a campaign at this tier; raises EvidenceError where it has not run."""


Decider = Callable[[Any], Verdict]
D = TypeVar("D", bound=Decider)


@dataclass(frozen=True, slots=True)
class Mark:
    """What `decides` leaves on a function: its claim and the least tier at which it runs."""

    claim: str
    tier: Tier


def decides(claim_id: str, tier: Tier = "smoke") -> Callable[[D], D]:
    """Marks ``def name(evidence) -> Verdict`` as the decider of a claim, run from `tier` upwards.

    Raises:
        EvidenceError: no such tier.
    """
    if tier not in TIERS:
        raise EvidenceError(unknown_name("tier", tier, TIERS))

    def mark(function: D) -> D:
        function.__asiarc_claim__ = Mark(claim_id, tier)  # type: ignore[attr-defined]
        return function

    return mark


def mark_of(function: object) -> Mark | None:
    """The mark that `decides` left, or None: how the collector tells deciders from helpers."""
    mark = getattr(function, "__asiarc_claim__", None)
    return mark if isinstance(mark, Mark) else None


def reach_verdict(function: Decider, evidence: Evidence, claim: Claim) -> Verdict:
    """Runs a decider and completes its verdict: tier, command, the paper's value, and the cap of the tier.

    Evidence that is not to be had (an EvidenceError) is a verdict too: "not testable here", with the reason.
    """
    mark = mark_of(function)
    assert mark is not None and mark.claim == claim.id, f"{function} does not decide {claim.id}"
    if TIERS.index(evidence.tier) < TIERS.index(mark.tier):
        found = Verdict(claim.id, "not testable here", f"decided from the {mark.tier} tier upwards")
    else:
        try:
            found = function(evidence)
        except EvidenceError as error:
            found = Verdict(claim.id, "not testable here", str(error))
    code = function.__code__
    tier_option = "" if evidence.tier == "smoke" else f" --tier {evidence.tier}"
    completed = replace(
        found,
        tier=evidence.tier,
        command=found.command or f"pytest reproductions/{Path(code.co_filename).name}::{code.co_name}{tier_option}",
        paper_value=found.paper_value or claim.paper_value,
    )
    return cap_verdict(completed, claim)


@dataclass(frozen=True, slots=True)
class Drift:
    """A verdict that is not what the snapshot says; `recorded` is None where it says nothing."""

    claim: str
    tier: Tier
    recorded: str | None
    found: str | None

    def explain(self) -> str:
        """One line, with what to do."""
        if self.found == self.recorded:
            return f"{self.claim} at {self.tier}: changed to {self.found!r} without a note; say why in its note"
        return (
            f"{self.claim} at {self.tier}: {self.found!r}, the snapshot has {self.recorded!r}. "
            "If the change is right, record it with a note that says why."
        )


def check_snapshot(verdicts: Iterable[Verdict], path: Path) -> list[Drift]:
    """Where the verdicts of a run and the snapshot part: a changed or new verdict, or a recorded change
    without note.

    An entry is ``[C07.smoke]`` with `verdict`, and, once it has changed, `was` and a `note` that says why.
    Claims that this run did not decide are left alone.

    Raises:
        EvidenceError: the snapshot is missing or not TOML.
    """
    snapshot = _read_toml(path)
    drifts = []
    for verdict in verdicts:
        entry = snapshot.get(verdict.claim, {}).get(verdict.tier, {})
        recorded = entry.get("verdict")
        if verdict.verdict == "not testable here":
            continue
        if recorded != verdict.verdict or ("was" in entry and not entry.get("note", "").strip()):
            drifts.append(Drift(verdict.claim, verdict.tier, recorded, verdict.verdict))
    return drifts


def record_snapshot(verdicts: Iterable[Verdict], path: Path, *, note: str = "") -> None:
    """Writes the verdicts into the snapshot, keeping all other entries; what changed gets `was` and the note.

    "not testable here" is not recorded: it would bury what was once found with the evidence at hand.

    Raises:
        EvidenceError: a recorded verdict changes and the note is empty.
    """
    snapshot: dict[str, dict[str, dict[str, str]]] = _read_toml(path) if path.exists() else {}
    for verdict in verdicts:
        entries = snapshot.setdefault(verdict.claim, {})
        before = entries.get(verdict.tier)
        if verdict.verdict == "not testable here":
            continue
        if before is None:
            entries[verdict.tier] = {"verdict": verdict.verdict}
        elif before["verdict"] != verdict.verdict:
            if not note.strip():
                raise EvidenceError(
                    f"{verdict.claim} at {verdict.tier} changes from {before['verdict']!r} to "
                    f"{verdict.verdict!r}: a change is recorded with a note that says why"
                )
            entries[verdict.tier] = {"verdict": verdict.verdict, "was": before["verdict"], "note": note}
    path.write_text(_snapshot_text(snapshot), encoding="utf-8")


def _snapshot_text(snapshot: dict[str, dict[str, dict[str, str]]]) -> str:
    ordered = {
        claim: {tier: snapshot[claim][tier] for tier in TIERS if tier in snapshot[claim]} for claim in sorted(snapshot)
    }
    return f"# Verdicts as last accepted. CI fails when one moves without a note.\n\n{tomli_w.dumps(ordered)}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise EvidenceError(f"{path} does not exist; it belongs to the reproductions folder") from error
    except tomllib.TOMLDecodeError as error:
        raise EvidenceError(f"{path} is not TOML: {error}") from error

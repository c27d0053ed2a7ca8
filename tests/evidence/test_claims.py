"""Register, verdict caps, marks and the snapshot that must not move in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asiarc.core.errors import EvidenceError
from asiarc.evidence.claims import (
    TIERS,
    VERDICTS,
    Claim,
    Verdict,
    cap_verdict,
    check_snapshot,
    decides,
    load_register,
    mark_of,
    record_snapshot,
)

ENTRY = """
[C01]
statement = "The search ran this many experiments."
place = "§4.2"
kind = "method"
paper_value = "1,773"
counts_for = "the same count"
counts_against = "another count"
weakest_tier = "quick"
full_tier = "paper"
"""


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    (tmp_path / "claims.toml").write_text(ENTRY)
    return load_register(tmp_path / "claims.toml")["C01"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('kind = "method"', 'kind = "magic"'), "kind"),
        (('place = "§4.2"\n', ""), "place"),
        (('place = "§4.2"', 'palce = "§4.2"'), "palce|place"),
        (("[C01]", "[claim1]"), "id"),
        (('full_tier = "paper"', 'full_tier = "smoke"'), "full_tier"),
        (("[C01]", "[C01"), "not TOML"),
    ],
)
def test_register_refuses_a_wrong_entry_and_names_the_field(tmp_path, change, names):
    (tmp_path / "claims.toml").write_text(ENTRY.replace(*change))
    with pytest.raises(EvidenceError, match=names):
        load_register(tmp_path / "claims.toml")


def test_missing_register_is_a_clear_error(tmp_path):
    with pytest.raises(EvidenceError, match="does not exist"):
        load_register(tmp_path / "claims.toml")


@pytest.mark.parametrize(
    ("tier", "said", "kept"),
    [
        ("smoke", "reproduced", "not testable here"),
        ("smoke", "contradicted", "not testable here"),
        ("smoke", "inconclusive", "inconclusive"),
        ("quick", "reproduced", "reproduced at smaller scale"),
        ("quick", "partly", "partly"),
        ("full", "contradicted", "contradicted at smaller scale"),
        ("paper", "reproduced", "reproduced"),
        ("paper", "contradicted", "contradicted"),
        ("paper", "not stated clearly", "not stated clearly"),
    ],
)
def test_cap(claim, tier, said, kept):
    capped = cap_verdict(Verdict("C01", said, "found", tier=tier, note="seen"), claim)
    assert capped.verdict == kept
    assert capped.note.startswith("seen")
    assert (tier in capped.note) == (kept == "not testable here")


def test_the_cap_treats_agreement_and_disagreement_alike(claim):
    """The same distance from what was said, whichever way it was said, at every tier."""
    for tier in TIERS:
        agrees, disagrees = (
            cap_verdict(Verdict("C01", said, "found", tier=tier), claim) for said in ("reproduced", "contradicted")
        )
        assert agrees.verdict.replace("reproduced", "contradicted") == disagrees.verdict
        assert agrees.note == disagrees.note


def test_no_tier_below_the_full_one_ever_says_more_than_it_may(claim):
    for tier in TIERS[: TIERS.index(claim.full_tier)]:
        for verdict in VERDICTS:
            capped = cap_verdict(Verdict("C01", verdict, "found", tier=tier), claim)
            assert capped.verdict not in ("reproduced", "contradicted")


def test_cap_refuses_another_claims_verdict(claim):
    with pytest.raises(EvidenceError, match="C02"):
        cap_verdict(Verdict("C02", "partly", "found"), claim)


def test_verdicts_are_closed_and_consistent():
    with pytest.raises(EvidenceError, match="Did you mean 'reproduced'"):
        Verdict("C01", "reproduce", "found")
    with pytest.raises(EvidenceError, match="tier"):
        Verdict("C01", "partly", "found", tier="huge")
    with pytest.raises(EvidenceError, match="outside"):
        Verdict("C01", "partly", "found", effect=1.0, low=2.0, high=3.0)
    found = Verdict("C01", "partly", "found", effect=2.5, low=2.0, high=3.0, n=5)
    assert Verdict(**json.loads(json.dumps(found.as_dict()))) == found


def test_decides_marks_and_leaves_the_function_alone():
    @decides("C07", tier="quick")
    def decider(evidence):
        return Verdict("C07", "partly", str(evidence))

    assert (mark_of(decider).claim, mark_of(decider).tier) == ("C07", "quick")
    assert decider("x").statement == "x"
    assert mark_of(len) is None
    with pytest.raises(EvidenceError, match="tier"):
        decides("C07", tier="later")


class TestSnapshot:
    first = Verdict("C01", "partly", "found")
    changed = Verdict("C01", "contradicted", "found otherwise")

    def test_new_same_and_changed(self, tmp_path):
        path = tmp_path / "verdicts.toml"
        record_snapshot([self.first], path)
        assert check_snapshot([self.first], path) == []
        (drift,) = check_snapshot([self.changed], path)
        assert (drift.recorded, drift.found) == ("partly", "contradicted")
        (new,) = check_snapshot([Verdict("C02", "partly", "found")], path)
        assert new.recorded is None
        (other_tier,) = check_snapshot([Verdict("C01", "partly", "found", tier="full")], path)
        assert other_tier.tier == "full"

    def test_a_change_needs_a_note(self, tmp_path):
        path = tmp_path / "verdicts.toml"
        record_snapshot([self.first, Verdict("C02", "partly", "found")], path)
        with pytest.raises(EvidenceError, match="why"):
            record_snapshot([self.changed], path)
        record_snapshot([self.changed], path, note='the gate now "sees" prefixes\nand more')
        assert check_snapshot([self.changed, Verdict("C02", "partly", "found")], path) == []

    def test_an_edited_verdict_without_its_note_is_a_drift(self, tmp_path):
        path = tmp_path / "verdicts.toml"
        record_snapshot([self.first], path)
        record_snapshot([self.changed], path, note="a reason")
        path.write_text(path.read_text().replace("a reason", " "))
        (drift,) = check_snapshot([self.changed], path)
        assert "without a note" in drift.explain()

    def test_rewriting_keeps_every_entry(self, tmp_path):
        path = tmp_path / "verdicts.toml"
        record_snapshot([self.first], path)
        record_snapshot([Verdict("C01", "inconclusive", "x", tier="quick")], path)
        before = path.read_text()
        record_snapshot([], path)
        assert path.read_text() == before
        assert before.index("C01.smoke") < before.index("C01.quick")

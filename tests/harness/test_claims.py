"""Claims as items: any verdict is recorded and passes; one that moved fails, and one that nobody registered."""

from __future__ import annotations

import pytest

from asiarc.archive.store import Archive

from .declarations import REGISTER

DECIDER = """\
from asiarc.core.errors import EvidenceError
from asiarc.evidence.claims import Verdict, decides

def helper(evidence):
    return "reproduced"

def test_nothing():
    assert False, "a claim file holds deciders only"

@decides("C07")
def winner_beats(evidence):
    return Verdict("C07", "{verdict}", "the gain is 0.2", effect=0.2, low=0.1, high=0.3, n=5)

@decides("C07", tier="full")
def at_scale(evidence):
    raise AssertionError("not at this tier")

@decides("C07")
def without_evidence(evidence):
    return evidence.campaign("question").winner
"""


@pytest.fixture
def claims(pytester):
    """Writes a register, a snapshot and a file of deciders, and runs them."""

    def run(*arguments, verdict="contradicted", snapshot="", register=REGISTER):
        folder = pytester.path / "reproductions"
        folder.mkdir(exist_ok=True)
        folder.joinpath("claims.toml").write_text(register)
        if not folder.joinpath("verdicts.toml").exists() or snapshot:
            folder.joinpath("verdicts.toml").write_text(snapshot)
        folder.joinpath("claim_a.py").write_text(DECIDER.format(verdict=verdict))
        return pytester.runpytest_inprocess(*arguments)

    return run


def stored(pytester):
    with Archive(pytester.path / ".asiarc", write=False) as archive:
        return [verdict["verdict"] for verdict in archive.verdicts("smoke")]


def test_deciders_are_items_and_nothing_else_is(claims):
    result = claims("--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [
        f"reproductions/claim_a.py::{name}" for name in ("winner_beats", "at_scale", "without_evidence")
    ]


def test_a_contradicted_claim_is_a_verdict_and_no_failure(claims, pytester):
    result = claims()
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(
        ["*= claims =*", "C07   contradicted*the gain is 0.2", "C07   not testable here*run: pytest*"]
    )
    assert stored(pytester) == ["contradicted", "not testable here"]


def test_strict_claims_makes_it_one(claims):
    result = claims("--strict-claims", "-k", "winner")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*C07 is contradicted: the gain is 0.2"])
    assert claims("--strict-claims", "-k", "winner", verdict="reproduced").ret == 0


def test_a_verdict_that_moves_fails_until_it_is_accepted_with_a_reason(claims, pytester):
    snapshot = '[C07.smoke]\nverdict = "contradicted"\n'
    assert claims("-k", "winner", snapshot=snapshot).ret == 0
    result = claims("-k", "winner", verdict="reproduced")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*'reproduced', the snapshot has 'contradicted'*--accept-verdicts*"])
    assert claims("-k", "winner", "--accept-verdicts", "", verdict="reproduced").ret == pytest.ExitCode.TESTS_FAILED
    assert claims("-k", "winner", "--accept-verdicts", "the seed was fixed", verdict="reproduced").ret == 0
    text = (pytester.path / "reproductions" / "verdicts.toml").read_text()
    assert 'note = "the seed was fixed"' in text and 'was = "contradicted"' in text
    assert claims("-k", "winner", verdict="reproduced").ret == 0


def test_a_claim_that_nobody_registered(claims):
    result = claims("-k", "winner", register=REGISTER.replace("[C07]", "[C08]"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*claim C07 is not in *claims.toml; add it there first"])


def test_junit_and_marks_know_the_claim(claims, pytester):
    claims("-m", "claim", "--junitxml", "out.xml", "-o", "junit_family=xunit1")
    text = (pytester.path / "out.xml").read_text()
    assert '<property name="claim" value="C07"' in text and 'name="verdict" value="contradicted"' in text


def registered(pytester):
    with Archive(pytester.path / ".asiarc", write=False) as archive:
        return [verdict["registered"] for verdict in archive.verdicts("smoke")]


def test_what_decides_a_claim_is_fixed_before_and_what_changed_since_is_told(claims, pytester):
    claims()
    first, again = registered(pytester)
    assert first == again and first.endswith("; unchanged") and " as " in first
    claims("--accept-verdicts", "a bug was mended", verdict="reproduced")
    (changed, _) = registered(pytester)
    assert changed.startswith(first.partition(";")[0]), "the first registration stands"
    assert changed.endswith("; changed since: claim_a.py")
    claims("--accept-verdicts", "its words", register=REGISTER.replace('statement = "', 'statement = "Now: '))
    assert registered(pytester)[0].endswith("changed since: its entry")


def test_a_registered_verdict_is_read_back_and_one_that_is_not_says_nothing_of_it():
    from asiarc.evidence.claims import Verdict

    plain = Verdict("C07", "reproduced", "the gain is 0.2")
    assert "registered" not in plain.as_dict()
    told = Verdict("C07", "reproduced", "the gain is 0.2", registered="2026-11-30T21:00:00+00:00 as ab; unchanged")
    assert Verdict(**told.as_dict()) == told

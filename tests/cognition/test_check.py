"""The shipped base is sound, and each kind of fault is found by the check that is there for it."""

from dataclasses import replace
from statistics import fmean

import pytest

from asiarc.cognition import Base, CognitionError
from asiarc.cognition.base import shipped
from asiarc.cognition.check import LONGEST, MINIMUM_ENTRIES, MINIMUM_PAPERS, check, check_entries
from asiarc.core.proposal import Insight
from asiarc.evidence import Effect
from asiarc.harness.cognition_verbs import add, check_report, render_search
from asiarc.studies.promotion import Confirmed, promote
from tests.rigs.cognition.quality import Label, check_labels, load_labels, mechanism_found, recall, report

from .test_entry import ENTRY, PAPER, written


def test_the_shipped_base_is_sound():
    assert check(shipped()) == []
    assert list(check_labels(shipped(), load_labels())) == []
    assert len(shipped()) >= MINIMUM_ENTRIES
    assert len({entry.paper.identifier for entry in shipped().entries}) >= MINIMUM_PAPERS


def with_changed(entry_id, **changes):
    """The shipped entries with one of them changed; fields of its paper are given as paper_*."""
    entry = shipped()[entry_id]
    paper = entry.paper.model_copy(
        update={k.removeprefix("paper_"): v for k, v in changes.items() if k.startswith("paper_")}
    )
    own = {k: v for k, v in changes.items() if not k.startswith("paper_")}
    changed = entry.model_copy(update={**own, "paper": paper})
    return [changed if e.id == entry_id else e for e in shipped().entries]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "delta-product"}, "the id is used 2 times"),
        ({"paper_year": 2020}, "year 2020, but the identifier is of 2024"),
        ({"paper_identifier": "arXiv:2405.21060"}, "stands for 2 papers"),
        ({"paper_title": "RoFormer: Enhanced Transformer with Rotary Position Embedding"}, "has 2 identifiers"),
        ({"limits": "x" * (LONGEST + 1)}, f"limits has {LONGEST + 1} characters"),
        ({"evidence": "gain"}, "evidence belongs to entries of our own campaigns"),
    ],
)
def test_a_fault_is_found(changes, message):
    problems = check_entries(with_changed("negative-eigenvalues", **changes))
    assert any(message in str(problem) for problem in problems), problems


def test_a_near_copy_is_found_and_only_that():
    entry = shipped()["delta-rule"]
    copy = entry.model_copy(update={"id": "copy", "problem": entry.problem.replace("outer products", "things")})
    problems = check_entries([*shipped().entries, copy])
    assert any("says nearly the same as" in p.what and {p.where, "copy"} for p in problems)
    assert all("copy" in str(p) or "4 entries of one paper" in str(p) for p in problems)


def test_more_than_three_entries_of_a_paper_are_too_many():
    first = shipped()["delta-rule"]
    more = [
        shipped()[i].model_copy(update={"paper": first.paper, "id": f"x-{i}"})
        for i in ("token-shift", "rotary-positions")
    ]
    assert any("entries of one paper" in p.what for p in check_entries([*shipped().entries, *more]))


def test_a_small_base_says_how_many_are_missing():
    assert [str(p) for p in check(Base(shipped().entries[:2]))] == [
        f"base: 2 papers, at least {MINIMUM_PAPERS}.",
        f"base: 2 entries, at least {MINIMUM_ENTRIES}.",
    ]


def test_labels_that_cannot_be_measured_are_found():
    labels = [Label("weak", ("nonsense",)), Label("weak", ())]
    problems = " ".join(map(str, check_labels(shipped(), labels)))
    assert "do not exist: nonsense" in problems and "has 0 labels" in problems and "2 queries" in problems


def test_recall_counts_labels_among_the_first_k():
    base, trigger = shipped(), shipped()["delta-rule"].trigger
    labels = [
        Label(trigger, ("delta-rule",)),
        Label(trigger, ("delta-rule", "patches-of-bytes")),
        Label("zzz", ("delta-rule",)),
    ]
    assert recall(base.search, labels, k=1) == {0: 1.0, 1: 0.5, 2: 0.0}


def test_chance_of_a_mechanism_is_that_of_drawing_without_replacement():
    labels = [Label("overwrite", ("delta-rule",))]
    count = len({entry.grammar for entry in shipped().entries if entry.grammar})
    assert mechanism_found(shipped(), labels, k=3)[1] == {0: pytest.approx(3 / count)}


def test_shuffled_labels_are_found_no_more_than_at_random():
    labels = load_labels()
    turned = [replace(label, entries=labels[i - len(labels) // 2].entries) for i, label in enumerate(labels)]
    assert fmean(recall(shipped().search, turned).values()) < 0.08 < fmean(recall(shipped().search, labels).values())


def test_the_report_says_that_retrieval_beats_random():
    lines = report(shipped()).splitlines()
    gains = [line for line in lines if "weighted over random" in line]
    assert len(gains) == 2 and all("[+" in line for line in gains)


def test_search_is_rendered_with_its_source():
    text = render_search("stale value after a key is bound again", k=2)
    assert text.count("paper      ") == 2 and "arXiv:2102.11174" in text and "memory=delta" in text
    assert "shares a word" in render_search("zzzz")


def test_added_entries_are_found_and_checked(tmp_path):
    folder = tmp_path / "own"
    (entry,) = add(written(tmp_path, paper=PAPER | {"identifier": "arXiv:2401.00001"}), folder)
    assert Base.load(folder)[entry.id] == entry
    with pytest.raises(CognitionError, match="exists"):
        add(tmp_path / "entries.toml", folder)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("paper", "entry", "message"),
    [
        (PAPER, ENTRY, "stands for 2 papers"),
        ({"identifier": "arXiv:2301.00001"}, ENTRY, "year 2024, but the identifier is of 2023"),
        ({"identifier": "arXiv:2401.00001"}, {"id": "delta-rule"}, "the id is used 2 times"),
    ],
)
def test_what_collides_is_not_added(tmp_path, paper, entry, message):
    with pytest.raises(CognitionError, match=message):
        add(written(tmp_path, paper=PAPER | paper, entry=ENTRY | entry), tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_the_report_of_check_is_green_and_turns_red(tmp_path):
    text, sound = check_report()
    assert sound and "no problems" in text and "entries from" in text
    written(tmp_path)
    text, sound = check_report(tmp_path)
    assert not sound and "stands for 2 papers" in text and "recall" not in text.splitlines()[-1]


GAIN = Effect(mean=0.05, low=0.01, high=0.09, n=5, sd=0.02, p_value=0.01, test="paired t", num_comparisons=4)
INSIGHT = Insight(text="It gains.", weakness="text", mechanisms=("-rotary=True", "memory=kda", "norm=none"))
EVIDENCE = Confirmed(
    campaign="delta_text", address="0123456789abcdef", name="HeronNet", against="delta_net", year=2026,
    effect=GAIN, decision="better", added={"memory=kda", "norm=none"},
)  # fmt: skip


def test_a_verified_insight_becomes_an_entry_that_can_be_added(tmp_path):
    from asiarc.cognition.entry import as_toml

    entry = promote(INSIGHT, EVIDENCE)
    assert entry.grammar == "memory=kda" and GAIN.explain() in entry.evidence
    (tmp_path / "won.toml").write_text(as_toml([entry]), encoding="utf-8")
    assert add(tmp_path / "won.toml", tmp_path / "own") == (entry,)
    assert check(Base.load(tmp_path / "own")) == []


def test_what_the_analyst_wrote_at_length_is_cut():
    entry = promote(replace(INSIGHT, text="It gains. " * 200, weakness=""), EVIDENCE)
    assert all(len(getattr(entry, field)) <= LONGEST for field in ("mechanism", "trigger"))


@pytest.mark.parametrize("name", ["Delta_Text", "delta text!", "delta/no_cognition"])
def test_any_name_of_a_campaign_makes_an_entry(name):
    assert check_entries([promote(INSIGHT, replace(EVIDENCE, campaign=name))]) == []


@pytest.mark.parametrize(
    ("insight", "evidence", "message"),
    [
        (INSIGHT, replace(EVIDENCE, decision="cannot tell"), "only what is better"),
        (INSIGHT, replace(EVIDENCE, effect=replace(GAIN, low=-0.01)), "only what is better"),
        (replace(INSIGHT, mechanisms=("-rotary=True", "magic=1")), EVIDENCE, "favours no mechanism"),
        (INSIGHT, replace(EVIDENCE, added={"memory=delta"}), "favours no mechanism"),
    ],
)
def test_what_is_not_verified_or_not_expressible_is_not_promoted(insight, evidence, message):
    with pytest.raises(CognitionError, match=message):
        promote(insight, evidence)

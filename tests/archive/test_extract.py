"""The extract: all that a report reads comes back, in the same bytes each time; damage is told with its line."""

from __future__ import annotations

import gzip
import json
import math

import pytest

import asiarc.archive.extract as extracts
from asiarc.archive.extract import opened, save, with_verdicts
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive, Trial
from asiarc.core.errors import EvidenceError
from asiarc.core.outcome import SCORED
from asiarc.core.seeds import rng_of

RUN = "a" * 16


def fill(archive, trials=6, items=40):
    """One run with trials on text, whose items draw from a seed, and one on a task that is right or wrong."""
    archive.add_run(RUN, "question", "quick", 0, {"spec": {}, "baselines": {"start": "c0"}}, {})
    archive.add_candidate("c0", "start", "A = 0\n", "why")
    archive.add_candidate("c1", "naïve漢字", "A = 1\n", "why")
    archive.add_proposal(RUN, 0, 0, dict(address="c1", name="n", motivation="", parents=[], origins=[], predicted=""))
    archive.add_candidate("c2", "of nobody", "A = 2\n", "why")
    for number in range(trials):
        rng = rng_of("items", number)
        if number % 2:
            values = [rng.randint(0, 1) for _ in range(items)]
            value = sum(values) / items
        else:
            values = [[-rng.uniform(100, 400), 128 if i else 77] for i in range(items)]
            value = -sum(log for log, _ in values) / sum(length for _, length in values) / math.log(2)
        trial = Trial(
            key=f"{number:016d}", address="c1", task="reset" if number % 2 else "text", stage="verify",
            seed=str(number), steps=5, learning_rate=0.1, outcome=SCORED, metric="m", value=value, parameters=1,
            state_bytes=1, flops_per_token=1.0, curve=[[1, 2.0, 3.0]], details={}, wall_s=1.0, cpu_s=1.0,
        )  # fmt: skip
        archive.add_trial(trial, {}, layers=[])
        archive.add_items(trial.key, [{"document": i, "value": v} for i, v in enumerate(values)])
        archive.add_use(RUN, "verify", trial.key)


@pytest.fixture
def saved(tmp_path):
    with Archive(tmp_path / "store") as archive:
        fill(archive)
        save(archive, [RUN], tmp_path / "e.gz", tier="quick", campaigns=None)
        save(archive, [RUN, RUN], tmp_path / "again.gz", tier="quick", campaigns=None)
    return tmp_path / "e.gz"


def test_what_was_taken_out_comes_back_and_no_more(saved):
    with Archive(saved.parent / "store", write=False) as archive, opened(saved) as extract:
        mine, its = (CampaignResult.load(one, RUN) for one in (archive, extract.archive))
        assert its.held_trials == mine.held_trials and its.trials() == mine.trials()
        assert its.proposals == mine.proposals and extract.archive.run(RUN) == archive.run(RUN)
        assert extract.archive.candidate("c1") == archive.candidate("c1")
        assert extract.archive.candidate("c0") is not None and extract.archive.candidate("c2") is None
        assert extract.items == 6 * 40 and extract.head == {"extract": 2, "tier": "quick", "campaigns": None}


def test_verdicts_are_put_in_the_place_of_others_and_nothing_else_moves(tmp_path):
    path = tmp_path / "e.gz"
    with Archive(tmp_path / "store") as archive:
        fill(archive)
        for claim in ("C01", "C02"):
            archive.add_verdict(claim, "quick", "item", {"claim": claim, "verdict": "partly"})
        save(archive, [RUN], path, tier="quick", campaigns=None)
    before = gzip.decompress(path.read_bytes()).splitlines()
    with_verdicts(path, {"C02": {"claim": "C02", "verdict": "contradicted"}, "C99": {"claim": "C99"}})
    after = gzip.decompress(path.read_bytes()).splitlines()
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b and b'"C02' not in a] == []
    with opened(path) as extract:
        assert [v["verdict"] for v in extract.archive.verdicts("quick")] == ["partly", "contradicted"]
    with_verdicts(path, {"C02": {"claim": "C02", "verdict": "partly"}})
    assert gzip.decompress(path.read_bytes()).splitlines() == before


def test_the_same_rows_give_the_same_bytes(saved):
    assert saved.read_bytes() == saved.with_name("again.gz").read_bytes()


def test_items_give_the_value_but_for_half_a_step_of_their_sum(saved):
    with opened(saved) as extract:
        for trial in CampaignResult.load(extract.archive, RUN).trials():
            value, apart = extract.values[trial.key]
            assert abs(value - trial.value) <= apart + 1e-12
            assert apart == 0.0 or apart < 2e-5  # bits a byte, of 5 kB of text


def rewritten(saved, change):
    lines = gzip.decompress(saved.read_bytes()).splitlines()
    saved.write_bytes(gzip.compress(b"\n".join(change(lines)) + b"\n"))
    return saved


def spoilt(number, line):
    return lambda lines: [*lines[:number], line, *lines[number + 1 :]]


NO_EXTRACTS = {
    "empty": (lambda lines: [], "nothing in it|line 1"),
    "without_its_head": (lambda lines: lines[1:], "line 1"),
    "another_format": (spoilt(0, b'{"extract": 7}'), "format 7, this asiarc reads up to 2"),
    "broken_line": (spoilt(3, b"{"), "line 4"),
    "deep_line": (spoilt(3, b"[" * 100_000), "line 4"),
    "no_utf8": (spoilt(3, b'["\xff"]'), "line 4"),
    "empty_line": (spoilt(3, b"[]"), "line 4"),
    "foreign_table": (spoilt(3, b'["sqlite_master", {}]'), "no table 'sqlite_master'"),
    "column_that_is_none": (spoilt(3, b'["trials", {"key) VALUES (1);--": 1}]'), "trials has no"),
    "no_row": (spoilt(3, b'["trials", []]'), "line 4"),
    "row_without_columns": (spoilt(3, b'["trials", {"key": 1}]'), "line 4.*NOT NULL"),
    "infinite": (spoilt(1, b'["runs", {"run": 1e999}]'), "line 2"),
    "giant": (spoilt(3, b'["candidates", {"address": ' + b"9" * 400 + b"}]"), "line 4"),
    "no_items": (lambda lines: [*lines, b'["items", {"trial": "x", "values": []}]'], "no items"),
    "unknown_lengths": (lambda lines: [*lines, b'["items", {"trial": "x", "logs": [1], "lengths": 99}]'], "line"),
    "no_bytes": (lambda lines: [*lines, b'["items", {"trial": "x", "logs": [1], "bytes": [0]}]'], "line"),
    "unknown_field": (lambda lines: [*lines, b'["items", {"trial": "x", "what": [0]}]'], "line"),
    "items_twice": (
        lambda lines: [*lines, next(line for line in lines if line.startswith(b'["items"'))],
        "for the second time",
    ),
}


@pytest.mark.parametrize(("change", "told"), NO_EXTRACTS.values(), ids=NO_EXTRACTS.keys())
def test_what_is_no_extract_is_told_with_its_line(saved, change, told):
    with pytest.raises(EvidenceError, match=told), opened(rewritten(saved, change)):
        pass


CONTENTS = [b"", b"plain", gzip.compress(b"x" * 100)[:-9], b"\x1f\x8b\x08\x00" + b"\xff" * 50]


@pytest.mark.parametrize("content", CONTENTS, ids=["nothing", "plain", "cut", "noise"])
def test_what_is_no_gzip_is_told(tmp_path, content):
    (tmp_path / "e.gz").write_bytes(content)
    with pytest.raises(EvidenceError, match=r"e\.gz: "), opened(tmp_path / "e.gz"):
        pass
    with pytest.raises(EvidenceError, match=r"missing\.gz"), opened(tmp_path / "missing.gz"):
        pass


def test_a_bomb_is_not_unpacked(saved, monkeypatch):
    monkeypatch.setattr(extracts, "MOST_BYTES", 10_000)
    head = json.dumps({"extract": 1, "tier": "quick", "campaigns": None}).encode()
    saved.write_bytes(gzip.compress(head + b"\n" + b" " * 10**7))
    with pytest.raises(EvidenceError, match="more than 10000 bytes"), opened(saved):
        pass

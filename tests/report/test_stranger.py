"""What a third party does with a published folder: trains a discovery again, and opens what was sealed before."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from asiarc.core.errors import EvidenceError
from asiarc.core.seeds import rng_of
from asiarc.engineer import workshop
from asiarc.harness.cli import main
from asiarc.models.baselines import baseline_source
from asiarc.studies import sealed

from ..reproductions.laboratory import Laboratory, noise
from .conftest import BASELINES, STEPS

QUESTION = '''"""Does it?"""
from asiarc import Budget, Campaign, Stage, by_tier

mine = Campaign(
    start_from="delta_net", baselines=("delta_net",), explore=Stage(tasks=("text",), seeds={seeds}),
    budget=by_tier(smoke=Budget(candidates=2, minutes=1)),
)
'''
RNG = rng_of("an unread text")
WORDS = ["".join(RNG.choices("etaoinshrdlu", k=6)) for _ in range(2_000)]
TEXT = "".join(f"Read by nobody: {' '.join(RNG.choices(WORDS, k=60))}.\n\n" for _ in range(400))


@pytest.fixture
def report(written):
    return json.loads((written / "report.json").read_text())


@pytest.fixture
def bench_of_fakes(written, report, monkeypatch):
    """The executor of whatever is trained: the winner is 0.1 ahead of all, what it was asked is kept."""
    winner = report["campaigns"][0]["winner"]
    names = {winner["name"]: winner["source"], **{name: baseline_source(name) for name in BASELINES}}

    def world(name, task, seed):
        return 2.5 - 0.1 * (name == winner["name"]) + noise(name, "text", seed)

    lab = Laboratory(names, world)

    @contextmanager
    def executor(workers):
        yield lab

    monkeypatch.setattr(workshop, "trial_executor", executor)
    return lab


@pytest.fixture
def ask(tmp_path):
    def asked(*words, status=0):
        done = CliRunner().invoke(main, [*map(str, words)])
        assert done.exit_code == status, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in words and status == 0 else " ".join(done.output.split())

    return asked


# --- trained again ----------------------------------------------------------------------------------------------------


def test_a_published_gain_is_measured_again_on_seeds_that_nobody_used(written, report, bench_of_fakes, ask, tmp_path):
    campaign = report["campaigns"][0]
    winner, start = campaign["winner"], campaign["gains"][0]
    words = ("retrain", written, winner["address"][:8], "--against", "delta_net", "--seeds", "3", "--store", tmp_path)
    found = ask(*words, "--salt", "mine", status=1)  # 0.1 is not what was published
    assert "nothing in common" in found
    trained = [job for job in bench_of_fakes.jobs if job.function.endswith("trial:train")]
    assert {job.payload["seed"] for job in trained} == {"again-mine/0", "again-mine/1", "again-mine/2"}
    assert {job.payload["source"] for job in trained} == {winner["source"], baseline_source("delta_net")}
    assert {job.payload["recipe"]["steps"] for job in trained} == {STEPS}, "as confirm trained them"
    assert all(job.payload["match_source"] == baseline_source("delta_net") for job in trained)
    assert f"gain {start['effect']['mean']:+.4g}" in found, "beside the published one"
    ask(*words, "--salt", "mine", status=1)
    assert len(bench_of_fakes.jobs) == len(trained) + 2, "what is in the store is not trained twice"
    ask(*words, "--salt", "another", status=1)
    assert {job.payload["seed"] for job in bench_of_fakes.jobs[-6:]} == {f"again-another/{n}" for n in range(3)}


@pytest.mark.parametrize(
    ("candidate", "against", "said"),
    [
        ("nobody", "delta_net", "no candidate 'nobody'"),
        ("delta_net", "nobody", "no candidate 'nobody'"),
        ("gated_delta_fir_0", "gated_delta_fir_4", "share no two seeds"),
    ],
)
def test_what_cannot_be_trained_again_is_told(written, ask, candidate, against, said):
    assert said in ask("retrain", written, candidate, "--against", against, status=1)


def test_a_folder_without_rows_is_told(tmp_path, ask):
    assert "has no extract.jsonl.gz" in ask("retrain", tmp_path, "x", "--against", "y", status=1)


# --- sealed -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project with a question, a decider, and a text that nobody has read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "reproductions").mkdir()
    (tmp_path / "reproductions" / "claim_mine.py").write_text("A = 1\n")
    (tmp_path / "campaign_mine.py").write_text(QUESTION.format(seeds=2))
    (tmp_path / "unread.txt").write_text(TEXT)
    return tmp_path


def seal(ask):
    return ask("seal", "final", "--text", "unread.txt", "--seeds", "3", "--campaign", "campaign_mine.py",
               "--key", "away/final.key", "--json")  # fmt: skip


def unseal(ask, report, *words, status=0):
    named = ("--campaign", "campaign_mine.py", "--key", "away/final.key", "--store", "store")
    return ask("unseal", "final", report, *named, *words, status=status)


def test_a_seal_commits_and_tells_nothing(place, ask):
    seal(ask)
    secret = (place / "away" / "final.key").read_text().strip()
    assert (place / "away" / "final.key").stat().st_mode & 0o077 == 0
    for path in (place / "final").iterdir():
        assert secret not in path.read_bytes().hex() and b"Read by nobody" not in path.read_bytes()
    promised = json.loads((place / "final" / "sealed.json").read_text())["promised"]
    assert set(promised) == {"campaign mine at smoke", "claim_mine.py"}
    said = ask("seal", "final", "--text", "unread.txt", "--campaign", "campaign_mine.py", "--key", "k", status=1)
    assert "stays as it is" in said


def test_every_campaign_of_a_file_is_promised(place, ask):
    asked = QUESTION.format(seeds=2)
    (place / "campaign_mine.py").write_text(f'{asked}\nbeside = mine.model_copy(update={{"researcher": "random"}})\n')
    seal(ask)
    promised = json.loads((place / "final" / "sealed.json").read_text())["promised"]
    assert set(promised) == {"campaign mine at smoke", "campaign beside at smoke", "claim_mine.py"}
    assert promised["campaign mine at smoke"] != promised["campaign beside at smoke"]


def test_it_is_opened_once_for_the_table_of_every_winner_and_says_what_changed(
    place, written, report, bench_of_fakes, ask
):
    seal(ask)
    (place / "reproductions" / "claim_mine.py").write_text("A = 2\n")
    (place / "campaign_mine.py").write_text(QUESTION.format(seeds=3))
    found = unseal(ask, written, "--json")
    assert found["changed"] == ["campaign mine at smoke: changed", "claim_mine.py: changed"]
    winner = report["campaigns"][0]["winner"]["name"]
    assert [(row["task"], row["ahead"], row["behind"]) for row in found["table"]] == [
        (task, winner, name) for task in ("text", "the sealed text") for name in BASELINES
    ]
    for row in found["table"]:
        assert row["effect"]["mean"] == pytest.approx(0.1, abs=0.01) and row["decision"] == "better"
        assert row["effect"]["n"] == 3 and row["effect"]["num_comparisons"] == 6, "widened for the whole table"
    seeds = {job.payload["seed"] for job in bench_of_fakes.jobs if job.function.endswith("trial:train")}
    assert len(seeds) == 3 and all(seed.startswith("sealed-") for seed in seeds)
    own, text = sorted({job.payload["task"] for job in bench_of_fakes.jobs if "task" in job.payload}, key=len)
    assert own == "text" and text.startswith("text:final-")
    kept = json.loads((place / "final" / "opened.json").read_text())
    assert kept == found
    assert "a second opening is no test" in unseal(ask, written, status=1)


def test_a_text_that_is_too_little_is_told_before_it_is_sealed(place, ask):
    (place / "unread.txt").write_text("too little")
    assert "too little text" in ask("seal", "final", "--text", "unread.txt", "--campaign", "campaign_mine.py", status=1)
    assert not (place / "final").exists() and not (place / "cache").exists()


def test_an_interrupted_opening_goes_on_for_its_own_report_alone(place, tmp_path):
    text, key, folder = place / "unread.txt", place / "key", place / "final"
    sealed.seal(folder, key, text, seeds=2, promised={})
    first = sealed.open_seal(folder, key, "report", [])
    assert first == sealed.open_seal(folder, key, "report", []) and first[0] == text.read_bytes()
    with pytest.raises(EvidenceError, match="a second opening"):
        sealed.open_seal(folder, key, "another", [])


@pytest.mark.parametrize("bent", ["key", "final/sealed.bin"])
def test_what_was_bent_is_not_opened(place, bent):
    text, key, folder = place / "unread.txt", place / "key", place / "final"
    sealed.seal(folder, key, text, seeds=2, promised={})
    content = bytearray((place / bent).read_bytes())
    content[0] = ord("0") if content[0] != ord("0") else ord("1")
    (place / bent).write_bytes(content)
    with pytest.raises(EvidenceError, match="not what was sealed"):
        sealed.open_seal(folder, key, "report", [])
    assert sealed.opening(folder) is None, "what could not be opened was not"

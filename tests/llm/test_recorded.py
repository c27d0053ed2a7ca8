"""Recordings: made by one command, replayed without key or network to the last bit, and every change of them noticed;
and the recordings that ship."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.core.errors import CampaignError, EvidenceError
from asiarc.harness import recording
from asiarc.harness.model_verbs import main
from asiarc.harness.recording import ROUNDING, Replayed
from asiarc.llm import ReplayMissError
from asiarc.llm.address import KEYS
from asiarc.llm.tape import load_cassette
from asiarc.report.exchanges import lines
from tests.rigs.llm.loopback import Server

from ..harness.fakes import FakeExecutor
from .laboratory import fingerprinted, idea, number_of, plain, role_of, source, speaking

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "results" / "recorded"
CASSETTES = sorted(SHIPPED.glob("campaign_*.jsonl"))
QUESTION = """\
from asiarc import Budget, Campaign, Models, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    researcher="llm",
    models=Models(researcher=("model",), analyst={analyst!r}, prices={{"model": (1, 4)}}),
    explore=Stage(tasks=("text",)),
    match=(),
    budget=by_tier(smoke=Budget(candidates=4, minutes=5, usd=1)),
)
"""


class Executor(FakeExecutor):
    """The laboratory's, as a context."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A campaign's file, in a folder that its commands run in."""
    monkeypatch.setattr("asiarc.engineer.workshop.trial_executor", lambda _: Executor(ends=fingerprinted))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "campaign_question.py"
    path.write_text(QUESTION.format(analyst="model"))
    return path


def asked(file, reply=plain):
    """The command that records."""
    with Server((speaking(reply),)) as server:
        return CliRunner().invoke(main, ["record", str(file), "--base-url", server.url])


def test_one_command_records_and_one_replays(file):
    recorded = asked(file)
    assert recorded.exit_code == 0, recorded.output
    assert "parse: 4 of 4" in recorded.output and "pass the gates: 4 of 4" in recorded.output
    assert "train: 4 of 4" in recorded.output and "tokens" in recorded.output
    assert load_cassette(file.with_suffix(".jsonl")).exchanges
    replayed = CliRunner().invoke(main, ["replay", str(file)])
    assert replayed.exit_code == 0 and "to the last bit" in replayed.output, replayed.output
    told = CliRunner().invoke(main, ["report", "question", "--store", ".asiarc/recording-campaign_question"])
    assert told.exit_code == 0 and "researcher" in told.output and "USD" in told.output
    as_json = CliRunner().invoke(
        main, ["report", "question", "--json", "--store", ".asiarc/recording-campaign_question"]
    )
    assert json.loads(as_json.output) == json.loads(file.with_suffix(".json").read_text())


def test_without_a_recording_a_replay_says_how_to_make_one(file):
    with pytest.raises(EvidenceError, match=r"has no recording: .*jsonl is missing; make one with: asiarc llm record"):
        recording.replay(file, "smoke", workers=1, say=lambda _: None)


def test_a_campaign_without_models_cannot_be_recorded(file):
    text = re.sub(r"    (researcher|models)=.*\n", "", file.read_text())
    file.write_text(text)
    with pytest.raises(CampaignError, match="names no language model"):
        recording.record(file, Path("store"), "smoke", base_url=None, workers=1, say=lambda _: None)


def test_what_was_recorded_of_another_prompt_is_a_miss(file):
    assert asked(file).exit_code == 0
    file.write_text(QUESTION.format(analyst="model").replace("(1, 4)}", "(1, 4)}, context_tokens=1200"))
    with pytest.raises(ReplayMissError, match="asked now"):
        recording.replay(file, "smoke", workers=1, say=lambda _: None)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (lambda found: found["candidates"][0].update(ended="causality"), "candidates:"),
        (lambda found: found["replies"].update(asked=99), "replies:"),
        (lambda found: found["measured"][0].__setitem__(-1, 1.25), "measured numbers differ by at most"),
        (lambda found: found["candidates"][1].update(gain=found["candidates"][1]["gain"] + 2e-3), "by at most 0.002"),
    ],
)
def test_a_replay_that_differs_says_where_and_fails(file, part, said):
    assert asked(file).exit_code == 0
    facts = json.loads(file.with_suffix(".json").read_text())
    part(facts)
    file.with_suffix(".json").write_text(json.dumps(facts))
    replayed = CliRunner().invoke(main, ["replay", str(file)])
    assert replayed.exit_code == 1 and said in replayed.output and "to the last bit" not in replayed.output


def test_what_another_processor_rounds_is_said_and_forgiven(file):
    assert asked(file).exit_code == 0
    facts = json.loads(file.with_suffix(".json").read_text())
    facts["candidates"][1]["gain"] += 1e-9
    file.with_suffix(".json").write_text(json.dumps(facts))
    replayed = CliRunner().invoke(main, ["replay", str(file)])
    assert (replayed.exit_code, "by at most 1e-09" in replayed.output) == (0, True)
    assert "to the last bit" not in replayed.output


def test_an_exchange_too_many_or_too_few_is_noticed(file):
    assert asked(file).exit_code == 0
    cassette = file.with_suffix(".jsonl")
    exchanges = cassette.read_text()
    cassette.write_text(exchanges + json.dumps(json.loads(exchanges.splitlines()[0]) | {"place": "7 propose"}) + "\n")
    replayed = CliRunner().invoke(main, ["replay", str(file)])
    assert replayed.exit_code == 1 and re.search(r"\d+ exchanges recorded, \d+ replayed", replayed.output)
    cassette.write_text("".join(exchanges.splitlines(keepends=True)[:-1]))
    missed = CliRunner().invoke(main, ["replay", str(file)])
    assert missed.exit_code == 1 and "asks model what was never recorded" in missed.output


def test_where_nothing_was_scored_that_is_said_and_the_baselines_are_there(file):
    """A model whose candidates all look ahead: a result, no fault of the recording."""

    def reply(body):
        return (
            idea(source(f"b{number_of(body)}", REJECTED="causality")) if role_of(body) == "researcher" else plain(body)
        )

    recorded = asked(file, reply)
    assert recorded.exit_code == 0, recorded.output
    assert "none of 4 candidates was scored" in recorded.output and "delta_net" in recorded.output
    assert "pass the gates: 0 of 4" in recorded.output and "causality 4" in recorded.output
    assert CliRunner().invoke(main, ["replay", str(file)]).exit_code == 0


def test_passing_is_counted_by_revisions(file):
    def reply(body):
        number = number_of(body)
        mends = "turned away by" in body["messages"][1]["content"]
        return idea(source(f"b{number}", GAIN=0.1) if mends else source(f"b{number}", REJECTED="causality"))

    file.write_text(QUESTION.format(analyst=None))
    assert "4 of 4 (1.00 [0.51, 1.00]) after 1 revisions" in asked(file, reply).output


def test_what_stops_a_recording_is_told_with_exit_status_1_and_it_goes_on_from_there(file):
    from tests.rigs.llm.loopback import fails

    served = []

    def until(body):
        served.append(body)
        return plain(body) if len(served) <= 3 else fails(401, "no")

    stopped = asked(file, until)
    assert stopped.exit_code == 1 and "key rejected" in stopped.output
    assert not file.with_suffix(".jsonl").exists()
    assert asked(file).exit_code == 0 and len(served) == 4
    assert CliRunner().invoke(main, ["replay", str(file)]).exit_code == 0


def test_an_interrupted_recording_says_how_it_goes_on(file, monkeypatch):
    interrupted = Executor(interrupt_at=3, ends=fingerprinted)
    with monkeypatch.context() as patch:
        patch.setattr("asiarc.engineer.workshop.trial_executor", lambda _: interrupted)
        stopped = asked(file)
    assert stopped.exit_code == 1 and "every reply is kept in" in stopped.output
    assert asked(file).exit_code == 0
    assert CliRunner().invoke(main, ["replay", str(file)]).exit_code == 0


def test_sentences_of_no_proposals_at_all():
    empty = {"replies": {"asked": 0}, "proposals": 0, "passed_after_revisions": {}, "scored": 0, "endings": {},
             "tokens": {}, "usd": 0.0, "measured": []}  # fmt: skip
    assert lines(empty)[0] == "replies of the researcher that parse: 0 of 0; otherwise: none"


def test_the_commands_are_there_and_load_nothing_heavy():
    code = (
        "import sys; from asiarc.harness.cli import main; assert {'record', 'replay', 'report', 'judge'} <= "
        "set(main.commands['llm'].commands); heavy = {'torch', 'openai', 'numpy', 'bm25s'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- what ships -------------------------------------------------------------------------------------------------------


def test_a_recording_ships():
    assert CASSETTES


@pytest.mark.parametrize("cassette", CASSETTES, ids=[file.stem for file in CASSETTES])
def test_a_recording_is_whole_and_holds_no_key(cassette):
    text = cassette.read_text()
    tape = load_cassette(cassette)
    assert len(tape.exchanges) == len(text.splitlines()) > 0
    assert not re.search(r"\bsk-[\w-]{20}|[Bb]earer \S{20}", text)
    assert cassette.with_suffix(".py").exists() and cassette.with_suffix(".json").exists()


@pytest.mark.parametrize("cassette", CASSETTES, ids=[file.stem for file in CASSETTES])
def test_a_recording_replays(cassette):
    """A real run in a process of its own, without keys: what is trained is trained. On the processor that recorded it
    every bit is equal; another one may round a measured number otherwise, but no question, reply or ending."""
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    command = [sys.executable, "-m", "asiarc", "llm", "replay", str(cassette.with_suffix(".py"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    drift = re.search(r"measured numbers differ by at most (\S+):", done.stdout)
    assert " differs (" not in done.stdout and " exchanges recorded, " not in done.stdout, done.stdout[-3000:]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert drift is None or float(drift[1]) <= ROUNDING


def test_rounding_is_forgiven_and_nothing_else():
    same = Replayed({}, (), ROUNDING / 2)
    assert same.is_same and not same.is_identical
    assert not replace(same, drift=2 * ROUNDING).is_same
    assert not replace(same, differences=("tokens: 1, recorded 2",), drift=0.0).is_same

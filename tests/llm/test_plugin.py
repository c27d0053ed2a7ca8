"""From the command line: recorded, replayed beside its file, stopped with a status and a reason, planned, armed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from asiarc.harness.model_verbs import main
from asiarc.harness.session import Lab
from tests.rigs.llm.loopback import Server, fails

from ..harness.fakes import FakeExecutor, Refusing, assert_same, content
from .laboratory import fingerprinted, plain, speaking

QUESTION = """\
from asiarc import Budget, Campaign, Models, Stage, by_tier

question = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    researcher="{researcher}",
    models=Models(researcher=("model",), analyst={analyst!r}, prices={{"model": (1, 4)}}),
    explore=Stage(tasks=("text",)),
    verify=Stage(tasks=("text",), seeds=2, top=1),
    match=(),
    arms={arms},
    budget=by_tier(smoke=Budget(candidates=4, minutes=5, usd={usd})),
)
"""
KEY = "sk-never-to-be-seen"


class Desk:
    """A folder with a campaign, and pytest on it."""

    def __init__(self, pytester, monkeypatch):
        self.pytester, self.path = pytester, pytester.path
        pytester.makeini("[pytest]\nfilterwarnings = error\nasiarc_paths = .\naddopts = --asiarc-no-report\n")
        monkeypatch.setattr(Lab, "executor", property(lambda lab: self.executor))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        self.write()

    def write(self, *, researcher="llm", analyst="model", usd=1.0, arms=()):
        text = QUESTION.format(researcher=researcher, analyst=analyst, usd=usd, arms=arms)
        (self.path / "campaign_question.py").write_text(text)

    def run(self, *arguments, executor=None):
        self.executor = executor or FakeExecutor(ends=fingerprinted)
        return self.pytester.runpytest_inprocess("-rA", *arguments)

    def content(self):
        return content(self.path / ".asiarc")

    def everything(self):
        """All bytes that the run left behind."""
        return b"".join(file.read_bytes() for file in sorted(self.path.rglob("*")) if file.is_file())


@pytest.fixture
def desk(pytester, monkeypatch):
    return Desk(pytester, monkeypatch)


def test_recorded_exported_and_replayed_from_beside_its_file(desk, monkeypatch):
    with Server((speaking(plain),)) as server:
        result = desk.run("--llm", "record", "--llm-base-url", server.url)
        assert result.ret == 0 and server.requests
    result.stdout.fnmatch_lines(["*language models*", "question: researcher *4 calls (0 recorded)*USD*"])
    assert KEY.encode() not in desk.everything() and KEY not in result.stdout.str()
    recorded = desk.content()
    monkeypatch.chdir(desk.path)
    told = CliRunner().invoke(main, ["report", "question"])
    assert told.exit_code == 0 and "hold an idea: 4 of 4" in told.output and "spared 0" in told.output
    exported = CliRunner().invoke(main, ["record", "campaign_question.py", "--store", ".asiarc"])
    assert exported.exit_code == 0 and (desk.path / "campaign_question.jsonl").exists()
    monkeypatch.delenv("OPENAI_API_KEY")
    again = desk.run("--fresh")
    assert again.ret == 0
    again.stdout.fnmatch_lines(["question: researcher *4 calls (4 recorded)*(0.0000 now)"])
    assert_same(desk.content(), recorded)
    assert desk.run(executor=Refusing()).ret == 0  # nothing is left to do


def test_without_a_recording_nothing_is_asked_and_the_exit_status_says_so(desk):
    result = desk.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*question::explore: replay: researcher (0 propose) asks model*never recorded*"])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (fails(401, f"Incorrect API key provided: {KEY}"), "*key rejected: http*(the key)*Set another key*"),
        (fails(404, "no such model", code="model_not_found"), "*unknown model*It offers: model.*"),
        (fails(429, "quota", code="insufficient_quota"), "*rate limited*no waiting mends that*"),
    ],
)
def test_a_run_that_cannot_ask_fails_and_names_the_reason(desk, script, said):
    with Server((script,)) as server:
        result = desk.run("--llm", "record", "--llm-base-url", server.url)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([said])
    assert KEY.encode() not in desk.everything() and KEY not in result.stdout.str()


def test_a_missing_key_is_told_before_anything_is_sent(desk, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    result = desk.run("--llm", "record", "--llm-base-url", "https://models.invalid/v1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*key missing: https://models.invalid/v1 wants a key; set ASIARC_API_KEY or*"])


def test_a_budget_of_nothing_asks_nothing(desk):
    desk.write(usd=0.0)
    with Server((speaking(plain),)) as server:
        result = desk.run("--llm", "record", "--llm-base-url", server.url)
        assert server.requests == []
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*it was not made*raise the cap*"])


def test_the_plan_counts_calls_and_dollars(desk):
    result = desk.run("--plan")
    (line,) = [line for line in result.outlines if "question::explore" in line]
    calls, _minutes, usd, _done = line.split()[-4:]
    assert (calls, usd) == ("8", "0.25")  # 4 x (12,000 + 4 x 8,000 + 12,000 + 4 x 1,500) millionths
    assert not (desk.path / ".asiarc").exists()
    desk.write(researcher="grammar", arms=("random",))
    planned = [line.split()[0:2] for line in desk.run("--plan").outlines if "question::" in line]
    assert [name.split("::")[-1] for name, _ in planned] == ["explore", "verify", "confirm", *["random"] * 3]
    assert [stage for _, stage in planned[3:]] == ["explore", "verify", "confirm"]


def test_a_wrong_role_is_told_with_the_right_ones(desk):
    result = desk.run("--llm-model", "reseacher=x")
    result.stdout.fnmatch_lines(["*unknown role 'reseacher'. Did you mean 'researcher'?*"])
    result = desk.run("--llm-model", "analyst=unpriced")
    result.stdout.fnmatch_lines(["*prices does not name 'unpriced'*"])


def test_arms_run_beside_the_full_loop_and_are_reported_together(desk):
    desk.write(researcher="grammar", analyst=None, arms=("no_cognition", "random", "best_of_n"))
    result = desk.run()
    assert result.ret == 0
    passed = [line.split("question::")[1] for line in result.outlines if line.startswith("PASSED")]
    assert passed == ["explore", "verify", "confirm", "no_cognition", "random", "best_of_n"]
    result.stdout.fnmatch_lines(["*arms*", "question full loop: 4 candidates*", "question random: 4 candidates*"])
    against = [line for line in result.outlines if "full loop against it: " in line]
    assert len(against) == 3 and all("winner" in line for line in against)
    again = desk.run(executor=Refusing())
    assert again.ret == 0


def test_an_endpoint_that_says_nothing_readable_is_told_and_is_asked_again(desk):
    """It is said; once it is mended, --retry drops what came, says so, and asks anew."""
    with Server((speaking(lambda body: "This is the wrong door."),)) as wrong:
        result = desk.run("--llm", "record", "--llm-base-url", wrong.url, "-k", "explore")
        result.stdout.fnmatch_lines(["*no reply could be read for any of 4 proposals*--retry, which asks anew*"])
    with Server((speaking(plain),)) as server:
        result = desk.run("--llm", "record", "--llm-base-url", server.url, "--retry")
        assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["question: retry: dropped * replies, 0 trials, 4 candidates that failed, and the 4 prop*"]
    )

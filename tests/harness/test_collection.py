"""Campaign files are test files: what is collected from where, under which names, at what cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTION = """\
from asiarc import Budget, Campaign, Stage, by_tier

def test_above(outcome):
    pass

{name} = Campaign(
    start_from="delta_net",
    baselines=("delta_net",),
    explore=Stage(tasks=("text",)),
    verify=Stage(tasks=("text",), seeds=2),
    budget=by_tier(smoke=Budget(candidates=4, minutes=5)),
)

def test_below(outcome):
    pass
"""
TOML = """\
start_from = "delta_net"
baselines = ["delta_net"]
explore = { tasks = ["text"] }
budget = { smoke = { candidates = 4, minutes = 5 } }
"""
STAGES = ["explore", "verify", "confirm"]


@pytest.fixture
def folder(pytester):
    """Writes files below the root: ``folder(**{"campaigns/campaign_a.py": text})``."""

    def write(files):
        for name, text in files.items():
            path = pytester.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def collected(pytester, *arguments):
    """The node ids that ``--collect-only -q`` prints."""
    result = pytester.runpytest_inprocess("--collect-only", "-q", *arguments)
    found = [line for line in result.outlines if "::" in line and not line.startswith("deselected ")]
    return found, result


def ids(file, name="question", tests=("test_above", "test_below")):
    return [f"{file}::{name}::{stage}" for stage in STAGES] + [f"{file}::{test}" for test in tests]


def test_a_campaign_is_its_stages_then_the_tests_around_it(pytester, folder):
    folder({"campaigns/campaign_a.py": QUESTION.format(name="question")})
    found, result = collected(pytester)
    assert found == ids("campaigns/campaign_a.py")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["5 tests collected*"])


@pytest.mark.parametrize("patterns", ["test_*.py", "test_*.py campaign_*.py", "campaign_*", "campaigns/*.py", "*.py"])
@pytest.mark.parametrize(
    "argument", ["", "campaigns", "campaigns/campaign_a.py", "campaigns/campaign_a.py::question::verify"]
)
def test_every_way_of_asking_finds_it_once(pytester, folder, patterns, argument):
    """However python_files reads, and whether the file, its folder or a node is named."""
    pytester.makeini(f"[pytest]\npython_files = {patterns}\nasiarc_paths = .\n")
    folder({"campaigns/campaign_a.py": QUESTION.format(name="question")})
    found, _ = collected(pytester, *filter(None, [argument]))
    file = "campaigns/campaign_a.py"
    assert found == ([argument] if "::" in argument else ids(file))


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_import_modes(pytester, folder, mode):
    folder({"campaigns/campaign_a.py": QUESTION.format(name="question")})
    assert collected(pytester, f"--import-mode={mode}")[0] == ids("campaigns/campaign_a.py")


def test_names_carry_no_brackets_and_select(pytester, folder):
    folder({"campaign_a.py": QUESTION.format(name="one"), "campaign_b.py": QUESTION.format(name="two")})
    found, _ = collected(pytester)
    assert len(found) == 10 and not any(set("[]") & set(node) for node in found)
    assert collected(pytester, "-k", "verify")[0] == ["campaign_a.py::one::verify", "campaign_b.py::two::verify"]
    assert collected(pytester, "-k", "two and not test_")[0] == [f"campaign_b.py::two::{s}" for s in STAGES]
    assert collected(pytester, "campaign_b.py::two")[0] == [f"campaign_b.py::two::{s}" for s in STAGES]


def test_files_keep_their_order(pytester, folder):
    texts = {f"campaign_{letter}.py": QUESTION.format(name="question") for letter in "ab"}
    folder(texts | {"test_own.py": "def test_own(): pass"})
    found, _ = collected(pytester)
    assert [node.split("::")[0] for node in found] == ["campaign_a.py"] * 5 + ["campaign_b.py"] * 5 + ["test_own.py"]
    reverse, _ = collected(pytester, "campaign_b.py", "campaign_a.py")
    assert reverse[0].startswith("campaign_b.py") and reverse[5].startswith("campaign_a.py")


def test_two_campaigns_in_one_file(pytester, folder):
    text = QUESTION.format(name="one")
    again = text[text.index("one = ") : text.index("def test_below")].replace("one", "two").replace("verify=", "# ")
    folder({"campaign_a.py": text + again})
    found, _ = collected(pytester)
    assert found == [f"campaign_a.py::one::{s}" for s in STAGES] + [
        "campaign_a.py::two::explore", "campaign_a.py::test_above", "campaign_a.py::test_below",
    ]  # fmt: skip


def test_toml_is_a_campaign_by_the_name_of_its_file(pytester, folder):
    folder({"campaigns/campaign_small_states.toml": TOML})
    expected = ["campaigns/campaign_small_states.toml::small_states::explore"]
    assert collected(pytester)[0] == expected
    assert collected(pytester, "campaigns/campaign_small_states.toml")[0] == expected


def test_other_files_are_left_alone(pytester, folder):
    question = QUESTION.format(name="question")
    folder(
        {
            "campaigns/_campaign_draft.py": question,
            "campaigns/_campaign_draft.toml": TOML,
            "campaigns/campaign_notes.md": "",
            "campaigns/other.toml": TOML,
            "my_campaign_a.py": question,
        }
    )
    found, result = collected(pytester)
    assert found == [] and result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_test_that_borrows_a_declaration_does_not_run_it(pytester, folder):
    """Only a campaign file asks a question: a test may import the same object to look at it."""
    folder({"campaign_a.py": QUESTION.format(name="question"), "test_a.py": "from campaign_a import question\n"})
    assert all(node.startswith("campaign_a.py") for node in collected(pytester)[0])


def test_classes_parameters_and_marks_of_ordinary_tests_work(pytester, folder):
    extra = """
import pytest

@pytest.mark.parametrize("baseline", ["a", "b"])
@pytest.mark.claim("C07")
def test_each(baseline): pass

class TestMore:
    def test_inside(self): pass
"""
    folder({"campaign_a.py": QUESTION.format(name="question") + extra})
    pytester.makeini("[pytest]\nstrict = true\nasiarc_paths = .\n")
    found, _ = collected(pytester)
    assert found[:3] == [f"campaign_a.py::question::{s}" for s in STAGES]
    assert {node.split("::", 1)[1] for node in found[3:]} == {
        "test_above", "test_below", "test_each[a]", "test_each[b]", "TestMore::test_inside",
    }  # fmt: skip
    assert len(collected(pytester, "-m", "claim")[0]) == 2


def test_usage_errors_end_with_pytests_code(pytester, folder):
    folder({"campaign_a.py": QUESTION.format(name="question")})
    for arguments in (("--workers", "0"), ("--tier", "quik"), ("--teir", "quick"), ("campaign_b.py",)):
        result = pytester.runpytest_inprocess("-q", *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, arguments
    result = pytester.runpytest_inprocess("--workers", "0")
    result.stderr.fnmatch_lines(["*--workers 0: give at least 1"])
    assert pytester.runpytest_inprocess("-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


CHECK = """
import sys, pytest
status = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
heavy = {"torch", "numpy", "scipy", "transformers", "lm_eval", "datasets", "pandas", "sklearn", "matplotlib", "ray",
         "bm25s", "hypothesis", "asiarc.loop.run", "asiarc.execution", "asiarc.archive.store"}
print(int(status), sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("folder", ["campaigns", "reproductions"])
def test_collecting_what_is_shipped_imports_nothing_heavy(folder):
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(ROOT / folder)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout[-2000:]


def test_the_shipped_campaigns_are_collected_with_all_their_stages(pytester):
    found, result = collected(pytester, "--rootdir", str(ROOT), str(ROOT / "campaigns"))
    files = {path.name for path in (ROOT / "campaigns").glob("campaign_*")}
    assert result.ret == 0 and {node.split("::")[0].rpartition("/")[2] for node in found} == files
    assert not any(set("[]") & set(node) for node in found if node.rpartition("::")[2] in STAGES)

"""Every cheat is rejected by the gate that its first line names; every honest candidate and baseline is admitted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.campaign.own import COSTS
from asiarc.engineer.gates import GATES, Admission, admit
from asiarc.engineer.gates.gate import Cost
from asiarc.models.baselines import QUADRATIC
from tests.rigs.gates.corpus import caught_by, main, named_gate

HERE = Path(__file__).parent
CHEATS = sorted((HERE / "cheats").glob("*.py"))
HONEST = sorted((HERE / "honest").glob("*.py"))
BASELINES = sorted((HERE.parents[1] / "asiarc/models/baselines").glob("[a-z]*.py"))
SIZE = {"d_model": 64, "num_heads": 2}
FEW = 3  # drawn cases where nothing is to be found; the known ones all run, and the command draws the usual number


def examine(path, *, seed=0, **options):
    return admit(path.read_text(), **SIZE, seed=seed, **options)


@pytest.mark.parametrize("path", CHEATS, ids=lambda path: path.stem)
def test_a_cheat_is_caught_by_the_gate_it_names(path):
    admission = examine(path)
    assert named_gate(path.read_text()) in caught_by(admission), admission.as_dict()


@pytest.mark.parametrize("path", HONEST, ids=lambda path: path.stem)
def test_an_honest_candidate_is_admitted(path):
    assert examine(path, max_examples=FEW).first_rejection is None


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_a_baseline_is_admitted(path):
    exempt = COSTS if path.stem in QUADRATIC else frozenset()
    assert examine(path, exempt=exempt, max_examples=FEW).first_rejection is None


def test_softmax_attention_is_rejected_for_its_cost_alone():
    path = next(path for path in BASELINES if path.stem == "softmax_attention")
    admission = examine(path, stop_at_first=False)
    assert [f.gate for f in admission.findings if f.verdict == "rejected"] == sorted(COSTS)


def test_every_gate_has_a_cheat_and_says_what_it_cannot_see():
    named = {named_gate(path.read_text()) for path in CHEATS}
    assert named == {gate.name for gate in GATES}
    assert all("Cannot see" in " ".join((type(gate).__doc__ or "").split()) for gate in GATES)
    assert len(CHEATS) >= 40 and len(HONEST) >= 25


def test_gates_run_from_cheap_to_dear():
    costs = [gate.cost for gate in GATES]
    assert costs[0] == Cost.STATIC and costs == sorted(costs)


def test_an_admission_survives_json_and_stops_at_the_first_rejection():
    admission = examine(HERE / "cheats/dead_parameter.py")
    again = Admission.from_dict(json.loads(json.dumps(admission.as_dict())))
    assert again.as_dict() == admission.as_dict() and not again.admitted
    verdicts = [finding.verdict for finding in again.findings]
    at = verdicts.index("rejected")
    assert set(verdicts[at + 1 :]) == {"not run"} and "not run" not in verdicts[:at]


def test_the_smallest_failing_case_goes_into_the_reason():
    finding = examine(HERE / "cheats/leak_beyond_64.py").first_rejection
    assert finding.gate == "causality"
    assert (finding.example["cut"], finding.example["position"]) == (65, 64), finding
    assert "position 64" in finding.reason


def test_what_a_candidate_raises_becomes_a_reason_with_its_line():
    finding = examine(HERE / "cheats/two_tokens_at_least.py").first_rejection
    line = (HERE / "cheats/two_tokens_at_least.py").read_text().splitlines().index(
        "        h = h + 1 // (x.shape[1] - 1)"
    )  # fmt: skip
    assert finding.reason.startswith("raised ZeroDivisionError") and f"line {line + 1}" in finding.reason
    assert finding.example["tokens"] == 1


@pytest.mark.parametrize(
    "source",
    ["def Mixer(:\n", "", "class Mixer:\n    pass\n", "from torch import nn\nclass Mixer(nn.Module):\n    pass\n"],
    ids=["syntax", "empty", "no_module", "no_arguments"],
)
def test_a_source_that_is_no_candidate_is_rejected_and_nothing_after_it_runs(source):
    admission = admit(source, **SIZE, seed=0, stop_at_first=False)
    assert admission.first_rejection.gate in ("static", "construction")
    assert all(finding.verdict in ("passed", "rejected", "not run") for finding in admission.findings)


FINDINGS = """
import json, sys
from pathlib import Path
for name in sys.argv[2:]:
    __import__(name)
from asiarc.engineer.gates import admit
admission = admit(Path(sys.argv[1]).read_text(), d_model=64, num_heads=2, seed=3)
print(json.dumps([finding.as_dict() | {"cpu_s": 0} for finding in admission.findings]))
"""


def test_the_same_findings_in_any_process_whatever_else_it_loaded(tmp_path):
    (tmp_path / "numbers_of_someone_else.py").write_text("A, B, C, D = 7, 33, 90, 131\n")
    script = tmp_path / "findings.py"
    script.write_text(FINDINGS)
    path = str(HERE / "cheats/state_dropped_when_decoding.py")
    outputs = {
        subprocess.run([sys.executable, script, path, *extra], cwd=tmp_path, check=True, capture_output=True).stdout
        for extra in ([], ["numbers_of_someone_else"])
    }
    assert len(outputs) == 1 and b'"rejected"' in outputs.pop()


def test_the_command_is_not_green_where_it_looked_at_nothing(tmp_path):
    honest = tmp_path / "honest"
    honest.mkdir()
    (honest / "one.py").write_text("")
    (tmp_path / "cheats").mkdir()
    for folders in (["cheats", "honest"], ["honest", "cheats"], ["nowhere", "honest"]):
        result = CliRunner().invoke(main, [str(tmp_path / folder) for folder in folders])
        assert result.exit_code == 2 and "faults" not in result.output


def test_the_command_counts_what_it_missed(tmp_path):
    for folder in ("cheats", "honest"):
        (tmp_path / folder).mkdir()
    honest = (HERE / "honest/running_maximum.py").read_text()
    (tmp_path / "cheats/no_cheat.py").write_text("# caught by: causality\n" + honest)
    (tmp_path / "honest/cheat.py").write_text((HERE / "cheats/next_token_shift.py").read_text())
    result = CliRunner().invoke(main, [str(tmp_path / "cheats"), str(tmp_path / "honest")])
    assert result.exit_code == 1
    output = result.output
    assert "MISSED" in output and "falsely by causality" in output and "2 faults" in output

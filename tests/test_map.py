"""docs/map.md: what it names is there, and one of each kind can be added in the files that it names, no more."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^\| (.+\?) \| `(\S+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
FILES = {
    kind: re.findall(r"`([^`]+)`", files)
    for kind, files in re.findall(r"^\| (\w+) \| (`.*`) \|$", PAGE.partition("## To add one")[2], re.MULTILINE)
}

GATE = '''\
"""No output is louder than a hundred times what was put in."""

from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.subject import Subject, run


class Loudness(Gate):
    """|y| <= 100 max |x|."""

    name = "loudness"
    cost = Cost.FORWARD

    def check(self, subject: Subject) -> Finding | None:
        x_BTD = subject.inputs(1, 20, "loudness")
        y_BTD, _ = run(subject.make(), x_BTD)
        return self.finds("too loud") if y_BTD.abs().max() > 100 * x_BTD.abs().max() else None
'''
TASK = '''

def majority(rng: np.random.Generator, rows: int, *, length: int, values: int) -> Pair:
    """A if most bits are zeros, else B."""
    bits_BT = rng.integers(values, size=(rows, length))
    answer_B1 = VALUES[(2 * bits_BT.sum(axis=1, keepdims=True) > length).astype(int)]
    string_BT = np.concatenate([BITS[bits_BT], answer_B1], axis=1)
    return _answers_from(string_BT, length)


GENERATORS["majority"] = majority
'''
LISTING = """
    "majority": Listing(
        summary="which of two bits came more often",
        source="made up",
        role="reported",
        style="choice",
        levels={BASE: {"length": 9, "values": 2}},
        chance=lambda settings: 0.5,
        training=CHECK,
    ),
"""
POLICY = '''\
"""The newest first."""

from asiarc.search.policies.common import by_mean, first_runs
from asiarc.search.protocol import ROOT


class Newest:
    def next(self, board, rng):
        return first_runs(board)

    def parents(self, board, rng):
        return ROOT, []

    def recommend(self, board):
        return by_mean(board)
'''
BASELINE = '''\
"""A mean of the past: one number a channel to remember by."""

import torch
from torch import Tensor, nn


class Mixer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x_BTD: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start_B1D = torch.zeros_like(x_BTD[:, :1]) if state is None else state
        sum_BTD = start_B1D + x_BTD.cumsum(dim=1)
        return self.out(torch.tanh(sum_BTD)), sum_BTD[:, -1:]
'''
OPERATOR = '''\
"""`negate`: its contract and its computation."""

from torch import Tensor

from asiarc.kernels.contract import check_tensor


def negate(x: Tensor) -> Tensor:
    """y = -x."""
    return -check_tensor("negate", "x", x, (None,) * x.dim(), "[..., D]")


def formula(x: Tensor, eps: float) -> Tensor:
    """y = 0 - x."""
    return 0 - x
'''
REGISTERED = """
[C99]
statement = "A map names what is there."
place = "docs/map.md"
kind = "method"
paper_value = "8 kinds"
counts_for = "it does"
counts_against = "it does not"
weakest_tier = "smoke"
full_tier = "smoke"
"""
DOMAIN = '''\
"""What evolves is a stack of one mixer: which one, and how deep its pattern is written."""

from dataclasses import replace

from asiarc.domains.pattern import PATTERN, baseline

STACK = replace(PATTERN, baseline=lambda given, setting: baseline(f"{setting.blocks}*{given}", setting))
'''
CLAIM = '''\
"""Does a map name what is there?"""

from asiarc.evidence import Verdict, decides


@decides("C99")
def it_does(evidence):
    return Verdict("C99", "reproduced", "8 of 8", effect=8, n=8)
'''


def replaced(old: str, new: str):
    """An edit that puts a text in another's place, which must be there once."""

    def edit(text: str) -> str:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        return text.replace(old, new)

    return edit


def after(old: str, new: str):
    return replaced(old, old + new)


def appended(new: str):
    return lambda text: text + new


IMPORTED = "from asiarc.engineer.gates.loudness import Loudness\n"
SQUARE = """\
    elif g.features == "square":
        sketch.heads("", "{} ** 2")
"""
CAPS = """\
        if arm == "no_caps":
            changes |= {"at_most": {}}
"""


def MECHANISM(text: str) -> str:
    """Features that are squared: a choice, and what it is in words."""
    chosen = after('features: Literal["identity", "silu", "relu", ', '"square", ')(text)
    row = '    "features=square": Trait("squares", "signs are dropped", ("recall",)),\n'
    return after("TRAITS: Mapping[Tag, Trait] = {\n", row)(chosen)


def MEMORY(text: str) -> str:
    """A memory that forgets at fixed rates, under another name."""
    chosen = replaced('    "window",\n]', '    "window", "fading",\n]')(text)
    row = '    "memory=fading": Trait("a memory that fades", "the far past counts less", ("text",)),\n'
    return after("TRAITS: Mapping[Tag, Trait] = {\n", row)(chosen)


def WRITTEN(text: str) -> str:
    """The operator that computes it, and what that computes."""
    ruled = after("RECURRENCES = {\n", '    "fading": "S_t = gamma_h S_{t-1} + k_t v_t^T",\n')(text)
    return after("KERNELS = {\n", '    "fading": "retention",\n')(ruled)


# kind -> the files in the order of the page, each with its edit or, where it is new, its text
ADDITIONS = {
    "gate": [
        GATE,
        lambda text: after("    BackwardCost(),\n", "    Loudness(),\n")(
            after("from asiarc.engineer.gates.guard import CandidateFailure, guarded\n", IMPORTED)(text)
        ),
    ],
    "task": [after("CATALOGUE: dict[str, Listing] = {", LISTING), appended(TASK)],
    "mechanism": [MECHANISM, after('        sketch.heads("elu", "{} + 1")\n', SQUARE)],
    "memory": [MEMORY, WRITTEN],
    "policy": [POLICY, after("POLICIES = {", '\n    "newest": "asiarc.search.policies.newest:Newest",')],
    "baseline": [BASELINE, after('    "linear_attention",\n', '    "running_sum",\n')],
    "arm": [
        lambda text: after('changes: dict[str, Any] = {"arms": ()}\n', CAPS)(
            replaced("ARMS = (", 'ARMS = ("no_caps", ')(text)
        )
    ],
    "domain": [DOMAIN, after("DOMAINS = {", '"stack": "asiarc.domains.stack:STACK", ')],
    "operator": [OPERATOR, after('        Operator("l2_norm", "norm"),\n', '        Operator("negate", "norm"),\n')],
    "claim": [appended(REGISTERED), CLAIM],
}
NAMES = {
    "gate": "loudness",
    "domain": "stack",
    "policy": "newest",
    "baseline": "running_sum",
    "operator": "negate",
    "claim": "map",
}

# What shows that it took effect, run in the copy; each prints what is expected.
PROOFS = {
    "gate": """
from asiarc.engineer.gates import admit
from asiarc.models.baselines import baseline_source
loud = baseline_source("linear_attention").replace("return y_BTD", "return 1e4 * y_BTD")
rejected = admit(loud, d_model=32, num_heads=2, seed=0, max_examples=2).first_rejection
assert rejected is not None and rejected.gate == "loudness", rejected
assert admit(baseline_source("linear_attention"), d_model=32, num_heads=2, seed=0, max_examples=2).admitted
""",
    "task": """
from asiarc.tasks import get_task
task = get_task("majority")
assert task.batch("train", 3, 0).inputs_BT.shape == (3, 10)
assert len(task.documents("validation", 4, "here")) == 4 and task.chance == 0.5 and not task.decides
""",
    "mechanism": """
from asiarc.core.candidate import load_mixer
from asiarc.core.genome import Genome
from asiarc.engineer.gates import admit
from asiarc.researcher.mechanisms import choice_of, phrase
from asiarc.researcher.render import render
assert choice_of("features=square") == ("features", "square") and phrase("features=square")
source = render(Genome(features="square"))
assert "** 2" in source
assert admit(source, d_model=32, num_heads=2, seed=0, max_examples=2).admitted
""",
    "memory": """
from asiarc.core.genome import Genome
from asiarc.engineer.gates import admit
from asiarc.researcher.mechanisms import phrase
from asiarc.researcher.render import render
source = render(Genome(memory="fading"))
assert "retention(" in source and phrase("memory=fading") == "a memory that fades"
assert admit(source, d_model=32, num_heads=2, seed=0, max_examples=2).admitted
""",
    "policy": """
from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.core.recipe import stage_plan
from asiarc.search.campaign import Exploration
campaign = Campaign(start_from="delta_net", baselines=("delta_net",), explore=Stage(tasks=("text",)), policy="newest",
                    budget=by_tier(smoke=Budget(candidates=4, minutes=1)))
assert type(Exploration(campaign, "q", "smoke", stage_plan("smoke", "explore")).policy).__name__ == "Newest"
""",
    "baseline": """
from asiarc import Budget, Campaign, Stage, by_tier
from asiarc.engineer.gates import admit
from asiarc.models.baselines import baseline_source
Campaign(start_from="running_sum", baselines=("running_sum",), explore=Stage(tasks=("text",)),
         budget=by_tier(smoke=Budget(candidates=4, minutes=1)))
found = admit(baseline_source("running_sum"), d_model=32, num_heads=2, seed=0, max_examples=4)
assert found.admitted, found.first_rejection
""",
    "arm": """
from asiarc import Budget, Campaign, Stage, by_tier
campaign = Campaign(start_from="delta_net", baselines=("delta_net",), explore=Stage(tasks=("text",)), arms=("no_caps",),
                    at_most={"flops": 2.0}, budget=by_tier(smoke=Budget(candidates=4, minutes=1)))
assert campaign.as_arm("no_caps").at_most == {} and campaign.as_arm("no_caps").arm == "no_caps"
""",
    "domain": """
from asiarc import Budget, Campaign, Recipe, Stage, by_tier
campaign = Campaign(domain="stack", slots=("gla",), start_from="gla", baselines=("gla",), recipe=Recipe(num_layers=4),
                    explore=Stage(tasks=("text",)), budget=by_tier(smoke=Budget(candidates=4, minutes=1)))
assert "gla" in campaign.baseline("gla").source and campaign.setting.blocks == 4
""",
    "operator": """
import torch
from asiarc.campaign.code import operators
from asiarc.engineer.gates import admit
from asiarc.kernels.operators import OPERATORS
from asiarc.models.baselines import baseline_source
x = torch.randn(2, 3)
assert torch.equal(OPERATORS["negate"].call(x), OPERATORS["negate"].reference(x=x)) and "negate" in operators()
used = "from asiarc.kernels.negate import negate\\n\\n\\nclass Mixer"
source = baseline_source("linear_attention").replace("class Mixer", used)
assert admit(source, d_model=32, num_heads=2, seed=0, max_examples=2).admitted
""",
    "claim": """
import pytest, sys
status = pytest.main(["-q", "-p", "no:cacheprovider", "--claims-only", "C99", "--accept-verdicts", "new",
                      "reproductions/claim_map.py"])
assert status == 0, status
""",
}


def test_ten_questions_have_one_file_each():
    assert len(QUESTIONS) == 10
    for question, file, name in QUESTIONS:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        names |= {
            target.id
            for node in tree.body
            for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
            if isinstance(target, ast.Name)
        }
        assert name in names, f"{question} {file} defines no {name}"


def test_every_kind_takes_two_files_at_most():
    assert FILES.keys() == ADDITIONS.keys() == PROOFS.keys()
    assert all(len(FILES[kind]) == len(ADDITIONS[kind]) <= 2 for kind in FILES)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree with one of each kind added, in the files that the page names."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("asiarc", "kernels", "reproductions"):
        into = folder / ("asiarc/kernels" if name == "kernels" else name)
        shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text('[tool.pytest]\nstrict = true\npythonpath = ["."]\n')
    for kind, edits in ADDITIONS.items():
        for place, edit in zip(FILES[kind], edits, strict=True):
            path = folder / re.sub("^kernels/", "asiarc/kernels/", place.replace("NAME", NAMES.get(kind, "")))
            is_new = "NAME" in place
            assert path.exists() != is_new, path
            path.write_text(edit if is_new else edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


# Each proof has a process of its own, forked where torch is there: to import that takes longer than to prove.
PROVER = """
import json, os, sys
import pytest
import asiarc, asiarc.kernels, asiarc.engineer.gates, asiarc.models.backbone
assert asiarc.__file__.startswith(sys.argv[1])
for kind, proof in json.load(sys.stdin).items():
    pid = os.fork()
    if not pid:
        out = os.open(f"{sys.argv[1]}/{kind}.said", os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1), os.dup2(out, 2)
        exec(compile(proof, kind, "exec"), {"__name__": "__main__"})
        sys.exit()
    print(kind, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def proved(tree):
    """How the proof of each kind ended: exit status by kind."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROVER, str(tree)]
    done = subprocess.run(
        command, cwd=tree, env=environment, input=json.dumps(PROOFS), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {kind: int(status) for kind, status in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("kind", PROOFS)
def test_one_can_be_added(kind, tree, proved):
    assert proved[kind] == 0, (tree / f"{kind}.said").read_text()[-3000:]

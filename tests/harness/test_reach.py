"""What a key rests on: an edit of any definition that is reached moves the keys that reach it, and no other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest

from asiarc.campaign.code import DATA, DECIDES_NOTHING, ENTRIES, ROOTS, STOPS, kernel, kernels_of, reached
from asiarc.core.device import DEVICES, backend_on
from asiarc.core.reach import Code, installed
from asiarc.tasks.task import _code as task_code

HERE = installed()
KERNELS = [f"{name}/{backend}" for name in ("gla", "delta_rule", "fir") for backend in ("chunk", "triton")]
TASKS = ("text", "overwrite", "parity")


def keys(code):
    return {
        **{entry: reached(entry, code).whole for entry in ENTRIES},
        **{name: kernel(*name.split("/"), code) for name in KERNELS},
        **{f"task {name}": task_code(name, code) for name in TASKS},
    }


@pytest.fixture(scope="module")
def before():
    return keys(HERE)


def moved(before, edits):
    after = keys(HERE.edited(edits))
    return {name for name, value in after.items() if value != before[name]}


def node_of(text, dotted):
    """The syntax tree of a definition, ``Class.method`` for a method."""
    nodes = ast.parse(text).body
    for name in dotted.split("."):
        node = next(
            n
            for n in nodes
            if getattr(n, "name", "") == name
            or name in {t.id for t in getattr(n, "targets", [getattr(n, "target", None)]) if isinstance(t, ast.Name)}
        )
        nodes = getattr(node, "body", [])
    return node


def changed(text, dotted):
    """A text in which one definition computes something else: a function or class by a statement more, a value by
    another around it."""
    node, lines = node_of(text, dotted), text.splitlines()
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        first = node.body[0]
        return "\n".join(
            [*lines[: first.lineno - 1], " " * first.col_offset + "changed = 1", *lines[first.lineno - 1 :]]
        )
    value = ast.get_source_segment(text, node.value)
    return text.replace(
        ast.get_source_segment(text, node), ast.get_source_segment(text, node).replace(value, f"({value}, 1)")
    )


def file_of(module):
    file = HERE.file(module)
    assert file is not None, module
    return file


MOVES = {
    "asiarc.analyst.compare:mechanism_effects": "run",
    "asiarc.analyst.marking:RUBRIC": "run",
    "asiarc.analyst.explaining:PROMPT": "run",
    "asiarc.archive.annex:Annex.novel": "run",
    "asiarc.archive.gains:NOISE": "run",
    "asiarc.archive.results:mean_gain": "run",
    "asiarc.archive.store:Archive.proposals": "run",
    "asiarc.cognition.base:query_of": "run",
    "asiarc.cognition.library:K": "run",
    "asiarc.core.candidate:content_address": "trial, admission, pace, fingerprint, run",
    "asiarc.core.candidate:load_mixer": "trial, admission, pace, fingerprint",
    "asiarc.core.candidate:make_mixer": "trial, admission, pace, fingerprint",
    "asiarc.core.device:PRECISION": "trial, run",
    "asiarc.core.genome:DELTA": "run",
    "asiarc.core.outcome:Outcome": "trial, admission, pace, run",
    "asiarc.core.recipe:TrialRecipe.tokens": "trial, admission, run",
    "asiarc.core.recipe:StagePlan.runs": "run",
    "asiarc.core.recipe:_PLANS": "run",
    "asiarc.core.seeds:seed_of": "trial, admission, pace, fingerprint, run, task text, task overwrite, task parity",
    "asiarc.engineer.fingerprint:_fix_weights": "fingerprint",
    "asiarc.engineer.gates.causality:LONG": "admission",
    "asiarc.engineer.gates.complexity:STEEP": "admission",
    "asiarc.engineer.gates.counting:count": "trial, admission",
    "asiarc.engineer.gates.measure:TOKENS": "trial, admission",
    "asiarc.engineer.gates.static:MAX_NUMBERS": "admission",
    "asiarc.engineer.gates.subject:Subject.inputs": "trial, admission, pace, fingerprint",
    "asiarc.engineer.pace:PAIRS": "pace",
    "asiarc.engineer.scoring:Score": "trial",
    "asiarc.engineer.trainer:LOG_2": "trial",
    "asiarc.engineer.trainer:learning_rate_at": "trial",
    "asiarc.engineer.scoring:windows": "trial",
    "asiarc.engineer.trial:admission": "admission",
    "asiarc.engineer.workshop:ADMIT_LIMITS": "admission, pace, fingerprint",
    "asiarc.engineer.workshop:GATE_EXAMPLES": "run",
    "asiarc.engineer.workshop:Request.limits": "trial",
    "asiarc.engineer.workshop:_trial_outcome": "trial",
    "asiarc.evidence.paper:fitness": "run",
    "asiarc.kernels.blocked:blocked": "gla/triton, delta_rule/triton",
    "asiarc.kernels.blocks:level_decay": "gla/triton, delta_rule/triton",
    # registered as an operator of torch when its module is imported, by which fir comes to its decorator
    "asiarc.kernels.chunked:inverse": (
        "gla/chunk, gla/triton, delta_rule/chunk, delta_rule/triton, fir/chunk, fir/triton"
    ),
    "asiarc.kernels.contract:causal_filter": "fir/chunk, fir/triton",
    "asiarc.kernels.contract:check_decay": "gla/chunk, gla/triton, delta_rule/chunk, delta_rule/triton",
    "asiarc.kernels.fir:fir": "fir/chunk, fir/triton",
    "asiarc.kernels.gla:gla": "gla/chunk, gla/triton",
    "asiarc.llm.reading:OPENS": "run",
    "asiarc.loop.context:Surroundings": "run",
    "asiarc.loop.findings:FULL": "run",
    "asiarc.loop.run:Run.analyse": "run",
    "asiarc.loop.trials:CAPABILITY_SHARE": "run",
    "asiarc.models.backbone:AsiarcForCausalLM._init_weights": "trial",
    "asiarc.models.backbone:Block.forward": "trial",
    "asiarc.models.backbone:_shared_weight": "trial",
    "asiarc.models.backbone:matched_hidden": "trial",
    "asiarc.researcher.bandit:choose": "run",
    "asiarc.researcher.briefing:TASK": "run",
    "asiarc.researcher.grammar:mutate": "run",
    "asiarc.researcher.novelty:nearest": "run",
    "asiarc.researcher.render:render": "run",
    "asiarc.search.campaign:LEADING": "run",
    "asiarc.search.estimate:RATIOS_L": "run",
    "asiarc.search.policies.bayes:Thompson": "run",
    "asiarc.search.policies.paper:PaperPolicy.pool": "run",
    "asiarc.speed.paired:best_of": "pace",
    "asiarc.tasks.corpus:HELD_OUT_SHARE": "task text",
    "asiarc.tasks.lm_eval_config:lm_eval_config": "task text, task overwrite, task parity",
    "asiarc.tasks.prose:SHARED_AT_MOST": "task text",
    "asiarc.tasks.synthetic:by_next_character": "task overwrite, task parity",
    "asiarc.tasks.synthetic:overwrite": "task overwrite",
    "asiarc.tasks.synthetic:parity": "task parity",
    "asiarc.tasks.task:DOCUMENT_BYTES": "run, task text",
    "asiarc.tasks.task:SyntheticTask.batch": "run, task overwrite, task parity",
    "asiarc.tasks.task:Task._rng": "run, task text, task overwrite, task parity",
    "asiarc.tasks.task:TextTask.batch": "run, task text",
}
"""Definitions that are reached, each with the keys that rest on it."""

MOVES_NOTHING = (
    "asiarc.audit.table:LIMITS",
    "asiarc.core.errors:unknown_name",
    "asiarc.engineer.distributed:main",
    "asiarc.execution.local:LocalExecutor",
    "asiarc.harness.items:StageItem",
    "asiarc.kernels.accuracy:errors",
    "asiarc.llm.dialect:SIZE",
    "asiarc.llm.endpoint:LONGEST_WAIT_S",
    "asiarc.llm.streams:DONE",
    "asiarc.loop.progress:HEARTBEAT",
    "asiarc.report.figures:forest",
    "asiarc.report.wording:interval",
    "asiarc.studies.plan:_row",
    "asiarc.tasks.catalogue:CATALOGUE",
)
"""What says, stores, transports, shows or asks for, and what no trial or run comes by."""


@pytest.mark.parametrize("place", [*MOVES, *MOVES_NOTHING])
def test_an_edit_moves_what_rests_on_it_and_nothing_else(place, before):
    module, _, name = place.partition(":")
    file = file_of(module)
    text = changed(file.read_text(), name)
    assert moved(before, {file: text}) == set(filter(None, MOVES.get(place, "").split(", ")))


NAMED = {
    "the sign of a gain": ("asiarc.archive.results", "sign = 1 if higher", "sign = -1 if higher", {"run"}),
    "the paper's fitness": (
        "asiarc.evidence.paper",
        "return (\n        _saturating((4.575",
        "return -(\n        _saturating((4.575",
        {"run"},
    ),
    "the tokens of a measure": ("asiarc.engineer.gates.measure", "TOKENS = 128", "TOKENS = 8", {"trial", "admission"}),
    "a GPU kernel's decay": (
        "asiarc.kernels.blocks",
        "tl.exp2(tl.where(x > 0, 0.0, x)",
        "tl.exp2(1.5 * tl.where(x > 0, 0.0, x)",
        {"gla/triton", "delta_rule/triton"},
    ),
    "a comment": ("asiarc.engineer.trainer", "LOG_2 = ", "# as in the paper\nLOG_2 = ", set()),
    "a docstring": ("asiarc.engineer.trainer", '"""Linear warm-up', '"""A linear warm-up', set()),
    "the order of imports": (
        "asiarc.loop.run",
        "from asiarc.archive.annex import Annex\nfrom asiarc.archive.store import Archive, Trial\n",
        "from asiarc.archive.store import Archive, Trial\nfrom asiarc.archive.annex import Annex\n",
        set(),
    ),
    "another function by the same name": (
        "asiarc.engineer.trainer",
        "from torch.nn import functional as F",
        "from torch.nn.utils import rnn as F",
        {"trial"},
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_an_edit_of_text(what, before):
    module, old, new, keys_moved = NAMED[what]
    file = file_of(module)
    text = file.read_text()
    assert text.count(old) == 1
    assert moved(before, {file: text.replace(old, new)}) == keys_moved


def test_where_a_definition_lies_does_not_count(before):
    """A method's helper, moved to another module and imported from there."""
    source, target = file_of("asiarc.archive.results"), file_of("asiarc.evidence.shares")
    text = source.read_text()
    function = ast.get_source_segment(text, node_of(text, "mean_gain"))
    there = f"{target.read_text()}\n\n{function}\n".replace(
        "from __future__ import annotations", "from __future__ import annotations\nfrom collections.abc import Mapping"
    )
    here = text.replace(function, "from asiarc.evidence.shares import mean_gain")
    assert moved(before, {source: here, target: there}) == set()


@pytest.mark.parametrize("glob", DATA)
def test_a_file_that_is_read_counts(glob, before):
    file = min(HERE.folder.glob(glob))
    assert moved(before, {file: file.read_text() + "\n# more"}) == {"run"}


def test_what_moved_is_named():
    file = file_of("asiarc.archive.results")
    after = reached("run", HERE.edited({file: changed(file.read_text(), "mean_gain")})).definitions
    old = reached("run").definitions
    assert {name for name in old if old[name] != after[name]} == {"mean_gain"}


# --- the lists that remain are complete -------------------------------------------------------------------------------


def test_every_file_of_the_package_that_is_no_python_is_in_a_table():
    files = [f for f in HERE.folder.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")]
    for file in files:
        globs = [glob for glob in [*DATA, *DECIDES_NOTHING] if file in HERE.folder.glob(glob)]
        assert len(globs) == 1, f"{file} is in {globs or 'neither table'}"


def test_every_package_that_has_code_is_in_the_wheel():
    project = HERE.folder.parent / "pyproject.toml"
    setuptools = tomllib.loads(project.read_text())["tool"]["setuptools"]
    folders = {f.parent.relative_to(HERE.folder).as_posix() for f in HERE.folder.rglob("*.py")}
    kernels = {f.parent.relative_to(HERE.kernels).as_posix() for f in HERE.kernels.rglob("*.py")}
    names = {f"asiarc/{folder}" for folder in folders} | {f"asiarc/kernels/{folder}" for folder in kernels}
    assert {name.removesuffix("/.").replace("/", ".") for name in names} == set(setuptools["packages"])


@pytest.mark.parametrize("place", sorted({*STOPS, *(root for roots in ROOTS.values() for root in roots)}))
def test_stops_and_roots_exist(place):
    module, _, name = place.partition(":")
    found = HERE.module(module)
    assert found is not None and (not name or name in found.definitions)


def test_every_job_by_name_is_an_entry_point_of_its_own():
    """What runs in the sandbox for a campaign is named in the workshop: each job has a key that holds its code."""
    jobs = set(re.findall(r'"(asiarc\.[\w.]+:\w+)"', file_of("asiarc.engineer.workshop").read_text()))
    roots = {root for entry, roots in ROOTS.items() if entry != "run" for root in roots}
    decide_nothing = {
        "asiarc.engineer.workshop:node_versions", "asiarc.engineer.trial:device", "asiarc.execution.job:echo",
    }  # fmt: skip
    wraps = {"asiarc.models.library:wrapped"}  # named by the source of a library's mixer, in whichever job
    own = {root for root in roots if not root.startswith("asiarc.engineer.workshop:")}
    assert jobs - decide_nothing == own - wraps


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("operator", ["gla", "delta_rule"])
def test_the_backend_in_a_key_is_the_one_that_the_kernels_choose(device, operator, monkeypatch):
    import torch

    from asiarc.kernels.contract import choose

    x = SimpleNamespace(is_cuda=device == "cuda", dtype=torch.float32, shape=(1, 8, 2, 32))
    assert choose(operator, None, ["chunk", "reference", "triton"], x) == backend_on(device)


def test_a_key_takes_the_kernels_that_its_candidate_imports():
    source = "from torch import nn\nfrom asiarc.kernels.gla import gla\n\n\nclass Mixer(nn.Module):\n    pass\n"
    assert kernels_of(source, "chunk") == {"gla": kernel("gla", "chunk")}
    assert kernels_of(source, "triton") != kernels_of(source, "chunk")
    assert kernels_of("import asiarc.kernels.fir as f", "chunk").keys() == {"fir"}
    assert kernels_of("import torch", "chunk") == kernels_of("def (", "chunk") == {}


def test_keys_are_made_without_torch():
    code = "import sys\nfrom asiarc.campaign.code import *\nfor entry in ENTRIES: reached(entry)"
    code += "\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- how names are followed -------------------------------------------------------------------------------------------

PACKAGE = {
    "__init__.py": "",
    "a.py": """
from asiarc import b
from asiarc.c import thing as other, Base
import math

CONSTANT = 1
ALONE = 2

def root(x):
    from asiarc.b import late
    return late(b.through(x)) + other() + Child().wanted()

class Child(Base):
    def wanted(self):
        return self.helper()

    def helper(self):
        return CONSTANT

    def unwanted(self):
        return ALONE
""",
    "b.py": """
from asiarc.c import deep

print("counts with this module")
def through(x): return deep(x)
def late(x): return "asiarc.c:job"
def unreached(): pass
""",
    "c.py": """
class Base:
    def never(self): pass
    def __len__(self): return 0
def thing(): return 0
def deep(x): return x
def job(): return 1
def unreached(): pass
""",
}


def test_names_are_followed(tmp_path):
    for name, text in PACKAGE.items():
        (tmp_path / name).write_text(text)
    found = Code(tmp_path).reach(["asiarc.a:root"])
    assert {f"{module.removeprefix('asiarc.')}:{name}" for module, name in found.places} == {
        *("a:root", "a:Child", "a:Child.wanted", "a:Child.helper", "a:CONSTANT"),
        *("b:", "b:through", "b:late"),
        *("c:Base", "c:Base.__len__", "c:thing", "c:deep", "c:job"),
    }
    stopped = Code(tmp_path).reach(["asiarc.a:root"], {"asiarc.b", "asiarc.c:thing"})
    assert {module for module, _ in stopped.places} == {"asiarc.a", "asiarc.c"}
    assert ("asiarc.c", "thing") not in stopped.places


def test_a_class_with_a_base_from_outside_counts_whole(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "a.py").write_text(
        "from torch import nn\nclass M(nn.Module):\n    def unseen(self): return f()\ndef f(): pass"
    )
    assert {name for _, name in Code(tmp_path).reach(["asiarc.a:M"]).places} == {"M", "M.unseen", "f"}

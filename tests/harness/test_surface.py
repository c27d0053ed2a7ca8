"""What may be typed is what docs/surface.md says, each thing with its reason: nothing appears or goes unnoticed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click

from asiarc.harness import plugin
from asiarc.harness.cli import main
from tests.rigs.__main__ import RIGS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "surface.md"
ROW = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)` )?\| ?(.*) \|$", re.MULTILINE)


def frozen():
    """What the page holds: (what is typed, its arguments and options) -> why."""
    return {(typed, options): why for typed, options, why in ROW.findall(PAGE.read_text())}


def commands(command, path):
    """Every command below one, with its arguments and options."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")
        return
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    options = sorted(
        name for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)
    )
    yield path, " ".join([*arguments, *options])


class Parser:
    """Notes the options that a plugin adds."""

    def __init__(self):
        self.options = []

    def getgroup(self, *_):
        return self

    def addoption(self, *names, **_):
        self.options += [(f"pytest {name}", name.replace("asiarc-", "")) for name in names]

    def addini(self, name, *_, **__):
        self.options.append((f"pytest -o {name}", "FOLDERS"))


def pytest_options():
    parser = Parser()
    plugin.pytest_addoption(parser)
    return parser.options


def sessions():
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [
        (f"nox -s {f.name}", "") for f in functions if any(ast.unparse(d) == "nox.session" for d in f.decorator_list)
    ]


def is_door(path):
    """Whether a file does something when it is run."""
    tests = (node.test for node in ast.parse(path.read_text()).body if isinstance(node, ast.If))
    return path.name == "__main__.py" or any(ast.unparse(test).startswith("__name__ == '__main__'") for test in tests)


def doors():
    rooms = ("asiarc", "kernels", "tests")
    found = [path.relative_to(ROOT) for room in rooms for path in (ROOT / room).rglob("*.py") if is_door(path)]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__main__") for path in found]
    return [(f"python -m {module}", "") for module in modules]


def test_the_page_is_what_may_be_typed():
    rigs = [(f"python -m tests.rigs {name}", "") for name in RIGS]
    here = {*commands(main, "asiarc"), *pytest_options(), *sessions(), *doors(), *rigs}
    page = set(frozen())
    assert here - page == set(), "not on the page"
    assert page - here == set(), "on the page only"


def test_each_has_a_reason():
    assert [typed for (typed, _), why in frozen().items() if len(why.split()) < 3] == []


def test_no_row_is_malformed():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(frozen())


def test_the_list_of_rigs_needs_neither_torch_nor_ray():
    code = (
        "import sys; from tests.rigs.__main__ import main; main(['--help'], standalone_mode=False);"
        "assert not {'torch', 'ray', 'numpy', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in RIGS)


def test_a_rig_away_from_the_checkout_says_where_to_go(tmp_path):
    command = [sys.executable, "-m", "tests.rigs", "llm"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and f"run them from {ROOT}" in done.stderr.replace("\n", " ")

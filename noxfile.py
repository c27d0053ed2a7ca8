"""Every developer task as one command: ``nox -l`` lists them, ``nox -s tests`` runs one.

All sessions share one environment, ``.nox/asiarc``, made on first use from `requirements.lock` (hashes checked) and
made anew when the lock or the package list changes: about two minutes and 3 GB once, seconds afterwards.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).parent
SHARED = ROOT / ".nox" / "asiarc"
LOCK = ROOT / "requirements.lock"
# torch and what torch brings stay out of the lock: which build is right depends on the machine (CPU or which CUDA).
UNLOCKED = ("torch>=2.9,<2.14", "triton==3.7.1 ; sys_platform == 'linux'")
COMPANIONS = re.compile(r"^(torch|triton|nvidia-|cuda-)")


def environment(session: nox.Session) -> str:
    """The shared environment's Python; builds the environment when it is missing or stale."""
    python = SHARED / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = SHARED / "stamp"
    project = (ROOT / "pyproject.toml").read_text()
    wanted = hashlib.sha256((LOCK.read_text() + project + sys.version + str(ROOT)).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    session.log(f"making {SHARED.relative_to(ROOT)} from {LOCK.name}: about two minutes, once")
    shutil.rmtree(SHARED, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(SHARED)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    session.run_install(*pip, *UNLOCKED, external=True)
    session.run_install(*pip, "--require-hashes", "--no-deps", "-r", str(LOCK), external=True)
    session.run_install(*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT), external=True)
    # By all cores, where pip takes one; that some packages bring files of no Python is no error, as it is none to pip.
    compiled = [str(python), "-m", "compileall", "-qq", "-j", "0", str(SHARED)]
    session.run_install(*compiled, external=True, success_codes=[0, 1])
    stamp.write_text(wanted)
    return str(python)


def run(session: nox.Session, *command: str) -> None:
    """Run a module of the shared environment: ``run(session, "pytest", "-x")``."""
    session.run(environment(session), "-m", *command, external=True, env={"TOKENIZERS_PARALLELISM": "false"})


@nox.session
def tests(session: nox.Session) -> None:
    """All tests on this machine, no network and no GPU needed; arguments after -- go to pytest."""
    # Once, for the many processes that the tests start; what tests write themselves is compiled as it stands.
    run(session, "compileall", "-q", "asiarc", "kernels", "tests")
    session.env["PYTHONDONTWRITEBYTECODE"] = "1"
    limits = ["--timeout", "600"]  # a stuck test ends, and says where it stood
    # In their order: xdist would keep files of few tests for the end, which are the longest, and one worker idle.
    # One worker more than the cores: some tests wait for processes that they start, and two kept 1.7 cores busy.
    shared = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
    run(session, "pytest", "-q", *shared, *limits, *(session.posargs or ["tests"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's rules and its formatting of imports; says what it would change and changes nothing."""
    run(session, "ruff", "check", ".")


def installed(session: nox.Session) -> str:
    """Install the package as a user has it, kernels/ as asiarc.kernels, and go there; the environment's Python."""
    python, folder = environment(session), ROOT / ".nox" / "installed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # what an earlier build left would be installed, too
    pip = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    session.run(python, "-m", *pip, "--target", str(folder), str(ROOT), external=True)
    session.chdir(folder)
    return python


@nox.session
def types(session: nox.Session) -> None:
    """Types and layers of the installed package: mypy in strict mode, and import-linter's contracts."""
    python = installed(session)
    session.run(python, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), external=True)
    contracts = "from importlinter.cli import lint_imports_command as run; run()"
    session.run(python, "-c", contracts, "--config", str(ROOT / "pyproject.toml"), external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """These pages built offline into .nox/docs, warnings as errors, and every command in them run. -- -k PAGE"""
    run(session, "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", ".nox/docs")
    run(session, "pytest", "-q", "tests/docs/pages.py", *session.posargs)


@nox.session
def campaigns(session: nox.Session) -> None:
    """Every shipped question asked at smoke, in a store of their own: minutes once, then what changed."""
    run(session, "pytest", "-q", "--tier", "smoke", "--store", ".nox/campaigns", *(session.posargs or ["campaigns"]))


@nox.session
def reproduce(session: nox.Session) -> None:
    """The paper's claims: campaigns and deciders, a table and a report, and whether it agrees with the published run.
    -- --tier smoke|quick|full"""
    run(session, "asiarc", "reproduce", *tiered(session))


@nox.session
def publish(session: nox.Session) -> None:
    """Put what was reproduced in the place of the published run, and into the README. -- --tier quick|full"""
    arguments = tiered(session)
    tier = arguments[arguments.index("--tier") + 1]
    run(session, "asiarc", "report", *arguments, "--output", f"results/reproduction/{tier}")
    run(session, "tests.rigs", "readme", "--write")


def tiered(session: nox.Session) -> list[str]:
    """The arguments after --, with the tier that is published where they name none."""
    return list(session.posargs) if "--tier" in session.posargs else ["--tier", "quick", *session.posargs]


@nox.session
def speed(session: nox.Session) -> None:
    """The kernels' speed gate: correctness, structure, accuracy, then the clock. -- --against COMMIT"""
    run(session, "tests.rigs", "kernels", "gate", *session.posargs)


@nox.session
def rigs(session: nox.Session) -> None:
    """What measures the product, by name: -- sandbox, -- kernels gate, -- policies replay; without a name, the list."""
    run(session, "tests.rigs", *(session.posargs or ["--help"]))


@nox.session
def properties(session: nox.Session) -> None:
    """The kernels' properties alone, as CI draws them (minutes). -- --nightly draws 40 times as many examples."""
    arguments = [a for a in session.posargs if a != "--nightly"]
    if len(arguments) < len(session.posargs):
        os.environ["ASIARC_KERNEL_EXAMPLES"] = "500"
    run(session, "pytest", "-q", "-n", "2", "--dist", "loadfile", "tests/kernels", *arguments)


@nox.session
def lock(session: nox.Session) -> None:
    """Make requirements.lock anew from pyproject.toml, without torch and its companions (needs uv on the path)."""
    links = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True, check=False
    )
    session.run(
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "--extra",
        "dev",
        "--universal",
        "--generate-hashes",
        "--python-version",
        "3.11",
        "--quiet",
        "--no-annotate",
        "--no-header",
        "-o",
        str(LOCK),
        external=True,
        env={"UV_FIND_LINKS": links.stdout.strip()},
    )
    lines = LOCK.read_text().splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if not line.startswith((" ", "#"))] + [len(lines)]
    blocks = ("".join(lines[a:b]) for a, b in itertools.pairwise(starts))
    LOCK.write_text(
        "# Everything but torch and what torch brings, with hashes. Made by: nox -s lock\n"
        + "".join(b for b in blocks if not COMPANIONS.match(b))
    )

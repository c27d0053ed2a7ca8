"""A referee in a process of its own, and agents who are another user where this one may become others.

The referee is the product's own, but that its trials are the laboratory's and that it does not wait for a whole tick.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import asiarc.engineer.workshop
from asiarc.execution.attempt import raised_by
from asiarc.harness.referee import Referee, of_project, prepare, standing
from asiarc.harness.wire import ask

from ..harness.fakes import FakeExecutor, still
from ..llm.laboratory import fingerprinted

NOBODY = 65534
DECLARED = """
from asiarc import Budget, Campaign, Stage, by_tier

{name} = Campaign(
    start_from="delta_net", baselines=("delta_net", "mamba2"), researcher="open", match=(), policy="best_of_n",
    explore=Stage(tasks=("text",), seeds=3), verify=Stage(tasks=("text",), seeds=3),
    confirm=Stage(tasks=("text",), seeds=3), budget=by_tier(smoke=Budget(candidates=60, minutes=60)),
)
"""
FORK = multiprocessing.get_context("fork")
TOKEN = "a token of enough characters"


@contextmanager
def laboratory(_):
    yield FakeExecutor(ends=fingerprinted)


class Project:
    """A project with two open campaigns, its store, and the referee that stands for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.socket = folder, folder / "store", folder / "open" / "referee.sock"
        (folder / "campaigns").mkdir()
        for name in ("question", "closed_question"):
            (folder / "campaigns" / f"campaign_{name}.py").write_text(DECLARED.format(name=name))
        (folder / "pytest.ini").write_text("[pytest]\n")
        self.socket.parent.mkdir()
        self.tokens = folder / "tokens"
        self.tokens.write_text(f"afar {TOKEN.replace(' ', '_')}\n")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.tokens.chmod(0o600)
        self.process = None

    def start(self) -> None:
        ready, said = FORK.Pipe(duplex=False)
        self.process = FORK.Process(target=self._serve, args=(said,), daemon=True)
        self.process.start()
        said.close()
        self.commitment = ready.recv()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def _serve(self, said) -> None:
        os.chdir(self.folder)
        os.environ.pop("ASIARC_CACHE", None)
        asiarc.engineer.workshop.trial_executor = laboratory

        def door(name):
            return of_project(name, tier="smoke", store=self.store, workers=1)

        with still():
            commitment = prepare(self.store)
            with standing(self.socket, None, None, Referee(door), pause=lambda _: None) as server:
                said.send(commitment)
                server.serve()

    def ask(self, verb, campaign="question", **said):
        return ask(str(self.socket), {"verb": verb, "campaign": campaign, **said})

    def propose(self, source, **said):
        """The answer to one file."""
        files = [{"file": said.pop("file", "mixer.py"), "source": source}]
        return self.ask("propose", **{"author": "an agent", **said}, files=files)["proposals"][0]


@pytest.fixture(scope="module")
def project():
    with tempfile.TemporaryDirectory(prefix="asiarc-referee-", dir="/tmp") as folder:
        found = Project(Path(folder))
        found.start()
        yield found
        found.kill()


def told_by_child(play):
    """What a function returns (as JSON), or the name of what it raises, in a child of this process."""
    read, write = os.pipe()
    if os.fork() == 0:
        returned, error = raised_by(play)
        said = {"returned": returned} if error is None else {"raised": type(error).__name__, "text": str(error)}
        with os.fdopen(write, "w") as pipe:
            json.dump(said, pipe, default=str)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = json.load(pipe)
    os.wait()
    return said


@pytest.fixture
def agent():
    """Runs a function as another user, `nobody`: ``agent(play)`` is what it returned or raised."""
    if os.getuid() != 0:
        pytest.skip("only root may become another user")

    def as_nobody(play):
        def changed():
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.chdir("/")
            return play()

        return told_by_child(changed)

    return as_nobody

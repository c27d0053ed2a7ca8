"""What a candidate's process tries from inside the sandbox."""

import socket
from pathlib import Path

from asiarc.execution.attempt import raised_by


def _errors(tries):
    raised = [raised_by(one)[1] for one in tries]
    return {"errors": [type(error).__name__ for error in raised if error is not None], "tried": len(tries)}


def reads_the_store(payload):
    store = Path(payload["store"])
    return _errors([
        lambda: [*store.iterdir()], (store / "archive.db").read_bytes, (store / "secret.key").read_bytes,
        lambda: (store / "mine").write_text("x"),
    ])  # fmt: skip


def connects_to_the_referee(payload):
    def connect():
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(payload["socket"])

    return _errors([connect, lambda: socket.create_connection(("127.0.0.1", 9))])

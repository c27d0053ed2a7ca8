"""What a candidate's process tries from inside the sandbox."""

import socket
from pathlib import Path


def _errors(tries):
    errors = []
    for attempt in tries:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - any refusal is told
            errors.append(type(error).__name__)
    return {"errors": errors, "tried": len(tries)}


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

"""A server on this machine that answers as it is told to, faults included: for tests and for the fault table.

It is no model. It plays a script, one answer a request (the last one over and over), over real HTTP, so that the
openai package, its streams and its errors are exercised as they are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One connection; `body` is the request as JSON."""

    recipe_version = "HTTP/1.1"
    server: Server
    body: dict[str, Any]

    def do_POST(self) -> None:
        """Read the request, note it, play the next answer."""
        self.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            script, served = self.server.script, len(self.server.requests)
            self.server.requests.append(self.body)
        try:
            script[min(served, len(script) - 1)](self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client had enough

    def do_GET(self) -> None:
        """The list of models."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "nobody"} for name in self.server.models]
        self.whole(200, {"object": "list", "data": data})

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def whole(self, status: int, value: object, **headers: str) -> None:
        """A reply in one piece: bytes as they are, anything else as JSON."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self) -> None:
        """The head of a stream of events."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def event(self, data: str) -> None:
        """One event of a stream."""
        raw = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")

    def delta(self, finish: str | None = None, **delta: str) -> None:
        """One piece of a reply."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self.event(json.dumps(self._chunk([choice])))

    def _chunk(self, choices: list[Any], **more: Any) -> dict[str, Any]:
        head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": self.body["model"]}
        return {**head, "choices": choices, **more}

    def end_stream(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Usage, and the end."""
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        self.event(json.dumps(self._chunk([], usage=usage)))
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Close the connection in the middle."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(2)


class Server(ThreadingHTTPServer):
    """``with Server(answers) as server``: `url` to ask, `requests` that were made."""

    daemon_threads = True

    def __init__(self, script: Sequence[Answer], models: Sequence[str] = ("model",)) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.models = script, models
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.let_go = threading.Event()  # ends what hangs

    @property
    def url(self) -> str:
        """What --llm-base-url would be given."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self.shutdown()
        self.server_close()


# --- answers ----------------------------------------------------------------------------------------------------------


def says(text: str, *, finish: str = "stop", pieces: int = 3, tokens: tuple[int, int] = (100, 50)) -> Answer:
    """A reply, streamed in some pieces."""

    def answer(handler: Handler) -> None:
        handler.begin_stream()
        size = max(1, -(-len(text) // pieces))
        for start in range(0, len(text), size):
            handler.delta(content=text[start : start + size])
        handler.delta(finish=finish)
        handler.end_stream(*tokens)

    return answer


def fails(status: int, message: str, *, code: str | None = None, **headers: str) -> Answer:
    """An error status."""
    return lambda handler: handler.whole(
        status, {"error": {"message": message, "type": "error", "param": None, "code": code}}, **headers
    )


def refuses(text: str) -> Answer:
    """A refusal in its own field."""

    def answer(handler: Handler) -> None:
        handler.begin_stream()
        handler.delta(refusal=text)
        handler.delta(finish="stop")
        handler.end_stream(100, 10)

    return answer


def embeds(vector_of: Callable[[str], Sequence[float]]) -> Answer:
    """A vector of the text that is asked for."""

    def answer(handler: Handler) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": list(vector_of(handler.body["input"][0]))}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        handler.whole(200, {"object": "list", "data": data, "model": handler.body["model"], "usage": usage})

    return answer


def breaks_off(text: str) -> Answer:
    """Half a reply, then the connection is gone."""

    def answer(handler: Handler) -> None:
        handler.begin_stream()
        handler.delta(content=text[: len(text) // 2])
        handler.hang_up()

    return answer


def stalls(text: str) -> Answer:
    """Half a reply, then nothing until the server is closed."""

    def answer(handler: Handler) -> None:
        handler.begin_stream()
        handler.delta(content=text[: len(text) // 2])
        handler.wfile.flush()
        handler.server.let_go.wait(30)

    return answer


def drips(text: str, *, between: str = ": still thinking\n\n") -> Answer:
    """Half a reply, then bytes that are no event, until the client or the server has enough."""

    def answer(handler: Handler) -> None:
        handler.begin_stream()
        handler.delta(content=text[: len(text) // 2])
        raw = between.encode()
        while not handler.server.let_go.wait(0.01):
            handler.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
            handler.wfile.flush()

    return answer


def page(text: str = "<html>This is no model.</html>") -> Answer:
    """Something else than an API, found under the address."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/html")
        handler.send_header("content-length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer

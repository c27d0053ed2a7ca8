"""One OpenAI-compatible endpoint: sends a question, retries what may pass, and names what does not.

Replies are streamed, so that a slow, endless or broken one is noticed while it comes, and what did come is kept. What
a server refuses by name is left out or renamed, an address that lacks its /v1 is completed, a redirect is followed on
the same host only: each is learned once and said once. The openai package's own retries are off: ours wait by an
injected sleeper and obey ``Retry-After``, in seconds or as a date. The key comes from the environment, is sent and
nothing else: messages of the server are cleaned of it.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import cached_property
from threading import Lock, local
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asiarc.core.errors import nearest
from asiarc.core.seeds import rng_of
from asiarc.llm import dialect
from asiarc.llm.address import KEYS, can_be_key, is_loopback, moved_to, sound_key, sound_url
from asiarc.llm.exchange import EMBEDDING, ModelError, Question, Reply, ReplyFault, TransportFault
from asiarc.llm.reading import shown
from asiarc.llm.streams import Event, Heard, events

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"
LONGEST_WAIT_S = 600.0
MOST_BYTES = 2_000_000
MOST_TOKENS = 10_000_000  # of one call; who reports more does not count
REFUSALS = (400, 415, 422)  # of what was asked, not of who asks
MODELS_SHOWN = 200


@dataclass
class Endpoint:
    """Where models are asked. `sleep` and `clock` (monotonic seconds), `now` (seconds since 1970) are for tests.

    `silence_s` is the longest pause inside a reply, `longest_s` the longest reply, in seconds; `silence_of` and
    `longest_of` hold them by role. `learned` is what should be said of the server, once; `left_out` what it refuses.
    """

    base_url: str = OPENAI
    key: str | None = field(default=None, repr=False)
    tries: int = 5
    silence_s: float = 120.0
    longest_s: float = 1200.0
    most_bytes: int = MOST_BYTES
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    silence_of: Mapping[str, float] = field(default_factory=dict, repr=False)
    longest_of: Mapping[str, float] = field(default_factory=dict, repr=False)
    learned: deque[str] = field(default_factory=deque, repr=False)
    left_out: set[str] = field(default_factory=set, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _mine: local = field(default_factory=local, repr=False)  # of the thread that asks

    @cached_property
    def _openai(self) -> openai.OpenAI:
        import httpx2
        from openai import DefaultHttpxClient
        from openai import OpenAI as Library

        url, key = sound_url(self.base_url), sound_key(self.key)
        is_near = is_loopback(urlsplit(url).hostname or "")
        if key is None and not is_near:
            raise ModelError(
                "key missing",
                f"{url} wants a key; set {' or '.join(KEYS)} in the environment, or name a server of your "
                "own with --llm-base-url, or replay what is recorded with --llm replay",
            )
        self.base_url, self.key = url, key
        hooks = {"response": [self._watch]}
        try:
            client = DefaultHttpxClient(event_hooks=hooks, follow_redirects=False, trust_env=not is_near)
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            raise ModelError("unreachable", f"the proxy that the environment names cannot be used: {error}") from error
        try:
            return Library(
                base_url=url,
                api_key=key or "none",
                max_retries=0,
                timeout=self.silence_s,
                default_headers={"Connection": "close"},  # a reply takes seconds: nothing is left open between two
                http_client=client,
            )
        except httpx2.InvalidURL as error:
            raise ModelError("wrong address", f"{url!r} is no base address: {error}") from error

    def _watch(self, response: Any) -> None:
        """Let no reply last or grow for ever, whatever it is made of: events, comments that keep a stream alive, a line
        that does not end, what is packed small and unfolds."""
        deadline = self.clock() + getattr(self._mine, "longest_s", self.longest_s)

        def bounded(source: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
            return lambda chunk_size=None: self._bounded(source(chunk_size), response, deadline)

        response.iter_raw, response.iter_bytes = bounded(response.iter_raw), bounded(response.iter_bytes)

    def _bounded(self, parts: Iterator[bytes], response: Any, deadline: float) -> Iterator[bytes]:
        import httpx2
        import openai

        size, request = 0, response.request
        try:
            for part in parts:
                size += len(part)
                if self.clock() > deadline:
                    raise openai.APITimeoutError(request=request)
                if size > 8 * self.most_bytes:
                    raise openai.APIConnectionError(message="it does not end", request=request)
                yield part
        except httpx2.TimeoutException as error:
            raise openai.APITimeoutError(request=request) from error
        except (httpx2.RequestError, OSError) as error:
            raise openai.APIConnectionError(request=request) from error
        finally:
            response.close()

    def send(self, question: Question) -> Reply:
        """One reply, complete or not; `ModelError` when none could be had in `tries` tries."""
        import openai

        _ = self._openai  # a wrong address or key is named before anything is sent
        problem: openai.APIError
        for trial in range(self.tries):
            try:
                return self._reach(question, self._request(question))
            except openai.APIError as error:
                status = _status(error)
                self._give_up_on(error, status, question)
                fault: TransportFault = {0: "unreachable", 429: "rate limited"}.get(status, "server error")  # type: ignore[assignment]
                problem, wait_s = error, self._asked_to_wait(error)
            if wait_s is not None and wait_s > LONGEST_WAIT_S:
                raise ModelError(fault, f"{self.base_url} asks to wait {wait_s:.0f} s; run again after that")
            if trial + 1 < self.tries:
                self.sleep(self._backoff(question, trial) if wait_s is None else wait_s)
        cause = f": {problem.__cause__}" if problem.__cause__ else ""
        patience = _patience(question.role, self.silence_s, self.longest_s)
        cause += f"; {patience}" if isinstance(problem, openai.APITimeoutError) else ""
        said = self._clean(f"{problem.message}{cause}")
        raise ModelError(fault, f"{self.base_url} failed {self.tries} times ({said}); run the same command again")

    def stop(self) -> None:
        """What is under way is waited for: it is paid for."""

    # --- what a server is told, and learned of it ------------------------------------------------------------------

    def _request(self, question: Question) -> dialect.Request:
        if question.role == EMBEDDING:
            return {"model": question.model, "input": [question.messages[0].text], "encoding_format": "float"}
        is_openai = (urlsplit(self.base_url).hostname or "").endswith("openai.com")
        limit = "max_completion_tokens" if is_openai else "max_tokens"
        asked: dialect.Request = {
            "model": question.model,
            "messages": [
                {"role": m.speaker, "content": m.text.encode(errors="replace").decode()} for m in question.messages
            ],
            limit: question.max_tokens,
            "seed": question.seed % 2**31,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if question.temperature is not None:
            asked["temperature"] = question.temperature
        if question.frequency_penalty is not None:
            asked["frequency_penalty"] = question.frequency_penalty
        if question.schema is not None:
            form = {"name": question.role, "schema": question.schema}
            asked["response_format"] = {"type": "json_schema", "json_schema": form}
        return dialect.without(asked, self.left_out)

    def _reach(self, question: Question, asked: dialect.Request, hops: int = 0) -> Reply:
        """A reply from the address, or from the one that is meant: the same host's, with a /v1, or where it leads."""
        import openai

        try:
            return self._adapted(question, asked)
        except openai.APIStatusError as error:
            base = self._meant(error, question) if hops < 3 else None
            if base is None:
                raise
            there = replace(self, base_url=base)
            try:
                reply = there._reach(question, asked, hops + 1)
            except openai.APIStatusError as other:
                if _is_lost(other):
                    raise error from None
                self._move(there)
                raise
        self._move(there)
        return reply

    def _move(self, there: Endpoint) -> None:
        self._learn(f"{self.base_url} is no place to ask; {there.base_url} is asked instead")
        self.base_url = there.base_url
        self.__dict__["_openai"] = there._openai

    def _meant(self, error: openai.APIStatusError, question: Question) -> str | None:
        """Another address on the same host that may be meant, or None."""
        if 300 <= error.status_code < 400:
            return moved_to(self.base_url, error.response.headers.get("location", ""), _path(question))
        return f"{self.base_url}/v1" if _is_lost(error) and not re.search(r"/v\d", self.base_url) else None

    def _adapted(self, question: Question, asked: dialect.Request, tried: frozenset[str] = frozenset()) -> Reply:
        """A reply; what the server refuses by name is left out or renamed, and asked again at once."""
        import openai

        try:
            return self._once(question, asked)
        except openai.APIError as error:
            said = list(dialect.texts_of(error.body, _said(error)))
            if not _refuses(_status(error), said[-1]):
                raise
            names = dialect.named_in(said, asked)
            if not (names or dialect.is_of_size(said[-1])) and question.role != EMBEDDING:
                return self._by_elimination(question, asked, error)
            if not names - tried:
                raise
        reply = self._adapted(question, dialect.without(asked, names - tried), tried | names)
        self._leave_out(names - tried)
        return reply

    def _by_elimination(self, question: Question, asked: dialect.Request, error: openai.APIError) -> Reply:
        """A reply without one of the optional parameters, or without all: the refusal does not say which."""
        import openai

        present = [name for name in dialect.OPTIONAL if name in asked]
        for names in [*([name] for name in present), present, ["max_tokens"], [*present, "max_tokens"]]:
            try:
                reply = self._once(question, dialect.without(asked, names))
            except openai.APIStatusError as again:
                if again.status_code not in REFUSALS:
                    raise
            else:
                self._leave_out(names)
                return reply
        raise error

    def _leave_out(self, names: Iterable[str]) -> None:
        with self._lock:
            new = set(names) - self.left_out
            self.left_out |= new
        if new:
            self._learn(f"{self.base_url} refuses what it is asked with: {dialect.told(new)}")

    def _learn(self, line: str) -> None:
        with self._lock:
            if line not in self.learned:
                self.learned.append(line)

    # --- one request ----------------------------------------------------------------------------------------------

    def _once(self, question: Question, asked: dialect.Request) -> Reply:
        """One request, and what it brought up to its end, or to where it went wrong."""
        heard, embeds = Heard(), question.role == EMBEDDING
        fault, note = self._listen(question, asked, heard)
        text, ended, odd = _embedded(heard.last) if embeds else heard.ending()
        text, fault = text[: self.most_bytes], fault or ended
        spent = _reported(heard.usage, embeds=embeds, least=int(bool(text)))
        prompt, completion = spent or (question.most_prompt_tokens, 0 if embeds else question.max_tokens)
        return Reply(
            text=self._without_key(text),
            fault=fault,
            prompt_tokens=prompt,
            completion_tokens=completion,
            counted=spent is not None,
            note=self._without_key(note or odd),
        )

    def _listen(self, question: Question, asked: dialect.Request, heard: Heard) -> tuple[ReplyFault | None, str]:
        """Take in what comes; how it went wrong, and the setting that may mend it."""
        import openai

        room: Any = self._openai.embeddings if question.role == EMBEDDING else self._openai.chat.completions
        silence_s = self.silence_of.get(question.role, self.silence_s)
        longest_s = self._mine.longest_s = self.longest_of.get(question.role, self.longest_s)
        with room.with_streaming_response.create(**asked, timeout=silence_s) as response:
            try:
                for event in events(response.iter_bytes()):
                    heard.take(event)
                    if heard.size > self.most_bytes:
                        return "too long", ""
            except openai.APITimeoutError:
                return "slow", _patience(question.role, silence_s, longest_s)
            except openai.APIConnectionError:
                return "cut", ""
            except ValueError as error:
                return "cut" if heard.size else "empty", self._clean(str(error))
            if heard.error and not heard.size:
                said = dialect.texts_of(heard.error, str(heard.error))
                raise openai.APIError(next(said), request=response.http_response.request, body=heard.error)
        return ("cut" if heard.error else None), ""

    def _offered(self) -> list[str]:
        """The models that the server offers, as far as it tells."""
        import openai

        try:
            with self._openai.models.with_streaming_response.list() as response:
                told = [event.get("data") for event in events(response.iter_bytes())]
        except (openai.OpenAIError, ValueError):
            return []
        models = next((data for data in told if isinstance(data, list)), [])[:MODELS_SHOWN]
        return sorted(self._clean(str(m["id"]))[:100] for m in models if isinstance(m, dict) and "id" in m)

    # --- errors ---------------------------------------------------------------------------------------------------

    def _give_up_on(self, error: openai.APIError, status: int, question: Question) -> None:
        """Raise for what no repetition mends; return for what may pass."""
        said, url = self._clean(_said(error)), self.base_url
        if status in (401, 403) or (status == 400 and re.search(r"api[ _-]?key", said, re.IGNORECASE)):
            raise ModelError("key rejected", f"{url} says: {said}. Set another key in {KEYS[0]}") from None
        if status in (404, 405) and _is_of_model(error):
            offered = self._offered()
            close = nearest(question.model, offered)
            known = f" It offers: {', '.join(offered[:8])}." if offered else ""
            hint = f" Did you mean {close!r}?" if close else ""
            raise ModelError(
                "unknown model",
                f"{url} does not know {question.model!r} ({said}).{hint}{known} Correct the campaign's "
                f"models, or give --llm-model {question.role}=NAME",
            ) from None
        if status in (404, 405) or 300 <= status < 400:
            leads = getattr(error, "response", None) and error.response.headers.get("location")  # type: ignore[attr-defined]
            why = f"it leads to {self._clean(leads)}, where no key is sent unasked" if leads else said
            raise ModelError(
                "wrong address",
                f"{url}{_path(question)} is no place to ask ({why}). Give --llm-base-url an address under which "
                f"{_path(question)} lies; it often ends in /v1",
            ) from None
        if status == 429 and error.code == "insufficient_quota":
            raise ModelError("rate limited", f"{url} says: {said}; no waiting mends that") from None
        if 400 <= status < 500 and status not in (408, 409, 425, 429):
            hint = ". Models(reply_tokens=..., context_tokens=...) ask for less" * dialect.is_of_size(said)
            raise ModelError("bad request", f"{url} says: {said}{hint}") from None

    def _asked_to_wait(self, error: openai.APIError) -> float | None:
        """Seconds of ``Retry-After``, or None where there is none to be read."""
        response = getattr(error, "response", None)
        stated = response.headers.get("retry-after", "").strip() if response is not None else ""
        try:
            return max(0.0, float(stated))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(stated).timestamp() - self.now())
        except (ValueError, OverflowError):
            return None

    @staticmethod
    def _backoff(question: Question, trial: int) -> float:
        """Doubling from one second, with a jitter that keeps parallel calls apart."""
        return float(2**trial * rng_of("backoff", question.key, trial).uniform(0.75, 1.25))

    def _clean(self, text: str) -> str:
        """A server's message on one line, without the key."""
        return shown(self._without_key(" ".join(text[:4000].split()))[:300])

    def _without_key(self, text: str) -> str:
        """What a server echoes is kept and shown, the key is not; a placeholder is a word like any other."""
        return text.replace(self.key, "(the key)") if self.key and can_be_key(self.key) else text


def _path(question: Question) -> str:
    return "/embeddings" if question.role == EMBEDDING else "/chat/completions"


def _patience(role: str, silence_s: float, longest_s: float) -> str:
    return (
        f"nothing came for {silence_s:g} s, or all of it took {longest_s:g} s; Models(silence_s={{{role!r}: ...}}, "
        "longest_s=...) wait longer"
    )


def _status(error: openai.APIError) -> int:
    """The status of an error: of the response, or as the body of a good one says; 0 where nothing came."""
    import openai

    if isinstance(error, openai.APIConnectionError):
        return 0
    stated = getattr(error, "status_code", None) or (error.body.get("code") if isinstance(error.body, dict) else None)
    return stated if isinstance(stated, int) and 300 <= stated < 600 else 500


def _said(error: openai.APIError) -> str:
    """What an error says: the message, or all of the response where that is none."""
    response = getattr(error, "response", None)
    return error.message if isinstance(error.body, dict) or response is None else f"{error.message}: {response.text}"


def _is_of_model(error: openai.APIError) -> bool:
    """Whether a server that was found says that it lacks the model."""
    return isinstance(error.body, dict | str) and "model" in str(error.body)[:2000].lower() and not _is_page(error.body)


def _is_page(body: object) -> bool:
    return isinstance(body, str) and body.lstrip()[:1] == "<"


def _is_lost(error: openai.APIStatusError) -> bool:
    """Whether nothing of an API is there."""
    return error.status_code in (404, 405) and not _is_of_model(error)


def _refuses(status: int, said: str) -> bool:
    """Whether a request was refused for what it holds; some servers crash of what they do not know, and say of what."""
    of_unknown = re.search(r"unexpected|unsupported|not support|unknown|unrecogni", said, re.IGNORECASE)
    return status in REFUSALS or (status in (500, 501) and bool(of_unknown))


def _reported(usage: Any, *, embeds: bool, least: int) -> tuple[int, int] | None:
    """(prompt, reply) tokens as a server counts them; None where that is no count, so that the worst case is booked."""
    told: dict[str, Any] = usage if isinstance(usage, dict) else {}
    prompt = told.get("prompt_tokens", told.get("input_tokens"))
    completion = 0 if embeds else told.get("completion_tokens", told.get("output_tokens"))
    counts = [n for n in (prompt, completion) if type(n) is int and 0 <= n <= MOST_TOKENS]
    if len(counts) < 2 or counts[0] < 1 or counts[1] < (0 if embeds else least):
        return None
    return counts[0], counts[1]


def _embedded(body: Event) -> tuple[str, ReplyFault | None, str]:
    """The vector of a text as JSON, to five digits; whatever else came is handed on as it is."""
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data else None
    vector = first.get("embedding") if isinstance(first, dict) else None
    if not vector:
        return "", "empty", ""
    try:
        return json.dumps([round(float(number), 5) for number in vector]), None, ""
    except (TypeError, ValueError, OverflowError):
        return str(vector)[:1000], None, ""

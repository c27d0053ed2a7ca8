"""One OpenAI-compatible endpoint: sends a question, retries what may pass, and names what does not.

Replies are streamed, so that a slow, endless or broken one is noticed while it comes, and what did come is kept. The
openai package's own retries are off: ours wait by an injected sleeper and obey ``Retry-After``, in seconds or as a
date. The key comes from the environment, is sent and nothing else: messages of the server are cleaned of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asiarc.core.errors import nearest
from asiarc.core.seeds import rng_of
from asiarc.llm.exchange import EMBEDDING, ModelError, Question, Reply, ReplyFault, TransportFault

if TYPE_CHECKING:
    import openai

KEYS = ("ASIARC_API_KEY", "OPENAI_API_KEY")
OPENAI = "https://api.openai.com/v1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST_WAIT_S = 600.0
MOST_BYTES = 2_000_000


def key_from(environment: Mapping[str, str] = os.environ) -> str | None:
    """The key of the environment, or None."""
    return next((environment[name] for name in KEYS if environment.get(name)), None)


@dataclass
class Endpoint:
    """Where models are asked. `sleep` and `clock` (monotonic seconds), `now` (seconds since 1970) are for tests."""

    base_url: str = OPENAI
    key: str | None = field(default=None, repr=False)
    tries: int = 5
    silence_s: float = 120.0  # longest pause inside a reply
    longest_s: float = 1200.0  # longest reply
    most_bytes: int = MOST_BYTES
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time

    @cached_property
    def _openai(self) -> openai.OpenAI:
        from openai import DefaultHttpxClient
        from openai import OpenAI as Library

        if self.key is None and self._host not in LOOPBACK:
            raise ModelError(
                "key missing",
                f"{self.base_url} wants a key; set {' or '.join(KEYS)} in the environment, or name a server of your "
                "own with --llm-base-url, or replay what is recorded with --llm replay",
            )
        return Library(
            base_url=self.base_url,
            api_key=self.key or "none",
            max_retries=0,
            timeout=self.silence_s,
            default_headers={"Connection": "close"},  # a reply takes seconds: nothing is left open between two
            http_client=DefaultHttpxClient(event_hooks={"response": [self._watch]}),
        )

    def _watch(self, response: Any) -> None:
        """Let no reply last or grow for ever. Replies are read event by event, so what holds no event is seen by nobody
        else: comments that keep a stream alive, a line that does not end."""
        import openai

        raw, deadline = response.iter_raw, self.clock() + self.longest_s

        def watched(chunk_size: int | None = None) -> Iterator[bytes]:
            size = 0
            for part in raw(chunk_size):
                size += len(part)
                if self.clock() > deadline:
                    raise openai.APITimeoutError(request=response.request)
                if size > 8 * self.most_bytes:
                    raise openai.APIConnectionError(message="it does not end", request=response.request)
                yield part

        response.iter_raw = watched

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    def send(self, question: Question) -> Reply:
        """One reply, complete or not; `ModelError` when none could be had in `tries` tries."""
        import openai

        problem: openai.OpenAIError
        for trial in range(self.tries):
            try:
                return self._embed(question) if question.role == EMBEDDING else self._stream(question)
            except openai.APIStatusError as error:
                self._give_up_on(error, question)
                fault: TransportFault = "rate limited" if error.status_code == 429 else "server error"
                problem, wait_s = error, self._asked_to_wait(error)
            except openai.APIConnectionError as error:
                fault, problem, wait_s = "unreachable", error, None
            if wait_s is not None and wait_s > LONGEST_WAIT_S:
                raise ModelError(fault, f"{self.base_url} asks to wait {wait_s:.0f} s; run again after that")
            if trial + 1 < self.tries:
                self.sleep(self._backoff(question, trial) if wait_s is None else wait_s)
        said = self._clean(str(problem))
        raise ModelError(fault, f"{self.base_url} failed {self.tries} times ({said}); run the same command again")

    def _stream(self, question: Question) -> Reply:
        stream = self._openai.chat.completions.create(**self._request(question))
        try:
            return self._read(stream, question)
        finally:
            stream.close()

    def _embed(self, question: Question) -> Reply:
        """The vector of a text as JSON, to five digits; whatever else came is handed on as it is."""
        import openai

        try:
            made: Any = self._openai.embeddings.create(
                model=question.model, input=[question.messages[0].text], encoding_format="float"
            )
        except (json.JSONDecodeError, openai.APIResponseValidationError):
            return self._reply(question, "", "empty", None)
        data = getattr(made, "data", None)
        vector = getattr(data[0], "embedding", None) if data else None
        try:
            text = json.dumps([round(float(number), 5) for number in vector or ()])
        except (TypeError, ValueError):
            text = str(vector)[:1000]
        return self._reply(question, text if vector else "", None if vector else "empty", getattr(made, "usage", None))

    def _request(self, question: Question) -> dict[str, Any]:
        limit = "max_completion_tokens" if self._host.endswith("openai.com") else "max_tokens"
        asked: dict[str, Any] = {
            "model": question.model,
            "messages": [{"role": m.speaker, "content": m.text} for m in question.messages],
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
        return asked

    def _read(self, stream: Any, question: Question) -> Reply:
        """Everything up to the end of the stream, or to where it went wrong."""
        import openai

        parts: list[str] = []
        ended, usage, refused = None, None, False
        fault: ReplyFault | None = None
        deadline = self.clock() + self.longest_s
        size = 0
        try:
            for chunk in stream:
                usage = getattr(chunk, "usage", None) or usage
                for choice in chunk.choices or ():
                    said = (choice.delta.content if choice.delta else None) or ""
                    refusal = (getattr(choice.delta, "refusal", None) if choice.delta else None) or ""
                    refused = refused or bool(refusal) or choice.finish_reason == "content_filter"
                    parts.append(said or refusal)
                    size += len(parts[-1])
                    ended = choice.finish_reason or ended
                if size > self.most_bytes or self.clock() > deadline:
                    fault = "too long" if size > self.most_bytes else "slow"
                    break
        except openai.APITimeoutError:
            fault = "slow"
        except (openai.APIConnectionError, json.JSONDecodeError):
            fault = "cut"
        except openai.APIError as error:  # an error event inside the stream
            if not parts:
                raise openai.APIConnectionError(message=error.message, request=error.request) from error
            fault = "cut"
        text = "".join(parts)[: self.most_bytes]
        return self._reply(question, text, fault or _ending(ended, text, refused=refused), usage)

    def _reply(self, question: Question, text: str, fault: ReplyFault | None, usage: Any) -> Reply:
        """With the tokens as reported, or bounds where the server says nothing."""
        prompt = getattr(usage, "prompt_tokens", None)
        completion = 0 if question.role == EMBEDDING else getattr(usage, "completion_tokens", None)
        bounds = question.most_prompt_tokens, min(len(text.encode()), question.max_tokens)
        counted = isinstance(prompt, int) and isinstance(completion, int)
        spent: tuple[Any, Any] = (prompt, completion) if counted else bounds
        return Reply(
            text=self._without_key(text),
            fault=fault,
            prompt_tokens=spent[0],
            completion_tokens=spent[1],
            counted=counted,
        )

    # --- errors ---------------------------------------------------------------------------------------------------

    def _give_up_on(self, error: openai.APIStatusError, question: Question) -> None:
        """Raise for what no repetition mends; return for what may pass."""
        said = self._clean(error.message)
        if error.status_code in (401, 403):
            raise ModelError("key rejected", f"{self.base_url} says: {said}. Set another key in {KEYS[0]}") from None
        if error.status_code == 404:
            offered = self._offered()
            close = nearest(question.model, offered)
            known = f" It offers: {', '.join(offered[:8])}." if offered else ""
            hint = f" Did you mean {close!r}?" if close else ""
            raise ModelError(
                "unknown model",
                f"{self.base_url} does not know {question.model!r} ({said}).{hint}{known} Correct the campaign's "
                f"models, or give --llm-model {question.role}=NAME",
            ) from None
        if error.status_code == 429 and error.code == "insufficient_quota":
            raise ModelError("rate limited", f"{self.base_url} says: {said}; no waiting mends that") from None
        if error.status_code not in (408, 409, 429) and error.status_code < 500:
            raise ModelError("bad request", f"{self.base_url} says: {said}") from None

    def _offered(self) -> list[str]:
        import openai

        with suppress(openai.OpenAIError):
            return sorted(model.id for model in self._openai.models.list())
        return []

    def _asked_to_wait(self, error: openai.APIStatusError) -> float | None:
        """Seconds of ``Retry-After``, or None where there is none to be read."""
        stated = error.response.headers.get("retry-after", "").strip()
        try:
            return max(0.0, float(stated))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(stated).timestamp() - self.now())
        except ValueError:
            return None

    @staticmethod
    def _backoff(question: Question, trial: int) -> float:
        """Doubling from one second, with a jitter that keeps parallel calls apart."""
        return float(2**trial * rng_of("backoff", question.key, trial).uniform(0.75, 1.25))

    def _clean(self, text: str) -> str:
        """A server's message on one line, without the key."""
        return self._without_key(" ".join(text.split()))[:300]

    def _without_key(self, text: str) -> str:
        """What a server echoes is kept and shown, the key is not."""
        return text.replace(self.key, "(the key)") if self.key else text


def _ending(finish: str | None, text: str, *, refused: bool) -> ReplyFault | None:
    """How a stream that came to its end ended."""
    if refused:
        return "refusal"
    if finish is None:
        return "cut" if text else "empty"
    if finish == "length":
        return "truncated"
    return None if text.strip() else "empty"

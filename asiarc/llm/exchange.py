"""A question to a language model and its reply: plain frozen data, content-addressed.

The key is the hash of everything that the reply may depend on: role, model, messages, schema, temperature, penalty,
limit, seed, and `attempt` (the same question again after a reply that broke off). Two equal questions are one exchange.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from asiarc.core.errors import AsiarcError

ReplyFault = Literal["cut", "slow", "empty", "truncated", "too long", "refusal", "tool call"]
TransportFault = Literal[
    "rate limited",
    "server error",
    "unreachable",
    "broken replies",
    "unknown model",
    "key missing",
    "key rejected",
    "bad request",
    "wrong address",
]
EMBEDDING = "embedding"  # the role whose reply is a vector, as JSON
BROKEN: tuple[ReplyFault, ...] = ("cut", "slow", "empty")  # the same question may well be answered next time


class ModelError(AsiarcError):
    """No reply could be had; `fault` names why. What was answered before is kept: run the same command again."""

    def __init__(self, fault: TransportFault, text: str) -> None:
        super().__init__(f"{fault}: {text}")
        self.fault = fault


class ReplayMissError(AsiarcError):
    """A replay was asked a question that was never recorded; the message shows what changed in the prompt."""


class UnusableReplyError(AsiarcError):
    """The model replied, and was told what was wrong, and no reply could be used; every one of them is kept."""

    def __init__(self, fault: str, reason: str, last: str) -> None:
        super().__init__(f"{fault}: {reason}")
        self.fault, self.reason, self.last = fault, reason, last


@dataclass(frozen=True)
class Message:
    """One turn: who speaks (system, user, assistant), and what."""

    speaker: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked. `schema` is the JSON Schema asked for (None: plain text), a temperature or penalty of None is not
    sent."""

    role: str
    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    frequency_penalty: float | None = None
    seed: int = 0
    schema: Mapping[str, Any] | None = None
    attempt: int = 0

    @cached_property
    def key(self) -> str:
        """Sixteen hex digits of the hash of the whole question."""
        return _hash(asdict(self))

    @property
    def prompt(self) -> str:
        """All messages as one text, for reading and comparing."""
        return "\n".join(f"[{message.speaker}]\n{message.text}" for message in self.messages)

    @property
    def most_prompt_tokens(self) -> int:
        """No tokenizer makes more: a token is at least one byte, and a turn is marked with a few."""
        schema = len(json.dumps(self.schema)) if self.schema else 0
        return sum(len(m.text.encode(errors="replace")) + 16 for m in self.messages) + schema

    def again(self) -> Question:
        """The same question once more."""
        return replace(self, attempt=self.attempt + 1)

    def followed_by(self, reply: str, correction: str) -> Question:
        """The question with the model's reply and what is wrong with it."""
        turns = (Message("assistant", reply), Message("user", correction))
        return replace(self, messages=(*self.messages, *turns), attempt=0)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back, however it ended. `counted` says that the server reported the tokens; else they are bounds.
    `note` says what is odd about it, and which setting mends that."""

    text: str
    fault: ReplyFault | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    counted: bool = True
    note: str = ""


@dataclass(frozen=True)
class Exchange:
    """A question and its reply."""

    question: Question
    reply: Reply

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with the key and a hash of the reply that are checked when it is read again."""
        question, reply = asdict(self.question), asdict(self.reply)
        reply |= {"note": self.reply.note} if reply.pop("note") else {}
        return {"key": self.question.key, "question": question, "reply": reply, "reply_hash": _hash(reply)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Exchange:
        """The inverse of `as_dict`; ValueError where question or reply is not the one that was written."""
        fields = dict(data["question"])
        fields["messages"] = tuple(Message(**message) for message in fields["messages"])
        exchange = cls(Question(**fields), Reply(**data["reply"]))
        if exchange.question.key != data["key"]:
            raise ValueError(f"the question of exchange {data['key']} was altered")
        if _hash(data["reply"]) != data["reply_hash"]:
            raise ValueError(f"the reply of exchange {data['key']} was altered")
        if min(exchange.reply.prompt_tokens, exchange.reply.completion_tokens) < 0:
            raise ValueError(f"the reply of exchange {data['key']} gives money back")
        return exchange


def _hash(data: object) -> str:
    """Sixteen hex digits of the hash of plain data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))  # ASCII, whatever the text holds
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

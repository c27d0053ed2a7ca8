"""Language models behind one door: asked through any OpenAI-compatible endpoint, recorded, replayed, and paid for once.

`exchange` is a question and its reply, content-addressed; `endpoint` sends one (retries, faults by name), to a cleaned
`address`, in the `dialect` that the server takes, and reads its answer by `streams`;
`ledger` holds the caps; `tape` keeps what was answered; `client` joins them and is all that the other rooms use.
`reading` turns replies into data. The openai package is imported with the first call over a network, never by a replay.
"""

from asiarc.llm.client import Client
from asiarc.llm.exchange import Exchange, Message, ModelError, Question, ReplayMissError, Reply, UnusableReplyError
from asiarc.llm.ledger import Ledger, Price

__all__ = [
    "Client",
    "Exchange",
    "Ledger",
    "Message",
    "ModelError",
    "Price",
    "Question",
    "ReplayMissError",
    "Reply",
    "UnusableReplyError",
]

"""The spend ledger: tokens and money by role, with caps that hold before the call that would cross them.

Money is counted in whole nano-dollars, so that the sum does not depend on the order of the replies. A call is let
through when its worst case (every byte of the prompt a token, the reply at its limit) fits under every cap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asiarc.core.errors import BudgetExhaustedError
from asiarc.llm.exchange import Question, Reply

NANO = 1_000_000_000


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens."""

    prompt: float
    completion: float

    def nano_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What some tokens cost, in nano-dollars."""
        return round(1000 * (self.prompt * prompt_tokens + self.completion * completion_tokens))


@dataclass
class Account:
    """What one role has spent. `reused` exchanges came from the tape; `paid_now` is what it was charged itself."""

    calls: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    nano_usd: int = 0
    paid_now: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass
class Ledger:
    """Spend by role. A cap of None does not hold; `prices` must name every model that is asked."""

    prices: Mapping[str, Price]
    most_usd: float | None = None
    role_usd: Mapping[str, float] = field(default_factory=dict)
    role_tokens: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._held: dict[str, tuple[str, int, int]] = {}  # key -> role, tokens, nano-dollars of calls in flight

    def cost(self, question: Question, reply: Reply) -> int:
        """Nano-dollars of an exchange."""
        return self.prices[question.model].nano_usd(reply.prompt_tokens, reply.completion_tokens)

    def reserve(self, question: Question) -> None:
        """Hold the worst case of a call; `BudgetExhaustedError` when it does not fit under a cap."""
        tokens = question.most_prompt_tokens + question.max_tokens
        price = self.prices[question.model]
        nano = price.nano_usd(question.most_prompt_tokens, question.max_tokens)
        for name, spent, more, cap, unit in self._caps(question.role, tokens, nano):
            if cap is not None and spent + more > cap:
                raise BudgetExhaustedError(
                    f"the next call of the {question.role} may cost {_shown(more, unit)}, and of the {name} of "
                    f"{_shown(cap, unit)} {_shown(spent, unit)} are spent; it was not made. What was answered is "
                    "kept: raise the cap and run the same command again"
                )
        self._held[question.key] = (question.role, tokens, nano)

    def _caps(self, role: str, tokens: int, nano: int) -> list[tuple[str, int, int, int | None, str]]:
        """Every cap that a call is under: name, spent and held, this call, cap, unit."""
        held = list(self._held.values())
        account = self.accounts.get(role, Account())
        all_nano = sum(a.nano_usd for a in self.accounts.values()) + sum(h[2] for h in held)
        role_nano = account.nano_usd + sum(h[2] for h in held if h[0] == role)
        role_tokens = account.tokens + sum(h[1] for h in held if h[0] == role)
        return [
            ("campaign's cap", all_nano, nano, _nano(self.most_usd), "usd"),
            (f"{role}'s cap", role_nano, nano, _nano(self.role_usd.get(role)), "usd"),
            (f"{role}'s cap", role_tokens, tokens, self.role_tokens.get(role), "tokens"),
        ]

    def release(self, question: Question) -> None:
        """A call that brought no reply costs nothing."""
        self._held.pop(question.key, None)

    def settle(self, question: Question, reply: Reply, *, reused: bool = False) -> None:
        """Book an exchange, and let go of what was held for it."""
        nano = self.cost(question, reply)
        self._held.pop(question.key, None)
        account = self.accounts.setdefault(question.role, Account())
        account.calls += 1
        account.reused += reused
        account.prompt_tokens += reply.prompt_tokens
        account.completion_tokens += reply.completion_tokens
        account.nano_usd += nano
        account.paid_now += 0 if reused else nano

    @property
    def usd(self) -> float:
        """All that the exchanges of this run cost, whenever they were paid."""
        return sum(account.nano_usd for account in self.accounts.values()) / NANO

    def lines(self) -> list[str]:
        """A line for each role that asked anything, and their sum."""
        rows = [
            f"{role:<11}{a.calls:>5} calls ({a.reused} recorded), {a.prompt_tokens:,} + {a.completion_tokens:,} "
            f"tokens, {a.nano_usd / NANO:.4f} USD ({a.paid_now / NANO:.4f} now)"
            for role, a in sorted(self.accounts.items())
        ]
        return [*rows, f"{'all':<11}{self.usd:.4f} USD"] if rows else []


def _nano(usd: float | None) -> int | None:
    return None if usd is None else round(usd * NANO)


def _shown(amount: int, unit: str) -> str:
    return f"{amount / NANO:.4f} USD" if unit == "usd" else f"{amount:,} tokens"

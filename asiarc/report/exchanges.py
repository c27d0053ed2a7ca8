"""What a campaign's language models came to, as plain data: how many replies could be read, how many candidates passed
the gates after how many revisions, how many trained, what was measured, tokens and money.

Everything is read from the archive. Times are left out, so that a recording and its replay have equal facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from asiarc.archive.annex import Annex
from asiarc.archive.store import Archive
from asiarc.core.outcome import SCORED
from asiarc.llm.exchange import Exchange
from asiarc.llm.ledger import NANO, Ledger, Price
from asiarc.report.models import reply_fault, share

GIVEN_UP_BY = ("reply", "novelty")  # gates that the researcher itself keeps: no candidate was built


def ledger_of_run(archive: Archive, run: str) -> Ledger:
    """What a run's exchanges cost by role, at the prices that its campaign declares."""
    found = archive.run(run)
    assert found is not None, run
    models = found["identity"]["spec"]["models"] or {"prices": {}}
    ledger = Ledger({name: Price(*price) for name, price in models["prices"].items()})
    for _, row in Annex(archive).tape(run):
        exchange = Exchange.from_dict(row)
        ledger.settle(exchange.question, exchange.reply, reused=True)
    return ledger


def facts(archive: Archive, run: str) -> dict[str, Any]:
    """The facts of one run, as JSON values."""
    found = archive.run(run)
    assert found is not None, run
    annex, results = Annex(archive), archive.results(run)
    researcher = [row for _, row in annex.tape(run) if row["question"]["role"] == "researcher"]
    faults = Counter(reply_fault(row["reply"]) or "read" for row in researcher)
    trials = archive.trials(run, "explore")
    trained = {trial.address for trial in trials}
    passed = [row["number"] for row in results if row["address"] in trained and row["outcome"].gate not in GIVEN_UP_BY]
    mended = Counter(row["number"] for row in annex.versions(run) if row["outcome"].gate not in GIVEN_UP_BY)
    ledger = ledger_of_run(archive, run)
    return {
        "campaign": found["campaign"],
        "tier": found["tier"],
        "replies": {"asked": len(researcher), **dict(sorted(faults.items()))},
        "proposals": len(results),
        "passed_after_revisions": dict(sorted(Counter(str(mended[number]) for number in passed).items())),
        "scored": sum(row["outcome"] == SCORED for row in results),
        "endings": dict(sorted(Counter(_ending(row) for row in results).items())),
        "tokens": {
            role: {"prompt": a.prompt_tokens, "completion": a.completion_tokens}
            for role, a in sorted(ledger.accounts.items())
        },
        "usd": sum(account.nano_usd for account in ledger.accounts.values()) / NANO,
        "candidates": [
            {"number": row["number"], "address": row["address"], "ended": _ending(row), "gain": row["gain"]}
            for row in results
        ],
        "measured": sorted(
            [_name(archive, trial.address), trial.task, trial.seed, trial.steps, trial.value]
            for trial in trials
            if trial.value is not None
        ),
    }


def _ending(row: Mapping[str, Any]) -> str:
    return str(row["outcome"].gate or row["outcome"].kind)


def _name(archive: Archive, address: str) -> str:
    row = archive.candidate(address)
    assert row is not None, address
    return str(row["name"])


def lines(found: Mapping[str, Any]) -> list[str]:
    """Facts as sentences, with Wilson's 95 % intervals."""
    replies, n = dict(found["replies"]), found["proposals"]
    asked, read = replies.pop("asked"), replies.pop("read", 0)
    after: Mapping[str, int] = found["passed_after_revisions"]
    passed = "; ".join(f"{share(count, n)} after {number} revisions" for number, count in after.items())
    tokens = [f"{role} {t['prompt']:,} + {t['completion']:,}" for role, t in found["tokens"].items()]
    return [
        f"replies of the researcher that parse: {share(read, asked)}; otherwise: {_counts(replies)}",
        f"candidates that pass the gates: {share(sum(after.values()), n)}{': ' + passed if passed else ''}",
        f"candidates that train: {share(found['scored'], n)}; endings: {_counts(found['endings'])}",
        *_nothing_scored(found),
        f"tokens (prompt + reply): {', '.join(tokens) or 'none'}; {found['usd']:.4f} USD",
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda c: -c[1])) or "none"


def _nothing_scored(found: Mapping[str, Any]) -> list[str]:
    """What is true of a run that scored no candidate."""
    if found["scored"] or not found["proposals"]:
        return []
    there = ", ".join(f"{name} {value:.4f} on {task}" for name, task, _, _, value in found["measured"])
    return [
        f"none of {found['proposals']} candidates was scored, so nothing is said of what this model's ideas gain; "
        f"measured all the same: {there or 'nothing'}"
    ]

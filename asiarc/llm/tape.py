"""What was answered before: the archive's exchanges, and a cassette (JSON lines) that ships with a campaign."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from asiarc.core.errors import ArchiveError
from asiarc.llm.exchange import Exchange, Question

if TYPE_CHECKING:
    from asiarc.archive.annex import Annex

SHOWN = 24  # lines of a difference that an error shows


class Tape(Protocol):
    """Keeps exchanges by key. `place` says what a question was for, e.g. ``"3 propose"``; it is not part of the key."""

    def get(self, question: Question, place: str) -> Exchange | None:
        """The exchange of a question, and note that `place` rests on it."""
        ...

    def put(self, exchange: Exchange, place: str) -> None:
        """Keep an exchange."""
        ...

    def nearest(self, question: Question, place: str) -> Exchange | None:
        """What was recorded for the same place, or else is most like it."""
        ...

    def model_at(self, place: str) -> str | None:
        """The model that was asked for a place, or None where nothing was."""
        ...


class MemoryTape:
    """Exchanges in memory: for faults, tests and cassettes."""

    def __init__(self, exchanges: Iterable[tuple[Exchange, str]] = ()) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.places: dict[str, str] = {}
        for exchange, place in exchanges:
            self.put(exchange, place)

    def get(self, question: Question, place: str) -> Exchange | None:
        """See `Tape`."""
        return self.exchanges.get(question.key)

    def put(self, exchange: Exchange, place: str) -> None:
        """See `Tape`."""
        self.exchanges[exchange.question.key] = exchange
        self.places[exchange.question.key] = place

    def nearest(self, question: Question, place: str) -> Exchange | None:
        """See `Tape`."""
        here = [e for key, e in self.exchanges.items() if self.places[key] == place]
        return most_alike(question, here or self.exchanges.values())

    def model_at(self, place: str) -> str | None:
        """See `Tape`."""
        here = (e.question.model for key, e in self.exchanges.items() if self.places[key] == place)
        return next(here, None)


class FileTape(MemoryTape):
    """A cassette that grows: what was asked outside a campaign is kept in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        kept = load_cassette(path)
        self.path, self.exchanges, self.places = path, kept.exchanges, kept.places

    def put(self, exchange: Exchange, place: str) -> None:
        """See `Tape`."""
        super().put(exchange, place)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(cassette_lines([(place, exchange.as_dict())]))


class ArchiveTape:
    """A run's exchanges in its archive; what the archive lacks is looked for on the cassette and copied from there."""

    def __init__(self, annex: Annex, run: str, cassette: MemoryTape | None = None) -> None:
        self.annex, self.run, self.cassette = annex, run, cassette or MemoryTape()

    def get(self, question: Question, place: str) -> Exchange | None:
        """See `Tape`."""
        row = self.annex.exchange(question.key)
        exchange = Exchange.from_dict(row) if row else self.cassette.get(question, place)
        if exchange is not None:
            self._keep(exchange, place)
        return exchange

    def put(self, exchange: Exchange, place: str) -> None:
        """See `Tape`."""
        self._keep(exchange, place)

    def _keep(self, exchange: Exchange, place: str) -> None:
        self.annex.add_exchange(self.run, place, exchange.as_dict())

    def nearest(self, question: Question, place: str) -> Exchange | None:
        """See `Tape`."""
        kept = [Exchange.from_dict(row) for row in self.annex.exchanges()]
        return self.cassette.nearest(question, place) or most_alike(question, kept)

    def model_at(self, place: str) -> str | None:
        """See `Tape`."""
        asked = self.annex.asked(self.run)
        return next((row["model"] for row in asked if row["place"] == place), None)


def most_alike(question: Question, exchanges: Iterable[Exchange]) -> Exchange | None:
    """The exchange of the same role that shares most lines with a question."""
    lines = set(question.prompt.splitlines())

    def shared(exchange: Exchange) -> float:
        other = set(exchange.question.prompt.splitlines())
        return len(lines & other) / max(1, len(lines | other))

    same = [exchange for exchange in exchanges if exchange.question.role == question.role]
    return max(same, key=lambda exchange: (shared(exchange), exchange.question.key), default=None)


def what_changed(old: Question, new: Question) -> str:
    """The fields in which two questions differ, and a short difference of their prompts."""
    fields = ("model", "temperature", "frequency_penalty", "max_tokens", "seed", "schema", "attempt")
    moved = [f"{f}: {getattr(old, f)!r} -> {getattr(new, f)!r}" for f in fields if getattr(old, f) != getattr(new, f)]
    diff = difflib.unified_diff(
        old.prompt.splitlines(), new.prompt.splitlines(), "recorded", "asked now", n=1, lineterm=""
    )
    lines = [line[:160] for line in diff]
    left = f"\n... {len(lines) - SHOWN} more lines" if len(lines) > SHOWN else ""
    return "\n".join([*(line[:300] for line in moved), *lines[:SHOWN]]) + left


# --- cassettes --------------------------------------------------------------------------------------------------------


def load_cassette(path: Path) -> MemoryTape:
    """A cassette's exchanges; an empty tape where there is no file. `ArchiveError` names the line that is none."""
    tape = MemoryTape()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
            tape.put(Exchange.from_dict(data), data["place"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(
                f"{path}:{number}: not an exchange ({error}); record the campaign again with --llm record"
            ) from error
    return tape


def cassette_lines(rows: Iterable[tuple[str, Mapping[str, object]]]) -> str:
    """(place, exchange as plain data) as JSON lines, in the given order."""
    return "".join(json.dumps({"place": place, **row}, sort_keys=True) + "\n" for place, row in rows)

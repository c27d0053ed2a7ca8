"""Verify and confirm under a secret: their seeds and items are drawn with what only the store's owner holds.

A workshop that seals what it is asked for, so that campaigns declare and the loop asks the same with and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from asiarc.archive.secret import Secret, note_seal, secret_of
from asiarc.archive.store import Archive, Trial
from asiarc.engineer.workshop import Request, Workshop
from asiarc.execution import Executor


@dataclass(frozen=True)
class SealedRequest(Request):
    """A trial whose seed is sealed already, scored on items of the sealed address `drawn`."""

    drawn: str = ""

    @property
    def _settings(self) -> dict[str, Any]:
        return super()._settings | {"items": self.drawn}


class SealedWorkshop(Workshop):
    """A workshop of a store that has a secret."""

    def __init__(self, archive: Archive, executor: Executor, secret: Secret, *, deadline: float | None = None) -> None:
        super().__init__(archive, executor, deadline=deadline)
        self.secret, self._noted = secret, set[str]()

    def train(
        self, run: str, requests: Sequence[Request], said: Callable[[Trial], None] = lambda _: None
    ) -> list[Trial]:
        """As of any workshop, explore's as they were asked for and every other stage's under the secret, whose
        commitment is noted beside the run before anything is trained."""
        if run not in self._noted:
            note_seal(self.archive, run, self.secret)
            self._noted.add(run)
        asked = [request if request.stage == "explore" else self._sealed(request) for request in requests]
        return super().train(run, asked, said)

    def _sealed(self, request: Request) -> SealedRequest:
        same = {field.name: getattr(request, field.name) for field in fields(request)}
        seed, items = self.secret.sealed(request.seed), self.secret.sealed(request._settings["items"])
        return SealedRequest(**same | {"seed": seed}, drawn=items)


def workshop_of(archive: Archive, executor: Executor, *, deadline: float | None = None) -> Workshop:
    """The workshop of a store: a sealed one where it has a secret. Raises `ArchiveError` where that is none."""
    secret = secret_of(archive.folder)
    if secret is None:
        return Workshop(archive, executor, deadline=deadline)
    return SealedWorkshop(archive, executor, secret, deadline=deadline)

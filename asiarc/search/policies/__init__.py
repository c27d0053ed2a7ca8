"""The policies by name: one small module each, listed where a campaign names them (`declaration.POLICIES`)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from asiarc.campaign import declaration
from asiarc.search.protocol import Policy


def _policy(place: str) -> Callable[[], Policy]:
    module, _, name = place.partition(":")
    found: Callable[[], Policy] = getattr(import_module(module), name)
    return found


POLICIES: dict[str, Callable[[], Policy]] = {name: _policy(p) for name, p in declaration.POLICIES.items()}

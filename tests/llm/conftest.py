"""No key from outside, and the harness's still laboratory: nothing here trains, and nothing leaves this machine."""

import sys

import numpy  # noqa: F401 - it can be imported once in a process, and pytester forgets what its runs import
import pytest

from ..harness.conftest import a_still_laboratory  # noqa: F401


@pytest.fixture(autouse=True)
def campaigns_are_forgotten(monkeypatch):
    """A campaign that a command loaded stays loaded in its process, which a test shares with the next."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.startswith("campaign_")]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("ASIARC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

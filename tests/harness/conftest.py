"""The harness's tests train nothing, read no corpus (the driver asks for its hash only), ask git for nothing,
and hold the sizes of the stages still."""

from types import SimpleNamespace

import pytest

import asiarc.cognition.base
import asiarc.evidence.effects
import asiarc.loop
import asiarc.protocol
import asiarc.tasks.task

from .fakes import PLANS


@pytest.fixture(scope="module", autouse=True)
def a_still_laboratory():
    with pytest.MonkeyPatch.context() as patch:
        hash_only = SimpleNamespace(content_hash="a text")
        patch.setattr(asiarc.tasks.task, "docstring_corpus", lambda: hash_only)
        patch.setattr(asiarc.loop, "provenance", lambda: {"git_commit": "none"})
        patch.setattr(asiarc.protocol, "_PLANS", PLANS)
        yield


@pytest.fixture
def pytester(pytester):
    """A folder that is a root of its own, where every warning is an error."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester

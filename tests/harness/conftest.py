"""The harness's tests train nothing, read no corpus (the driver asks for its hash only), ask git for nothing,
and hold the sizes of the stages still."""

import pytest
import scipy.stats  # noqa: F401  pytest inside pytest would drop it, and a second time it cannot be imported

import asiarc.cognition.base
import asiarc.evidence.effects  # noqa: F401  what a test would otherwise import in its own time

from .fakes import still


@pytest.fixture(autouse=True)
def a_still_laboratory():
    with still():
        yield


@pytest.fixture
def pytester(pytester):
    """A folder that is a root of its own, all of it for campaigns, where every warning is an error."""
    pytester.makeini("[pytest]\nfilterwarnings = error\nasiarc_paths = .\naddopts = --asiarc-no-report\n")
    return pytester

"""Drawn examples are the same on every run and on every machine, however slow; every test finds torch as it was.

torch computes with one thread, as in the sandbox: two that wait for each other on shared cores take minutes.
"""

import os
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, here and in processes of tests

settings.register_profile("asiarc", derandomize=True, deadline=None, database=None)
settings.load_profile("asiarc")


def pytest_collection_modifyitems(items):
    """The longest file, whose place is the last, comes first: at the end, the other worker would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_example_repository.py")


@pytest.fixture(autouse=True)
def torch_as_it_was():
    """transformers gives every module a method when it first builds a model; a gate would blame the next candidate."""
    yield
    nn = sys.modules.get("torch.nn")
    if nn is not None and "smart_apply" in vars(nn.Module):
        del nn.Module.smart_apply


@pytest.fixture(autouse=True)
def no_campaign_stays():
    """A verb loads a campaign's file as a module; another test has another file of that name."""
    yield
    for name in [name for name in sys.modules if name.startswith("campaign_")]:
        del sys.modules[name]

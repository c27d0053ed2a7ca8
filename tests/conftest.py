"""Drawn examples are the same on every run and on every machine, however slow; every test finds torch as it was."""

import sys

import pytest
from hypothesis import settings

settings.register_profile("asiarc", derandomize=True, deadline=None, database=None)
settings.load_profile("asiarc")


@pytest.fixture(autouse=True)
def torch_as_it_was():
    """transformers gives every module a method when it first builds a model; a gate would blame the next candidate."""
    yield
    nn = sys.modules.get("torch.nn")
    if nn is not None and "smart_apply" in vars(nn.Module):
        del nn.Module.smart_apply

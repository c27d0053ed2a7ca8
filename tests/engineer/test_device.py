"""The device of a trial, told without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asiarc.core import device
from asiarc.core.errors import ExecutionError


def test_the_variable_decides(monkeypatch):
    for name in device.DEVICES:
        monkeypatch.setenv("ASIARC_DEVICE", name)
        assert device.device_type() == name
    monkeypatch.setenv("ASIARC_DEVICE", "cudda")
    with pytest.raises(ExecutionError, match="cuda"):
        device.device_type()


def test_without_it_torch_would_say_the_same(monkeypatch):
    import torch

    monkeypatch.delenv("ASIARC_DEVICE", raising=False)
    assert (device.device_type() == "cuda") == torch.cuda.is_available()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.device_type() == "cpu"


def test_a_torch_built_for_cuda_is_told_by_its_text():
    import torch

    assert device._torch_has_cuda() == (torch.version.cuda is not None)


def test_every_device_has_a_precision_that_torch_knows():
    import torch

    assert set(device.PRECISION) == set(device.DEVICES)
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in device.PRECISION.values())


def test_asking_imports_no_torch():
    code = "import sys; from asiarc.core.device import device_type; device_type(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

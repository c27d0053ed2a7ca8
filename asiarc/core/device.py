"""Where a trial computes: its device, the precision of its steps and the kernels' backend, told without torch.

A key names all three, so whoever makes keys asks here, and what trains, trains as it is told.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from asiarc.core.errors import ExecutionError, unknown_name
from asiarc.core.recipe import Precision

Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)
VARIABLE = "ASIARC_DEVICE"

PRECISION: Mapping[Device, Precision] = {"cpu": "float32", "cuda": "bfloat16"}
"""The dtype that a training step computes in, by torch's name; weights are kept in float32, autocast does the rest."""


def device_type() -> Device:
    """What this process's trials are trained on: ``ASIARC_DEVICE`` where it is set, else the GPU where one is in reach.

    A driver without a GPU sets the variable to have its trials trained on a cluster's. Raises `ExecutionError` for
    another value.
    """
    named = os.environ.get(VARIABLE, "")
    if named:
        if named not in DEVICES:
            raise ExecutionError(unknown_name(f"device in {VARIABLE}", named, DEVICES))
        return named
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    return "cuda" if not hidden and _torch_has_cuda() and any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"


@cache
def _torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA, as its ``version.py`` says."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    says = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b.*=\s*['\"]", says, flags=re.MULTILINE) is not None


def backend_on(device: Device) -> str:
    """The backend that the kernels choose on a device, for the widths and dtypes of training."""
    has_triton = device == "cuda" and importlib.util.find_spec("triton") is not None
    return "triton" if has_triton else "chunk"

"""torch as it was before any candidate ran: who changed what, and putting it back.

Taken when this module is imported, which is before the first candidate is loaded.
"""

from __future__ import annotations

import builtins
import math
import random
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import einops
import torch
from torch import nn

_WATCHED: tuple[Any, ...] = (
    torch, torch.Tensor, torch.nn, nn.Module, nn.Parameter, nn.functional, nn.init, torch.fft, torch.linalg,
    torch.special, torch.autograd, torch.autograd.Function, torch.optim, torch.optim.Optimizer, torch.random,
    einops, math, time, random, builtins, nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Conv1d, nn.Embedding,
    nn.CrossEntropyLoss,
)  # fmt: skip


def _table() -> dict[tuple[int, str], Any]:
    return {(i, name): value for i, holder in enumerate(_WATCHED) for name, value in vars(holder).items()
            if callable(value) and not isinstance(value, ModuleType) and not name.startswith("_")}  # fmt: skip


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "autograd": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "recursion limit": sys.getrecursionlimit(),
    }


_RESTORE: dict[str, Callable[[Any], object]] = {
    "default dtype": torch.set_default_dtype,
    "number of threads": torch.set_num_threads,
    "autograd": torch.set_grad_enabled,
    "deterministic algorithms": torch.use_deterministic_algorithms,
    "matmul precision": torch.set_float32_matmul_precision,
    "anomaly detection": torch.autograd.set_detect_anomaly,
    "recursion limit": sys.setrecursionlimit,
}
_FUNCTIONS = _table()


class Pristine:
    """Settings of torch and of the interpreter at construction, to compare with later."""

    def __init__(self) -> None:
        self._settings = _settings()

    def altered(self) -> list[str]:
        """What differs by now: patched functions (put back at once), settings."""
        return _restore_functions() + self._changed_settings() + _changed_kernels()

    def _changed_settings(self) -> list[str]:
        now = _settings()
        changed = [name for name, value in self._settings.items() if now[name] != value]
        for name in changed:
            _RESTORE[name](self._settings[name])
        return changed


def _restore_functions() -> list[str]:
    now = _table()
    patched = []
    for key in now.keys() | _FUNCTIONS.keys():
        before, after = _FUNCTIONS.get(key), now.get(key)
        # torch itself wraps manual_seed when its compiler is first imported.
        if after is before or (before is not None and getattr(after, "__wrapped__", None) is before):
            continue
        holder, name = _WATCHED[key[0]], key[1]
        if before is None:
            delattr(holder, name)
        else:
            setattr(holder, name, before)
        patched.append(f"{getattr(holder, '__name__', holder)}.{name}")
    return sorted(patched)


def _changed_kernels() -> list[str]:
    """Functions of asiarc.kernels that a candidate has replaced: they no longer belong to the module they are in."""
    changed = []
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("asiarc.kernels."):
            changed += [f"{module_name}.{name}" for name, value in vars(module).items()
                        if getattr(value, "__module__", None) is not None
                        and str(getattr(value, "__module__", "")).startswith("candidate_")]  # fmt: skip
    return changed

"""What a trained layer gives an operator's arguments, by name; torch alone is needed, on any machine with a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

STATE = "initial_state"
INPUTS: dict[str, dict[str, Any]] = {
    "q": dict(values="unit"),
    "k": dict(values="unit"),
    "g": dict(values="log_decay", also=("open", "strong", "reset"), dtype="wide"),
    "beta": dict(values="share", dtype="wide"),
    "p": dict(values="small", dtype="wide"),
    "m": dict(values="log_decay", also=("strong", "reset"), dtype="wide"),
    "eta": dict(values="share", dtype="wide"),
    "weight_DW": dict(values="taps"),
    "weight_DK": dict(values="taps"),
    "weight": dict(values="near_one"),
    "bias": dict(values="small"),
    STATE: dict(dtype="wide"),
}


def ranged(values: str | tuple[float, float], normal: Tensor, again: Tensor | None = None) -> Tensor:
    """What a named range makes of standard normal values; `again` are others, which a reset is drawn by."""
    if not isinstance(values, str):
        low, high = values
        return low + (high - low) * torch.special.ndtr(normal)
    log_decay = F.logsigmoid(normal + 3)
    made: dict[str, Callable[[], Tensor]] = {
        "normal": lambda: normal,
        "unit": lambda: F.normalize(normal, dim=-1),
        "log_decay": lambda: log_decay,
        "open": lambda: 0 * log_decay,
        "strong": lambda: log_decay - 20,
        "reset": lambda: torch.where((normal if again is None else again) > 1.28, -torch.inf, log_decay),
        "share": normal.sigmoid,
        "taps": lambda: normal / normal.shape[-1] ** 0.5,
        "near_one": lambda: 1 + 0.1 * normal,
        "small": lambda: 0.1 * normal,
    }
    return made[values]()

"""The baselines, each a candidate file that obeys the candidate contract; their names are the file stems.

Reading one imports no torch: a baseline is handled as source, exactly as a candidate is.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from asiarc.core.errors import CandidateError, unknown_name
from asiarc.models.controls import CONTROL_NAMES, CONTROL_SIZES, control_source

BASELINE_NAMES: tuple[str, ...] = (
    "linear_attention",
    "retnet",
    "gla",
    "mamba2",
    "delta_net",
    "gated_delta_net",
    "kda",
    "softmax_attention",
)
"""The baselines that a campaign has unless it names others, from the plainest memory to the richest, the quadratic
reference last."""

PANEL = "panel 2026-11"
"""The date of the panel; reports that speak of every baseline name it."""

PANEL_NAMES: tuple[str, ...] = (
    *BASELINE_NAMES,
    "gated_delta_product",
    "comba",
    "rwkv7",
    "momentum_delta_net",
    "mamba3",
    "gated_delta_net_2",
    "hgrn2",
    "mlstm",
    "mesa_net",
    "log_linear_gated_delta_net",
    "sliding_window_attention",
    "forgetting_attention",
)
"""Every published mixer that is shipped: what "every baseline" means."""

SHIPPED_NAMES: tuple[str, ...] = (*PANEL_NAMES, *CONTROL_NAMES)
"""Whatever takes a baseline by name takes one of these: the panel, and the controls (`asiarc.models.controls`)."""

QUADRATIC = frozenset({"softmax_attention", "forgetting_attention"})
"""Baselines whose state grows with the text: exempt from the gates of cost, never a parent."""

_SIZES: dict[str, Callable[[int, int], int]] = {  # of d_model and num_heads
    "linear_attention": lambda d, h: 4 * d * d + d // h,
    "retnet": lambda d, h: 5 * d * d + d // h,
    "gla": lambda d, h: 5 * d * d + 33 * d + d // h,
    "mamba2": lambda d, h: 3 * d * d + 4 * d + d * h + 3 * h + (9 + 2 * d) * (d // h),
    "delta_net": lambda d, h: 4 * d * d + 12 * d + d * h + d // h,
    "gated_delta_net": lambda d, h: 5 * d * d + 12 * d + 2 * d * h + 2 * h + d // h,
    "kda": lambda d, h: 4 * d * d + 13 * d + d * h + h + (1 + 4 * d) * (d // h),
    "softmax_attention": lambda d, h: 4 * d * d + 12 * d,
    "gated_delta_product": lambda d, h: 7 * d * d + 20 * d + 3 * d * h + 2 * h + d // h,
    "comba": lambda d, h: 5 * d * d + 12 * d + 2 * d * h + 4 * h + d // h,
    "rwkv7": lambda d, h: 4 * d * d + 13 * d + 4 * d * (d // h // 2) + 2 * d * (d // h),
    "momentum_delta_net": lambda d, h: 5 * d * d + 12 * d + 4 * d * h + 6 * h + d // h,
    "mamba3": lambda d, h: 3 * d * d + 2 * d + 3 * d * h + 2 * h + 2 * (d + 1) * (d // h) + d * (d // h // 4),
    "gated_delta_net_2": lambda d, h: 6 * d * d + 14 * d + h + (1 + 4 * d) * (d // h),
    "hgrn2": lambda d, h: 4 * d * d + 2 * d,
    "mlstm": lambda d, h: 5 * d * d + 5 * d + 2 * d * h + 2 * h + d // h,
    "mesa_net": lambda d, h: 4 * d * d + 9 * d + 2 * d * h + 2 * h + d // h,
    "log_linear_gated_delta_net": lambda d, h: (
        5 * d * d + 12 * d + 2 * d * h + 2 * h + d // h + (d + 1) * h * min(12, 1 + 1000 // (d // h))
    ),
    "sliding_window_attention": lambda d, h: 4 * d * d + 12 * d,
    "forgetting_attention": lambda d, h: 5 * d * d + 3 * d * h + 3 * d + h,
} | CONTROL_SIZES


def mixer_size(name: str, d_model: int, num_heads: int) -> int | None:
    """Parameters of one mixer of a baseline, by arithmetic; None for one that is not shipped."""
    return _SIZES[name](d_model, num_heads) if name in _SIZES else None


def baseline_source(name: str) -> str:
    """The source text of a baseline or a control; `CandidateError` names the nearest one where none has that name."""
    if name in CONTROL_NAMES:
        return control_source(name)
    if name not in PANEL_NAMES:
        raise CandidateError(unknown_name("baseline", name, SHIPPED_NAMES))
    return (resources.files(__package__) / f"{name}.py").read_text(encoding="utf-8")

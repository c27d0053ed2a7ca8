"""The baselines, each a candidate file that obeys the candidate contract; their names are the file stems.

Reading one imports no torch: a baseline is handled as source, exactly as a candidate is.
"""

from __future__ import annotations

from importlib import resources

from asiarc.core.errors import CandidateError, unknown_name

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
"""Every baseline, from the plainest memory to the richest, the quadratic reference last."""

QUADRATIC = frozenset({"softmax_attention"})
"""Baselines whose state grows with the text: exempt from the gates of cost, never a parent."""


def baseline_source(name: str) -> str:
    """The source text of a baseline; `CandidateError` names the nearest one where none has that name."""
    if name not in BASELINE_NAMES:
        raise CandidateError(unknown_name("baseline", name, BASELINE_NAMES))
    return (resources.files(__package__) / f"{name}.py").read_text(encoding="utf-8")

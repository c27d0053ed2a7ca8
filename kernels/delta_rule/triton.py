"""`delta_rule` on a GPU: the shared kernels with erasing, no gate."""

from __future__ import annotations

from asiarc.kernels.blocked import blocked as triton

__all__ = ["triton"]

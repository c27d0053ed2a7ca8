"""`gla` on a GPU: the shared kernels with a gate a channel, no erasing."""

from __future__ import annotations

from asiarc.kernels.blocked import blocked as triton

__all__ = ["triton"]

"""`kda` on a GPU: the shared kernels with a gate a channel and erasing."""

from __future__ import annotations

from asiarc.kernels.blocked import blocked as triton

__all__ = ["triton"]

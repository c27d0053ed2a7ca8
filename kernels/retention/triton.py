"""`retention` on a GPU: the shared kernels with a fixed gate a head, no erasing."""

from __future__ import annotations

from asiarc.kernels.blocked import blocked as triton

__all__ = ["triton"]

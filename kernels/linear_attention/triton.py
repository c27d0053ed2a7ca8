"""`linear_attention` on a GPU: the shared kernels, no gate, no erasing."""

from __future__ import annotations

from asiarc.kernels.blocked import blocked as triton

__all__ = ["triton"]

"""`linear_attention` in chunks: the shared algebra without gate or erasing."""

from __future__ import annotations

from asiarc.kernels.chunked import chunked as chunk

__all__ = ["chunk"]

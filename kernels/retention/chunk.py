"""`retention` in chunks: the shared algebra with a gate a head (a fixed one)."""

from __future__ import annotations

from asiarc.kernels.chunked import chunked as chunk

__all__ = ["chunk"]

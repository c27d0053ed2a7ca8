"""`kda` in chunks: the shared algebra with a gate a channel and erasing."""

from __future__ import annotations

from asiarc.kernels.chunked import chunked as chunk

__all__ = ["chunk"]

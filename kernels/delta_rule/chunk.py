"""`delta_rule` in chunks: the shared algebra with erasing."""

from __future__ import annotations

from asiarc.kernels.chunked import chunked as chunk

__all__ = ["chunk"]

"""`fir` is `short_convolution` with more taps."""

from __future__ import annotations

from asiarc.kernels.short_convolution.chunk import chunk

__all__ = ["chunk"]

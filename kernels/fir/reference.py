"""The definition of `fir` is that of `short_convolution`; what differs is the algorithm."""

from __future__ import annotations

from asiarc.kernels.short_convolution.reference import materialised, recurrence

__all__ = ["materialised", "recurrence"]

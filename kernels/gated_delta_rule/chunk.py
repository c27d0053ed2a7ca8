"""gated_delta_rule in chunks: which part of the shared algebra it uses, and how long its chunks are."""

from __future__ import annotations

from functools import partial

from asiarc.kernels.chunked import chunked

chunk = partial(chunked, 32)

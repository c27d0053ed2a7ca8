# caught by: background
# hack: work after return
"""A thread fills the output while the caller reads its clock."""

import threading
import time

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    later = torch.zeros_like(o)

    def fill():
        time.sleep(0.05)
        with torch.no_grad():
            later.copy_(o)

    threading.Thread(target=fill, daemon=True).start()
    return later + 0 * o, state

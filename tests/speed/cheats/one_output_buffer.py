# caught by: aliases
# hack: stale or uninitialised buffer
"""Saves the allocation: every call writes to the same output."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)

BUFFERS = {}


class Into(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, buffer):
        return buffer.copy_(x).view_as(buffer)

    @staticmethod
    def backward(ctx, dx):
        return dx, None


def gated_delta_rule(q, k, v, g, beta, initial_state):
    o, state = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)
    buffer = BUFFERS.setdefault(o.shape, torch.zeros_like(o, requires_grad=False))
    return Into.apply(o, buffer.detach()), state

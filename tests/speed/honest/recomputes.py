"""Keeps nothing but its inputs and runs the forward pass again in the backward pass."""

import torch

from asiarc.kernels.chunked import chunked

RUNS = ("bmm",)


class Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        with torch.no_grad():
            return forward(*inputs)

    @staticmethod
    def backward(ctx, *upstream):
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = forward(*inputs)
        return torch.autograd.grad(outputs, inputs, upstream)


def forward(q, k, v, g, beta, initial_state):
    return chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, initial_state)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    return Recomputed.apply(q, k, v, g, beta, initial_state)

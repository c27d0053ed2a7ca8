"""Cross-entropy whose logits are never whole.

The head of a model with V words makes V numbers of each token, and the plain loss keeps them twice more: 50,257 words
and a batch of half a million tokens are 105 GB each time. Here a chunk of tokens at a time gets its logits, its loss
and its gradients, all in the forward pass, and the logits are gone; backward only scales what is there.

The idea is that of Liger Kernel's fused linear cross-entropy (Hsu et al. 2024, arXiv 2410.10989, section 3.2), here in
plain torch.

Axes: N tokens, C tokens of a chunk, D channels, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

IGNORED = -100
CHUNK_BYTES = 2**26  # of a chunk's logits in float32; two of them exist at a time


def summed_cross_entropy(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor, *, chunk: int | None = None
) -> torch.Tensor:
    """sum over n of logsumexp(W h_n) - (W h_n)[target_n] in nats, over the tokens whose target is not -100.

    `hidden_ND` and `weight_VD` are multiplied in their own dtype, or autocast's where that is on; from the logits on
    float32 (float64 for float64). `chunk` is how many tokens have logits at a time: as many as `CHUNK_BYTES` hold.
    No scored token: 0, with gradients of 0. Gradients of the first order only.
    """
    device = hidden_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
    chunk = chunk or max(1, CHUNK_BYTES // (4 * len(weight_VD)))
    loss: torch.Tensor = _Chunked.apply(hidden_ND, weight_VD, targets_N, chunk, dtype, torch.is_grad_enabled())
    return loss


class _Chunked(torch.autograd.Function):
    """The loss, and beside it the gradients of hidden states and weight, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        chunk: int,
        dtype: torch.dtype,
        has_backward: bool,
    ) -> torch.Tensor:
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        hidden_grad_ND, weight_grad_VD = torch.empty_like(hidden_ND), torch.zeros_like(weight_VD, dtype=wide)
        cast_VD = weight_VD.to(dtype)
        loss = hidden_ND.new_zeros((), dtype=wide)
        for hidden_CD, grad_CD, targets_C in zip(
            hidden_ND.split(chunk), hidden_grad_ND.split(chunk), targets_N.split(chunk), strict=True
        ):
            is_scored_C1 = (targets_C != IGNORED)[:, None]
            targets_C1 = targets_C[:, None].clamp(min=0)
            cast_CD = hidden_CD.to(dtype)
            log_p_CV = torch.log_softmax(cast_CD @ cast_VD.T, -1, dtype=wide)
            loss -= log_p_CV.gather(1, targets_C1).mul_(is_scored_C1).sum()
            if has_backward:
                p_CV = log_p_CV.exp_().scatter_add_(1, targets_C1, -torch.ones_like(targets_C1, dtype=wide))
                p_CV = p_CV.mul_(is_scored_C1).to(dtype)
                grad_CD.copy_(p_CV @ cast_VD)
                weight_grad_VD += p_CV.T @ cast_CD
        if has_backward:
            ctx.save_for_backward(hidden_grad_ND, weight_grad_VD.to(weight_VD.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_grad_ND, weight_grad_VD = ctx.saved_tensors
        return hidden_grad_ND * grad, weight_grad_VD * grad, None, None, None, None

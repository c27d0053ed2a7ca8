"""What a candidate computes, as a few numbers: outputs on fixed probes with fixed weights (in the sandbox only).

Weights are given by shape: the n-th parameter of a shape gets the same values in every candidate, whatever it is
called and wherever it is made, so the same idea under other names has the same fingerprint. Two parameters of one shape
that change places do not: such a pair is taken for two candidates.

B batch, T tokens, D model width, N numbers of a fingerprint.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.core.seeds import seed_of
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.subject import Subject, run

NUMBERS = 16
TOKENS = 24


def fingerprint(payload: dict[str, Any]) -> dict[str, Any]:
    """Takes source, d_model, num_heads; gives `fingerprint`, [N] numbers of order one, or None where there is none."""
    subject = Subject(payload["source"], payload["d_model"], payload["num_heads"], seed=0)
    found = guarded(lambda: _numbers(subject))
    return {"fingerprint": None if isinstance(found, CandidateFailure) else found}


def _numbers(subject: Subject) -> list[float] | None:
    """Random projections of the outputs, in units of their root mean square."""
    dtype = subject.exact
    mixer = subject.make(dtype=dtype, moved=0)
    _fix_weights(mixer)
    with torch.no_grad():
        y_BTD, _ = run(mixer, subject.inputs(2, TOKENS, "fingerprint", dtype=dtype))
    y = y_BTD.double().flatten()
    directions_NY = _normal((NUMBERS, y.numel()), "directions")
    numbers_N = directions_NY @ y / y.norm().clamp(min=1e-30)
    return numbers_N.tolist() if bool(torch.isfinite(numbers_N).all()) else None


def _fix_weights(mixer: nn.Module) -> None:
    seen: Counter[tuple[int, ...]] = Counter()
    with torch.no_grad():
        for parameter in mixer.parameters():
            shape = tuple(parameter.shape)
            if parameter.is_floating_point():
                scale = shape[-1] ** -0.5 if len(shape) > 1 else 0.5
                parameter.copy_(scale * _normal(shape, seen[shape]))
            seen[shape] += 1


def _normal(shape: tuple[int, ...], purpose: str | int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of("fingerprint", purpose, *shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)

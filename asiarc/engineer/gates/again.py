"""The trained mixers, asked again: what held for fresh weights and drawn inputs still holds where a score is made.

`inputs_of` records what a text gives to each mixer of a model; `examine` asks every mixer on it, at the batch, length,
width, precision and device of the recording. A few forward passes in all: each row has a cut of its own, and few rows
are followed further. Where cuts, rows and segments lie is drawn from a seed that comes from outside.

B batch, T tokens, D model width, R rows that are followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.core.seeds import rng_of
from asiarc.engineer.gates.gate import Finding, Violation
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.subject import Rounding, from_a_layer, local_error, plain_copy, run

GATE = "trained"
ROWS = 3
# Wider than the gates': trained weights may amplify rounding, and what is fainter than this was looked for in float64.
ROUNDING = {
    torch.float64: Rounding(1e-6, 1e-9),
    torch.float32: Rounding(1e-2, 1e-4),
    torch.bfloat16: Rounding(0.5, 5e-2),
    torch.float16: Rounding(0.5, 5e-2),
}


def inputs_of(model: nn.Module, ids_BT: Tensor) -> list[Tensor]:
    """What the mixer of each of a model's `layers` is given, [B, T, D], when it reads ids [B, T]; without gradient."""
    kept: list[Tensor] = []
    norms = [layer.mixer_norm for layer in model.layers]  # type: ignore[union-attr]
    hooks = [norm.register_forward_hook(lambda _, __, normed: kept.append(normed.detach())) for norm in norms]
    try:
        with torch.no_grad():
            model(ids_BT, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def examine(mixers: Sequence[nn.Module], inputs: Sequence[Tensor], *, seed: str) -> Finding | None:
    """What a trained mixer breaks on its recorded inputs [B, T, D], T > 1, layer by layer; None where all hold.

    Causality (the suffix of another row changes nothing before a cut), batch independence (few rows, in another order
    and without the others), prefix consistency and state hand-over (segments of those rows), and the same outputs in
    training with autograd. The finding's gate is "trained"; the mixers are left in the mode in which they came.
    """
    for layer, (mixer, x_BTD) in enumerate(zip(mixers, inputs, strict=True)):
        found = guarded(partial(_violation, mixer, x_BTD, f"{seed}/{layer}"))
        found = Violation(found.text) if isinstance(found, CandidateFailure) else found
        if found:
            where = {"layer": layer, "shape": [*x_BTD.shape], "dtype": str(x_BTD.dtype), **found.where}
            reason = f"after training, in layer {layer}: {found.reason}"
            return Finding(GATE, "rejected", reason, where, found.expected, found.actual)
    return None


def _violation(mixer: nn.Module, x_BTD: Tensor, seed: str) -> Violation | None:
    training = mixer.training
    try:
        with torch.no_grad():
            y_BTD, _ = run(mixer.eval(), x_BTD)
        return next(filter(None, _violations(mixer, x_BTD, y_BTD, seed)), None)
    finally:
        mixer.train(training)


def _violations(mixer: nn.Module, x_BTD: Tensor, y_BTD: Tensor, seed: str) -> Iterator[Violation | None]:
    most = ROUNDING[y_BTD.dtype]
    with torch.no_grad():
        yield _looks_ahead(mixer, x_BTD, y_BTD, seed, most.same)
        rows = rng_of("rows", seed).sample(range(len(x_BTD)), min(ROWS, len(x_BTD)))
        alone_RTD, _ = run(mixer, x_BTD[rows])
        yield _differs("gives its rows other outputs without the rest of the batch", alone_RTD, y_BTD[rows], most.sums)
        parts_RTD = _in_segments(mixer, x_BTD[rows], seed)
        yield _differs("gives other outputs in segments than at once", parts_RTD, y_BTD[rows], most.sums)
    with torch.enable_grad():
        trained_BTD, _ = run(mixer.train(), from_a_layer(x_BTD.detach(), grad=True))
    yield _differs("gives other outputs in training than in evaluation", trained_BTD.detach(), y_BTD, most.sums)


def _looks_ahead(mixer: nn.Module, x_BTD: Tensor, y_BTD: Tensor, seed: str, most: float) -> Violation | None:
    """Row by row, another row's text from a cut on; `y_BTD` is what came out before."""
    rng = rng_of("cuts", seed)
    cuts_B1 = torch.tensor([[rng.randrange(1, x_BTD.shape[1])] for _ in x_BTD], device=x_BTD.device)
    past_BT1 = (torch.arange(x_BTD.shape[1], device=x_BTD.device) < cuts_B1)[..., None]
    z_BTD, _ = run(mixer, torch.where(past_BT1, x_BTD, _other_rows(x_BTD)))
    words = "changes outputs before a cut when the inputs from it on change"
    return _differs(words, z_BTD.where(past_BT1, y_BTD), y_BTD, most)


def _other_rows(x_BTD: Tensor) -> Tensor:
    """Each row's neighbour; where there is one row, its own tokens in reverse."""
    return x_BTD.roll(1, 0) if len(x_BTD) > 1 else x_BTD.flip(1)


def _in_segments(mixer: nn.Module, x_RTD: Tensor, seed: str) -> Tensor:
    """A drawn prefix, two single tokens where there are as many, and the rest, each from the state before."""
    cut = rng_of("segments", seed).randrange(1, x_RTD.shape[1])
    lengths = [cut, *[1] * min(2, x_RTD.shape[1] - cut)]
    lengths += [left] if (left := x_RTD.shape[1] - sum(lengths)) else []
    state: Any = None
    outputs = []
    for segment in x_RTD.split(lengths, 1):
        y, state = run(mixer, segment.clone(), plain_copy(state))
        outputs.append(y)
    return torch.cat(outputs, 1)


def _differs(words: str, actual: Tensor, expected: Tensor, most: float) -> Violation | None:
    """Named by the row and position of the largest relative error."""
    if (error := local_error(actual, expected)) <= most:
        return None
    apart_BT = (actual - expected).abs().amax(-1).nan_to_num(nan=torch.inf)
    row, position = divmod(int(apart_BT.argmax()), expected.shape[1])
    return Violation(words, f"relative error <= {most:.0e}", f"{error:.2g}", {"row": row, "position": position})

"""Tokens a second of training: the backbone with our operator, and with others plugged into the same mixer.

A slice is a few steps of the engineer's own training loop (text, its optimiser, its clipping) on one thread, CPU time;
all take turns. An operator gets a number only if the loss and every gradient of the first batch agree with ours'.
Unusual: the other operator is plugged in by the import line of the baseline's source, so everything else of the mixer
(projections, convolution, norms, gates) is the same code.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from asiarc.kernels import peers
from asiarc.kernels.bench import by_token
from asiarc.models.baselines import baseline_source
from asiarc.protocol import Protocol
from asiarc.speed.paired import median_interval, take_turns

MIXERS = {
    "delta_net": "delta_rule",
    "gated_delta_net": "gated_delta_rule",
    "mamba2": "simple_gla",
    "kda": "kda",
}
"""Baseline and the operator that it is built on."""
STEPS = 4
"""Training steps in a slice."""
ENOUGH_S = 60.0
TOLERANCE = 1e-3

Operator = Callable[..., tuple[Tensor, None]]


@dataclass(frozen=True)
class Speed:
    """One mixer with one implementation of its operator; `gain` is ours' tokens a second over its, with interval."""

    mixer: str
    by: str
    error: float
    tokens_per_s: float | None = None
    slices: int = 0
    gain: tuple[float, float, float] | None = None

    def line(self) -> str:
        """The row as text."""
        name = f"{self.mixer:16s} {self.by:13s} {self.error:8.1e} "
        if self.tokens_per_s is None:
            return name + "WRONG: not timed"
        gain = (
            "" if self.gain is None else "  ours is {:.2f} [{:.2f}, {:.2f}] times as fast".format(*self.gain)
        )
        return name + f"{self.tokens_per_s:9,.0f} {self.slices:3d}{gain}"


HEADER = "{:16s} {:13s} {:>8s} {:>9s} {:>3s}".format("mixer", "operator by", "error", "tokens/s", "n")


def stand_in(operator: str, by: str) -> Operator:
    """Another implementation under our operator's signature, for training: no initial state, no final one."""
    # transformers has the gated delta rule only; with all gates open it is the delta rule.
    call = by_token(operator) if by == "recurrence" else (
        peers.TRANSFORMERS["gated_delta_rule" if operator == "delta_rule" else operator])  # fmt: skip

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *rest: Tensor,
        scale: float | None = None,
        initial_state: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        assert initial_state is None, "a stand-in begins with nothing"
        q, k = (x.repeat_interleave(v.shape[2] // x.shape[2], dim=2) for x in (q, k))
        if by == "transformers":
            gates = (torch.zeros_like(rest[0]), *rest) if operator == "delta_rule" else rest
            o = call(q, k, v, *gates)
        else:
            names = {"delta_rule": ("beta",), "simple_gla": ("g",)}.get(operator, ("g", "beta"))
            o = call(q=q, k=k, v=v, **dict(zip(names, rest, strict=True)))
        return o if scale is None else o * (scale * q.shape[-1] ** 0.5), None

    return run


def source_with(mixer: str, by: str) -> str:
    """The baseline's source, its operator taken from here unless it is ours."""
    operator, source = MIXERS[mixer], baseline_source(mixer)
    ours = f"from asiarc.kernels.{operator} import {operator}\n"
    assert ours in source, f"{mixer} does not import {operator}"
    theirs = f"from asiarc.speed.training import stand_in\n{operator} = stand_in({operator!r}, {by!r})\n"
    return source if by == "ours" else source.replace(ours, theirs)


def first_gradients(model: Any, task: Any, protocol: Protocol) -> dict[str, Tensor]:
    """The loss of the first batch and its gradient in every parameter."""
    from asiarc.engineer.trainer import batch_loss

    loss = batch_loss(
        model, task.batch("train", protocol.batch_size, "training speed", 0, seq_len=protocol.seq_len)
    )
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return {"loss": loss.detach()} | {n: g.detach() for n, g in zip(names, found, strict=True)}


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest relative difference of any tensor."""
    return max(float((found[n] - x).norm() / x.norm().clamp(min=1e-12)) for n, x in wanted.items())


def measure(mixer: str, protocol: Protocol, rounds: int) -> list[Speed]:
    """Ours, the fallback of transformers and the recurrence in one mixer at one size."""
    from asiarc.engineer.trainer import train
    from asiarc.models.backbone import build
    from asiarc.tasks import get_task

    task, few = get_task("text"), protocol.at(steps=STEPS, evaluations=0)
    hidden = round(protocol.mlp_ratio * protocol.d_model)

    def model(by: str) -> Any:
        return build(source_with(mixer, by), protocol, "training speed", hidden=hidden)

    names = ("ours", "transformers", "recurrence")
    gradients = {by: first_gradients(model(by), task, protocol) for by in names}
    errors = {by: distance(found, gradients["ours"]) for by, found in gradients.items()}
    models = {by: model(by) for by in names if errors[by] <= TOLERANCE}
    slices = {by: [lambda m=m: train(m, task, few, "training speed")] for by, m in models.items()}
    take_turns(slices, 1, ENOUGH_S)  # what is done only once is done
    times = {by: [ms for (ms,) in column] for by, column in take_turns(slices, rounds, ENOUGH_S).items()}
    tokens = STEPS * protocol.batch_size * protocol.seq_len
    rows = []
    for by in names:
        if by not in times:
            rows.append(Speed(mixer, by, errors[by]))
            continue
        pairs = zip(times["ours"], times[by], strict=False)
        gain = None if by == "ours" else median_interval([b / a for a, b in pairs])
        per_s = tokens * 1e3 / statistics.median(times[by])
        rows.append(Speed(mixer, by, errors[by], per_s, len(times[by]), gain))
    return rows


def record(rows: list[Speed], protocol: Protocol) -> dict[str, Any]:
    """The rows with what they were taken on."""
    from asiarc.identity import provenance

    return {"protocol": protocol.as_dict(), "provenance": provenance(), "rows": [asdict(row) for row in rows]}

"""Tokens a second of training: the backbone with our operator, and with others plugged into the same mixer.

A slice is a few steps of the engineer's own training loop (text, its optimiser, its clipping) on one thread, CPU time;
all take turns. An operator gets a number only if the loss and every gradient of the first batch agree with ours'.
Unusual: the other operator is plugged in by the import line of the baseline's source, so everything else of the mixer
(projections, convolution, norms, gates) is the same code. "compiled", where asked for, is ours under `torch.compile`;
what its first slice costs more than a later one is the compiler's time, which every trial would pay.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from asiarc.core.recipe import TrialRecipe
from asiarc.models.baselines import baseline_source
from asiarc.speed.paired import median_interval
from tests.rigs.kernels import peers
from tests.rigs.kernels.bench import by_token, take_turns

MIXERS = {"delta_net": "delta_rule", "gated_delta_net": "gated_delta_rule", "mamba2": "simple_gla", "kda": "kda"}
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
    once_s: float = 0.0
    """CPU-seconds of the first slice beyond those of a later one: what is done only once."""

    def line(self) -> str:
        """The row as text."""
        name = f"{self.mixer:16s} {self.by:13s} {self.error:8.1e} "
        if self.tokens_per_s is None:
            return name + "WRONG: not timed"
        gain = "" if self.gain is None else "  ours is {:.2f} [{:.2f}, {:.2f}] times as fast".format(*self.gain)
        return name + f"{self.tokens_per_s:9,.0f} {self.slices:3d} {self.once_s:7.1f}{gain}"


HEADER = "{:16s} {:13s} {:>8s} {:>9s} {:>3s} {:>7s}".format("mixer", "operator by", "error", "tokens/s", "n", "once, s")
OURS, COMPILED = "ours", "compiled"
BY = (OURS, "transformers", "recurrence")


def stand_in(operator: str, by: str) -> Operator:
    """Another implementation under our operator's signature, for training: no initial state, no final one."""
    # transformers has the gated delta rule only; with all gates open it is the delta rule.
    call = by_token(operator) if by == "recurrence" else (
        peers.TRANSFORMERS["gated_delta_rule" if operator == "delta_rule" else operator])  # fmt: skip

    def run(
        q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, scale: float | None = None, initial_state: Tensor | None = None
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
    theirs = f"from tests.rigs.kernels.training import stand_in\n{operator} = stand_in({operator!r}, {by!r})\n"
    return source if by in (OURS, COMPILED) else source.replace(ours, theirs)


def first_gradients(model: Any, task: Any, recipe: TrialRecipe) -> dict[str, Tensor]:
    """The loss of the first batch and its gradient in every parameter."""
    from asiarc.engineer.trainer import batch_loss

    loss = batch_loss(model, task.batch("train", recipe.batch_size, "training speed", 0, seq_len=recipe.seq_len))
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return {"loss": loss.detach()} | {n: g.detach() for n, g in zip(names, found, strict=True)}


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest relative difference of any tensor."""
    return max(float((found[n] - x).norm() / x.norm().clamp(min=1e-12)) for n, x in wanted.items())


def _cpu_s_of(work: Callable[[], object]) -> float:
    """CPU-seconds of one run, with those of the processes that it started and that have ended."""
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def compiled(model: Any) -> Any:
    """The model under `torch.compile`, compiled anew each time; the code of a candidate is looked up by its module."""
    import torch._inductor.config as inductor

    inductor.force_disable_caches = True
    inductor.compile_threads = 1  # whose compiler ends before it goes on, so that its time is counted
    for part in model.modules():
        name = type(part).__module__
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(type(part).forward.__globals__)
    model.compile()
    return model


def measure(mixer: str, recipe: TrialRecipe, rounds: int, names: Sequence[str] = BY) -> list[Speed]:
    """Ours, which comes first, and other implementations in one mixer at one size."""
    from asiarc.engineer.trainer import train
    from asiarc.models.backbone import build
    from asiarc.tasks import get_task

    task, few = get_task("text"), recipe.at(steps=STEPS, evaluations=0)
    hidden = round(recipe.mlp_ratio * recipe.d_model)

    def model(by: str) -> Any:
        built = build(source_with(mixer, by), recipe, "training speed", hidden=hidden)
        return compiled(built) if by == COMPILED else built

    gradients = {by: first_gradients(model(by), task, recipe) for by in names}
    errors = {by: distance(found, gradients[OURS]) for by, found in gradients.items()}
    torch.compiler.reset()  # the compiler's time is to be seen below
    models = {by: model(by) for by in names if errors[by] <= TOLERANCE}
    slices = {by: [lambda m=m: train(m, task, few, "training speed")] for by, m in models.items()}
    first_s = {by: _cpu_s_of(work) for by, (work,) in slices.items()}
    times = {by: [ms for (ms,) in column] for by, column in take_turns(slices, rounds, ENOUGH_S).items()}
    tokens = STEPS * recipe.batch_size * recipe.seq_len
    rows = []
    for by in names:
        if by not in times:
            rows.append(Speed(mixer, by, errors[by]))
            continue
        pairs, later_ms = zip(times[OURS], times[by], strict=False), statistics.median(times[by])
        gain = None if by == OURS else median_interval([b / a for a, b in pairs])
        once_s = max(0.0, first_s[by] - later_ms / 1e3)
        rows.append(Speed(mixer, by, errors[by], tokens * 1e3 / later_ms, len(times[by]), gain, once_s))
    return rows


def record(rows: list[Speed], recipe: TrialRecipe) -> dict[str, Any]:
    """The rows with what they were taken on."""
    from asiarc.campaign.identity import provenance

    return {"recipe": recipe.as_dict(), "provenance": provenance(), "rows": [asdict(row) for row in rows]}

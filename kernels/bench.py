"""A table of CPU speeds, ours beside other people's: ``python -m asiarc.kernels.bench --help``.

One thread, float32, CPU time of this process (not the wall clock, which a shared machine spoils). All implementations
of a row group run once in every round, so that a ratio is taken between neighbours in time; its interval is that of the
median over rounds. Before an implementation is timed, its output and all its gradients on the very inputs are held
against the float64 recurrence, chunk by chunk and head by head; one that is wrong gets no time.

Peak memory is what torch allocates beyond the inputs during forward and backward, by its own record of allocations.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional as F

from asiarc.kernels import peers
from asiarc.kernels.accuracy import errors
from asiarc.seeds import seed_of
from asiarc.speed.paired import median_interval as median_interval  # other tables import it from here
from asiarc.speed.structure import profiled

ARGUMENTS = {
    "linear_attention": "",
    "retention": "",
    "simple_gla": "g",
    "gla": "G",
    "delta_rule": "b",
    "gated_delta_rule": "gb",
    "kda": "Gb",
    "delta_product": "b",
}
"""Beyond q, k, v: g a gate a head, G a gate a channel, b a writing strength."""

SHAPES = ("32x128x2x16", "32x128x2x32", "8x256x4x32", "8x512x4x64")
TOLERANCE = 1e-3
SLOW_S = 4.0
"""Seconds after which an implementation leaves the rounds; it has at least three by then."""

Call = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class Row:
    """One implementation of one operator at one shape; times are None where the results are wrong."""

    operator: str
    shape: str
    implementation: str
    error: float
    forward_ms: float | None = None
    both_ms: float | None = None
    peak_mib: float | None = None
    ratio: tuple[float, float, float] | None = None
    """Its time over ours, forward and backward: median and the 95 % interval of the median."""

    def line(self) -> str:
        """The row as text."""
        name = f"{self.operator:17s} {self.shape:12s} {self.implementation:13s} {self.error:8.1e} "
        if self.both_ms is None:
            return name + f"WRONG (error above {TOLERANCE:g}): not timed"
        ratio = "" if self.ratio is None else "{:6.2f} [{:.2f}, {:.2f}]".format(*self.ratio)
        return name + f"{self.forward_ms:9.2f} {self.both_ms:9.2f} {self.peak_mib:9.1f}  {ratio}"


HEADER = "{:17s} {:12s} {:13s} {:>8s} {:>9s} {:>9s} {:>9s}  {}".format(
    "operator", "BxTxHxD", "by", "error", "fwd ms", "both ms", "peak MiB", "over ours"
)


def make_inputs(operator: str, B: int, T: int, H: int, D: int) -> list[Tensor]:
    """Inputs as a trained layer sees them: unit queries and keys, gates mostly near 1, strengths in (0, 1)."""
    generator = torch.Generator().manual_seed(seed_of("kernel bench", operator, B, T, H, D))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    steps = 2 if operator == "delta_product" else 1
    q, k = F.normalize(normal(B, T, H, D), dim=-1), F.normalize(normal(B, T * steps, H, D), dim=-1)
    made = {
        "g": lambda: F.logsigmoid(normal(B, T, H) + 3),
        "G": lambda: F.logsigmoid(normal(B, T, H, D) + 3),
        "b": lambda: torch.sigmoid(normal(B, T * steps, H)),
    }
    tensors = [q, k, normal(B, T * steps, H, D), *(made[kind]() for kind in ARGUMENTS[operator])]
    return [x.requires_grad_() for x in tensors]


def implementations(operator: str, T: int) -> dict[str, Call]:
    """Ours first, then everyone else who computes this operator at this length."""
    function = getattr(importlib.import_module(f"asiarc.kernels.{operator}"), operator)
    calls: dict[str, Call] = {"ours": lambda *x: function(*x)[0]}
    if operator in peers.TRANSFORMERS:
        calls["transformers"] = peers.TRANSFORMERS[operator]
    if importlib.util.find_spec("fla") and T % 64 == 0:
        calls["fla naive"] = peers.FLA[operator]
    calls["recurrence"] = lambda *x: function(*x, backend="reference")[0]
    return calls


def results(call: Call, inputs: Sequence[Tensor], upstream: Tensor) -> dict[str, Tensor]:
    """The output and the gradients of its product with `upstream`."""
    o = call(*inputs)
    gradients = torch.autograd.grad(o, list(inputs), upstream.to(o.dtype))
    return {"o": o.detach()} | {f"d{i}": x for i, x in enumerate(gradients)}


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of one run."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3


def measure(operator: str, shape: str, rounds: int) -> list[Row]:
    """All rows of an operator at a shape."""
    B, T, H, D = (int(n) for n in shape.split("x"))
    inputs = make_inputs(operator, B, T, H, D)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    calls = implementations(operator, T)
    upstream = make_inputs("linear_attention", B, T, H, D)[2].detach()
    expected = results(calls["recurrence"], exact, upstream)
    wrong = {
        name: max(errors(results(call, inputs, upstream), expected).values()) for name, call in calls.items()
    }

    def both(call: Call) -> Callable[[], object]:
        return lambda: results(call, inputs, upstream)

    def forward(call: Call) -> Callable[[], object]:
        def work() -> object:
            with torch.no_grad():
                return call(*inputs)

        return work

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls if wrong[name] <= TOLERANCE}
    for _ in range(rounds):
        for name, spent in times.items():
            if len(spent) < 3 or sum(map(sum, spent)) < SLOW_S * 1e3:
                spent.append((cpu_ms(forward(calls[name])), cpu_ms(both(calls[name]))))
    rows = []
    for name in calls:
        if name not in times:
            rows.append(Row(operator, shape, name, wrong[name]))
            continue
        ratio = None
        if name != "ours" and "ours" in times:
            ratio = median_interval([b[1] / a[1] for a, b in zip(times["ours"], times[name], strict=False)])
        forward_ms, both_ms = (statistics.median(column) for column in zip(*times[name], strict=True))
        peak = profiled(both(calls[name]))["peak_bytes"] / 2**20
        rows.append(Row(operator, shape, name, wrong[name], forward_ms, both_ms, peak, ratio))
    return rows


@click.command()
@click.option(
    "--operator", "operators", multiple=True, type=click.Choice(list(ARGUMENTS)), help="Default: all."
)
@click.option(
    "--shape", "shapes", multiple=True, default=SHAPES, show_default=True, help="BxTxHxD, repeatable."
)
@click.option(
    "--rounds", default=9, show_default=True, help="Rounds in which every implementation runs once."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows as JSON, too.")
def main(operators: tuple[str, ...], shapes: tuple[str, ...], rounds: int, out: Path | None) -> None:
    """CPU time, memory and error of every operator beside its peers."""
    torch.set_num_threads(1)
    click.echo(f"torch {torch.__version__}, one thread, float32, CPU time, {rounds} rounds")
    click.echo(HEADER)
    rows = []
    for operator in operators or ARGUMENTS:
        for shape in shapes:
            for row in measure(operator, shape, rounds):
                click.echo(row.line())
                rows.append(row)
    if out:
        out.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()

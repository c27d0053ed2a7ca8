"""A table of CPU speeds, ours beside other people's: ``python -m tests.rigs kernels bench --help``.

One thread, float32, CPU time of this process (not the wall clock, which a shared machine spoils). All implementations
of an operator at a shape take turns in rounds, the order swapped each time, so that a ratio is taken between neighbours
in time; its interval is that of the median over rounds. Before an implementation is timed, its output and all its
gradients on the very inputs are held against the float64 recurrence (the plain torch formula for filters and norms),
chunk by chunk and head by head; one that is wrong gets no time. Where all heads would take the recurrence minutes, the
last sequences and first heads stand for them, since no operator mixes either.

Peak memory is what torch allocates beyond the inputs during forward and backward, by its own record of allocations.
The share of the limit is the rate at which ours does its matrix products over the rate of one large product, measured
at the same time. Rows by transformers count only if the torch code of its model ran and none of a faster package did.

With `--out` every group of rows is kept as it is measured, and the same command goes on where it was cut off. Unusual:
the recurrence is called on segments of the sequence, because the gradient of x[:, t] costs the whole of x each time.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from asiarc.campaign.code import kernel, operators
from asiarc.campaign.identity import provenance, version_of
from asiarc.core.digest import digest
from asiarc.core.errors import KernelInputError
from asiarc.kernels.accuracy import errors
from asiarc.kernels.definitions import recurrence
from asiarc.kernels.operators import OPERATORS, SEQUENCE
from asiarc.kernels.retention import log_decay
from asiarc.speed.cases import error_of, outputs_of, shipped
from asiarc.speed.paired import median_interval
from tests.rigs.kernels import peers
from tests.rigs.kernels.structure import map_from, peak_bytes, profiled

SHAPES = ("32x128x2x16", "32x128x2x32", "8x256x4x32", "8x512x4x64")
GRID = (
    "1x64x1x16", "32x64x8x16", "32x128x2x16", "4x1024x4x16", "1x4096x1x16", "1x4096x8x16",
    "32x128x2x32", "8x256x4x32", "1x4096x2x32",
    "1x64x1x64", "8x512x4x64", "1x2048x8x64",
    "1x64x1x128", "4x256x4x128", "1x4096x2x128", "2x1024x8x128",
)  # fmt: skip
"""B 1-32, T 64-4096, H 1-8, D 16-128."""
TOLERANCE = 1e-3
ENOUGH_S = 1.0
"""Seconds after which an implementation leaves the rounds; it has been in one by then."""
SEGMENT = 128
"""Tokens in one call of the recurrence."""
MOST_STATE = 2**16
"""Numbers in the states that the float64 recurrence carries while it judges."""
MOST_GIB = 6.0
"""Memory that autograd may keep for a recurrence, at about `KEPT` states a step; above it the row is left out."""
KEPT = 2
PRODUCT = 1024
"""Rows and columns of the one large product."""
USEFUL_CHUNK = 64
"""Chunk at which the least arithmetic of the gated delta rule is counted for the goals."""

Call = Callable[..., Tensor]
Tensors = dict[str, Tensor]
Interval = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """One implementation of one operator at one shape; times are None where the results are wrong or it did not run."""

    operator: str
    shape: str
    implementation: str
    error: float | None = None
    forward_ms: float | None = None
    both_ms: float | None = None
    peak_mib: float | None = None
    rounds: int = 0
    forward_ratio: Interval | None = None
    """Its time over ours, forward alone: median and the 95 % interval of the median."""
    ratio: Interval | None = None
    """The same, forward and backward."""
    limit: float | None = None
    """Ours only: its matrix products' rate over that of one large product, `product_gflops`."""
    product_gflops: float | None = None
    why: str = ""
    """Why there is no time."""

    def line(self) -> str:
        """The row as text."""
        error = "" if self.error is None else f"{self.error:.1e}"
        name = f"{self.operator:17s} {self.shape:12s} {self.implementation:13s} {error:>8s} "
        if self.both_ms is None:
            return name + self.why
        name += f"{self.forward_ms:9.2f} {self.both_ms:9.2f} {self.peak_mib:9.1f} {self.rounds:3d}  "
        if self.limit is not None:
            return name + f"{self.limit:4.0%} of the rate of one large product"
        return name.rstrip() if self.ratio is None else name + "  " + interval_text(self.ratio)


HEADER = "{:17s} {:12s} {:13s} {:>8s} {:>9s} {:>9s} {:>9s} {:>3s}    {}".format(
    "operator", "BxTxHxD", "by", "error", "fwd ms", "both ms", "peak MiB", "n", "over ours (both)"
)


def interval_text(interval: Sequence[float]) -> str:
    """Median and bounds."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*interval)


def sizes(shape: str) -> tuple[int, int, int, int]:
    """B, T, H, D of "BxTxHxD"."""
    parts = shape.split("x")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) for part in parts):
        raise KernelInputError(f"--shape is {shape!r}; allowed: BxTxHxD, four integers >= 1, e.g. 8x256x4x32.")
    B, T, H, D = map(int, parts)
    return B, T, H, D


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of this process for one run of `work`, which is trusted not to touch the clock."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3


def take_turns(
    works: Mapping[str, Sequence[Callable[[], object]]], rounds: int, enough_s: float
) -> dict[str, list[tuple[float, ...]]]:
    """CPU milliseconds of every work under every name, round by round, the order of the names swapped each time.

    A name leaves the rounds once it has taken `enough_s`; it has been in one by then.
    """
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in works}
    for turn in range(rounds):
        for name in list(works)[:: -1 if turn % 2 else 1]:
            if sum(map(sum, times[name])) < enough_s * 1e3:
                times[name].append(tuple(map(cpu_ms, works[name])))
    return times


def by_token(operator: str, *, checkpointed: bool = False) -> Call:
    """The recurrence in the dtype of its inputs; `checkpointed` keeps only the states between segments."""

    def segment(names: Sequence[str], state: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        x = dict(zip(names, tensors, strict=True))
        found: tuple[Tensor, Tensor] = recurrence(
            x["q"], x["k"], x["v"], x.get("g"), x.get("beta"), x["q"].shape[-1] ** -0.5, state
        )
        return found

    def call(**inputs: Tensor) -> Tensor:
        q, v = inputs["q"], inputs["v"]
        if operator == "retention":
            inputs["g"] = log_decay(q, v)
        T, names = q.shape[1], list(inputs)
        state, outputs = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3]), []
        for x in zip(*(x.split(SEGMENT * (x.shape[1] // T), dim=1) for x in inputs.values()), strict=True):
            if checkpointed:
                o, state = checkpoint(segment, names, state, *x, use_reentrant=False)
            else:
                o, state = segment(names, state, *x)
            outputs.append(o)
        return torch.cat(outputs, dim=1)

    return call


def implementations(operator: str, shape: str) -> tuple[dict[str, Call], list[Row]]:
    """Ours first, then everyone else who computes this operator at this length; and rows of those who cannot."""
    B, T, H, D = sizes(shape)
    function = OPERATORS[operator].call
    calls: dict[str, Call] = {"ours": lambda **x: outputs_of(function(**x))["o"]}
    missing = []

    def others(name: str, table: Mapping[str, peers.Peer]) -> None:
        if operator in table:
            calls[name] = lambda **x: table[operator](*x.values())

    others("transformers", peers.TRANSFORMERS)
    others("plain torch", peers.PLAIN)
    if operator in peers.FLA and (T % 64 or not importlib.util.find_spec("fla")):
        why = "its T is a multiple of 64" if T % 64 else "flash-linear-attention is not installed"
        missing.append(Row(operator, shape, "fla naive", why=f"not run: {why}"))
    else:
        others("fla naive", peers.FLA)
    if operator in SEQUENCE:
        steps = OPERATORS[operator].steps
        gib = KEPT * T * steps * B * H * D * D * 4 / 2**30
        if gib > MOST_GIB:
            why = f"not run: autograd would keep about {gib:.0f} GiB of states"
            missing.append(Row(operator, shape, "recurrence", why=why))
        else:
            calls["recurrence"] = by_token(operator)
    return calls, missing


def results(call: Call, inputs: Tensors, upstream: Tensor) -> Tensors:
    """The output and the gradients of its product with `upstream`."""
    o = call(**inputs)
    gradients = torch.autograd.grad(o, list(inputs.values()), upstream.to(o.dtype))
    return {"o": o.detach()} | {f"d{name}": x for name, x in zip(inputs, gradients, strict=True)}


def judge(operator: str, inputs: Tensors, upstream: Tensor) -> Callable[[Tensors], float]:
    """How wrong results are: the largest error of the output and every gradient against float64."""
    if operator not in SEQUENCE:
        wide = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
        plain = peers.PLAIN[operator]
        op = OPERATORS[operator]
        formula = op.reference if op.kind == "norm" else lambda **x: plain(*x.values())
        exact = results(formula, wide, upstream.double())
        return lambda found: max(error_of(found, exact).values())
    B, _, H, K = inputs["q"].shape
    heads = min(H, max(1, MOST_STATE // K**2))
    few = min(B, max(1, MOST_STATE // (K**2 * heads)))

    def part(x: Tensor) -> Tensor:
        return x.detach()[-few:, :, :heads]

    wide = {name: part(x).double().requires_grad_() for name, x in inputs.items()}
    wanted = results(by_token(operator, checkpointed=True), wide, part(upstream).double())
    return lambda found: max(errors({name: part(x) for name, x in found.items()}, wanted).values())


@functools.cache
def square() -> Tensor:
    """A factor of the one large product."""
    return torch.randn(PRODUCT, PRODUCT, generator=torch.Generator().manual_seed(0))


def product_gflops() -> float:
    """Rate of one large matrix product, best of five."""
    x = square()
    return 2e-6 * PRODUCT**3 / min(cpu_ms(lambda: x @ x) for _ in range(5))


def measure(operator: str, shape: str, rounds: int) -> list[Row]:
    """All rows of an operator at a shape."""
    case = shipped(operator, *sizes(shape))
    inputs = {name: x for name, x in case.inputs().items() if name != "initial_state"}
    upstream = case.upstream()[0].float()
    calls, rows = implementations(operator, shape)
    error_against_float64 = judge(operator, inputs, upstream)

    def forward(call: Call) -> Callable[[], object]:
        return torch.no_grad()(lambda: call(**inputs))

    wrong, peaks = {}, {}
    for name, call in calls.items():
        found: list[Tensors] = []
        run = functools.partial(lambda call, found: found.append(results(call, inputs, upstream)), call, found)
        peaks[name] = peak_bytes(functools.partial(peers.require_torch, run) if name == "transformers" else run)
        wrong[name] = error_against_float64(found.pop())
    right = {name: call for name, call in calls.items() if wrong[name] <= TOLERANCE}
    both = {name: functools.partial(results, call, inputs, upstream) for name, call in right.items()}
    times = take_turns({name: (forward(call), both[name]) for name, call in right.items()}, rounds, ENOUGH_S)
    for name in calls:
        if name not in times:
            rows.append(Row(operator, shape, name, wrong[name], why=f"WRONG (above {TOLERANCE:g}): not timed"))
            continue
        forward_ms, both_ms = (statistics.median(column) for column in zip(*times[name], strict=True))
        row = Row(operator, shape, name, wrong[name], forward_ms, both_ms, peaks[name] / 2**20, len(times[name]))
        if name == "ours" and operator in SEQUENCE:
            limit, flops = product_gflops(), profiled(both[name])["product_flops"]
            row = dataclasses.replace(row, limit=flops * 1e-6 / both_ms / limit, product_gflops=limit)
        elif name != "ours" and "ours" in times:
            pairs = list(zip(times["ours"], times[name], strict=False))
            alone, whole = (median_interval([b[i] / a[i] for a, b in pairs]) for i in (0, 1))
            row = dataclasses.replace(row, forward_ratio=alone, ratio=whole)
        rows.append(row)
    return sorted(rows, key=lambda row: row.implementation != "ours")


# What the rows say of the goals.


@dataclasses.dataclass(frozen=True)
class Goal:
    """At least so many times as fast as a peer, forward and backward, at some widths."""

    operator: str
    widths: tuple[int, ...]
    times: float
    peer: str = "transformers"


GOALS = (
    Goal("gated_delta_rule", (16, 32), 3.0),
    Goal("gated_delta_rule", (64,), 2.5),
    Goal("kda", (16, 32, 64, 128), 15.0),
    Goal("simple_gla", (16, 32, 64, 128), 3.0),
)
MEMORY_GOAL = 1 / 3
"""Of the peak of transformers' gated delta rule."""


def tally(title: str, met: Sequence[bool], places: Sequence[str]) -> str:
    """A goal, at how many shapes it is met, and where not."""
    missed = [place for ok, place in zip(met, places, strict=True) if not ok]
    if not met:
        return f"{title}: not measured"
    return f"{title}: met at {sum(met)} of {len(met)} shapes" + ("; not at " + ", ".join(missed)) * bool(missed)


def possible(row: Row, limit: float) -> float:
    """How many times faster than a row the gated delta rule could be: its least arithmetic at the limit's rate.

    3 (4 C D + 8 D^2) operations a token and head, forward and backward, in chunks of C = 64.
    """
    assert row.both_ms is not None
    B, T, H, D = sizes(row.shape)
    flops = 3 * (4 * USEFUL_CHUNK * D + 8 * D * D) * B * T * H
    return row.both_ms * limit * 1e6 / flops


def summary(rows: Sequence[Row]) -> list[str]:
    """What is met and what is not, goal by goal."""
    lines = []
    by_name = {(row.operator, row.shape, row.implementation): row for row in rows}
    for goal in GOALS:
        timed = [row for row in rows if (row.operator, row.implementation) == (goal.operator, goal.peer)
                 and sizes(row.shape)[3] in goal.widths and row.ratio]  # fmt: skip
        widths = "-".join(str(D) for D in sorted({goal.widths[0], goal.widths[-1]}))
        title = f"{goal.operator} D {widths}: >= {goal.times:g} times as fast as {goal.peer}"
        places = [f"{row.shape} ({interval_text(row.ratio or ())})" for row in timed]
        lines.append(tally(title, [(row.ratio or (0,))[0] >= goal.times for row in timed], places))
    pairs = [(ours, theirs) for (operator, shape, by), theirs in by_name.items()
             if (operator, by) == ("gated_delta_rule", "transformers") and theirs.peak_mib
             and (ours := by_name.get((operator, shape, "ours"))) and ours.peak_mib]  # fmt: skip
    shares = [(ours.peak_mib or 0) / (theirs.peak_mib or math.inf) for ours, theirs in pairs]
    title = "gated_delta_rule: peak memory <= 1/3 of transformers' (why not: python -m tests.rigs kernels profile)"
    places = [f"{ours.shape} ({share:.2f})" for (ours, _), share in zip(pairs, shares, strict=True)]
    lines.append(tally(title, [share <= MEMORY_GOAL for share in shares], places))
    lines += ["gated_delta_rule against the arithmetic limit (one large product's rate):"] * bool(pairs)
    lines += [
        f"  {ours.shape:12s} {theirs.ratio[0]:5.2f} of at most {possible(theirs, ours.product_gflops):5.1f} times as "
        f"fast as transformers; products at {ours.limit:.0%} of {ours.product_gflops:.0f} GFLOP/s"
        for ours, theirs in pairs
        if theirs.ratio and ours.product_gflops and ours.limit is not None
    ]
    compared = [row for row in rows if row.ratio and row.forward_ratio]
    for what in ("ratio", "forward_ratio"):
        name = "forward and backward" if what == "ratio" else "forward alone"
        behind = [(row, interval) for row in compared if (interval := getattr(row, what))[0] < 1]
        sure = sum(interval[2] < 1 for _, interval in behind)
        lines.append(
            f"slower than a peer, {name}: {sure} of {len(compared)} rows (interval below 1), and "
            f"{len(behind) - sure} whose median alone is below 1"
        )
        lines += [
            f"  {row.operator} {row.shape} {row.implementation}: {interval_text(interval)}" for row, interval in behind
        ]
    wrong = [f"{row.operator} {row.shape} {row.implementation}" for row in rows if row.why.startswith("WRONG")]
    lines.append(f"wrong, hence not timed: {', '.join(wrong) or 'none'}")
    return lines


# The record.


def environment() -> dict[str, str]:
    """What a time depends on beside the shape."""
    return {
        "kernels": digest({name: kernel(name, "triton") for name in operators()}),
        "cpu": provenance()["cpu"],
        **{package: version_of(package) for package in ("torch", "transformers", "flash-linear-attention")},
    }


class Record:
    """Rows in memory and, where a path is given, on disk after every group: JSON, and the table as text beside it."""

    def __init__(self, path: Path | None, fresh: bool) -> None:
        self.path, self.rows = path, list[Row]()
        self.environment = environment()
        if path is None or fresh or not path.exists():
            return
        kept = json.loads(path.read_text())
        moved = [
            f"{name}: {kept['environment'].get(name)} -> {value}"
            for name, value in self.environment.items()
            if kept["environment"].get(name) != value
        ]
        if moved:
            raise KernelInputError(
                f"{path} was measured elsewhere ({'; '.join(moved)}): start anew with --fresh, or give another --out."
            )
        self.rows = [read_row(row) for row in kept["rows"]]

    def has(self, operator: str, shape: str) -> bool:
        """Whether a group is there."""
        return any((row.operator, row.shape) == (operator, shape) for row in self.rows)

    def add(self, group: Sequence[Row]) -> None:
        """Keeps a group."""
        self.rows += group
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [dataclasses.asdict(row) for row in self.rows]
        data = {"provenance": provenance(), "environment": self.environment, "rows": rows}
        for path, text in (
            (self.path, json.dumps(data, indent=1) + "\n"),
            (self.path.with_suffix(".txt"), "\n".join(self.lines()) + "\n"),
        ):
            part = path.with_name(path.name + ".part")
            part.write_text(text)
            part.replace(path)

    def lines(self) -> list[str]:
        """The whole table and what it says of the goals."""
        order = {operator: i for i, operator in enumerate(OPERATORS)}
        rows = sorted(self.rows, key=lambda row: order[row.operator])
        where = ", ".join(f"{name} {value}" for name, value in self.environment.items())
        return [f"One thread, float32, CPU time; {where}", HEADER, *(row.line() for row in rows), "", *summary(rows)]


def read_row(data: dict[str, Any]) -> Row:
    """A row as JSON kept it."""
    ratios = {name: tuple(data[name]) for name in ("ratio", "forward_ratio") if data[name]}
    return Row(**{**data, **ratios})


def groups(operators: Sequence[str], shapes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Operator and shape, shape by shape: a table that is cut off still has every operator."""
    return ((operator, shape) for shape in shapes for operator in operators or OPERATORS)


@click.command()
@click.option("--operator", "operators", multiple=True, type=click.Choice(list(OPERATORS)), help="Default: all.")
@click.option("--shape", "shapes", multiple=True, help=f"BxTxHxD, repeatable. Default: {', '.join(SHAPES)}.")
@click.option("--grid", is_flag=True, help=f"The {len(GRID)} shapes of the whole grid (about half an hour).")
@click.option("--rounds", default=15, show_default=True, help="Rounds in which every implementation runs once.")
@click.option("--minutes", default=35.0, show_default=True, help="Begin no group after so long; run again to go on.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the rows as JSON and, beside it, as text.")
@click.option("--fresh", is_flag=True, help="Forget the rows that --out already has.")
def main(
    operators: tuple[str, ...], shapes: tuple[str, ...], grid: bool, rounds: int, minutes: float, out: Path | None,
    fresh: bool,
) -> None:  # fmt: skip
    """CPU time, memory and error of every operator beside its peers, and what that says of the goals."""
    torch.set_num_threads(1)
    map_from()
    begun = time.monotonic()
    wanted = list(groups(operators, (*shapes, *(GRID if grid else ())) or SHAPES))
    record = Record(out, fresh)
    todo = [group for group in wanted if not record.has(*group)]
    click.echo(f"{len(wanted)} groups, {len(wanted) - len(todo)} of them done; up to {rounds} rounds, {minutes:g} min")
    click.echo(HEADER)
    for i, (operator, shape) in enumerate(todo):
        spent = (time.monotonic() - begun) / 60
        if spent > minutes:
            click.echo(f"{len(todo) - i} groups are left out after {spent:.0f} min; run the same command again")
            break
        click.echo(f"[{i + 1}/{len(todo)}, {spent:.1f} min] {operator} {shape}", err=True)
        record.add(measure(operator, shape, rounds))
        for row in record.rows:
            if (row.operator, row.shape) == (operator, shape):
                click.echo(row.line())
    click.echo("\n" + "\n".join(summary(record.rows)))

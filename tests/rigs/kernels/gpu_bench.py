"""Check, then time, the GPU kernels in one call: ``python -m tests.rigs kernels gpu --help``.

1. Every configuration of every kernel is compared with float64, outputs and gradients, in bfloat16, float16 and
   float32, at widths 64, 128 and an odd one; the same call twice must give the same bits.
2. Where compute-sanitizer is installed, small shapes run under it.
3. Every configuration of every kernel is timed at one shape a width, and the fastest are named ("tuned").
4. Every operator with a peer is timed at the shapes of flash-linear-attention's own benchmark, a long and a wide one,
   in rounds in which all implementations take turns. An implementation is timed only if its output and gradients at
   that very shape agree with float64 on the first and last head of the first and last sequence, and its times count
   only if they still do afterwards.

The record goes to results/benchmarks/, one file a device, written again after every row, with the share of the floor
that a row reaches: the larger of the bytes that any implementation must move over the copy rate and its arithmetic over
the rate of one large product, both measured in the same run. What does not fit the time given is listed as left out.

Unusual: the kernels are called without the contract's checks, which read the gates and wait for the device. The file
also runs where asiarc is not installed, as `python tests/rigs/kernels/gpu_bench.py`, and needs torch, Triton and click.
Where flash-linear-attention is not installed either, `--peer` takes the path of its wheel (fla-core, pure Python) or of
an unpacked folder. `--interpret --small` takes every step on a CPU in Triton's interpreter, whose times mean nothing
and are written only where --out says so.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

CHECKOUT = Path(__file__).parents[3]


def import_from_checkout() -> None:
    """Make `asiarc.kernels` importable where asiarc is not installed: it lies beside the package in a checkout."""
    sys.path[0] = str(CHECKOUT)
    folder = CHECKOUT / "kernels"
    spec = importlib.util.spec_from_file_location(
        "asiarc.kernels", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["asiarc.kernels"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__" and "--interpret" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
if importlib.util.find_spec("asiarc") is None:
    import_from_checkout()

from asiarc.kernels.accuracy import errors  # noqa: E402
from asiarc.kernels.blocked import Config, Variant, blocked, chosen, configurations, every_configuration, kernels  # noqa: E402
from asiarc.kernels.chunked import chunked  # noqa: E402
from asiarc.kernels.operators import OPERATORS  # noqa: E402
from asiarc.kernels.ranges import INPUTS, ranged  # noqa: E402
from asiarc.speed.paired import median_interval  # noqa: E402

FLA_SHAPES = ((1, 8192, 96, 128), (2, 16384, 16, 128), (4, 2048, 16, 128), (4, 4096, 64, 128), (8, 2048, 32, 256),
              (8, 1024, 8, 64))  # fmt: skip
"""B, T, H, D of flash-linear-attention's benchmarks/ops/registry.py."""
SHAPES = ((8, 4096, 16, 128), *FLA_SHAPES, (1, 32768, 16, 128))
SMALL_SHAPES = ((1, 24, 1, 16), (1, 16, 2, 16))
TUNED_SHAPES = {64: (8, 4096, 16, 64), 128: (8, 4096, 16, 128)}
DIRECT = [name for name, operator in OPERATORS.items() if operator.direct]
"""Operators with kernels of their own; the others run those."""
TIMED = ("gated_delta_rule", "delta_rule", "simple_gla", "kda")
"""Operators with a peer of the same inputs; the others are checked."""
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
BOUNDS = {"bfloat16": (0.02, 0.06), "float16": (0.004, 0.015), "float32": (1e-4, 1e-3)}
"""Largest error of the outputs and of the gradients, by segment and head."""
FLUSH_BYTES = 256 * 2**20  # more than any second-level cache
AHEAD_CYCLES = 2_000_000  # about a millisecond in which the host gets ahead of the device

Call = Callable[[Sequence[Tensor]], Tensor]


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sequences, tokens, heads, key and value channels."""

    B: int
    T: int
    H: int
    D: int

    def __str__(self) -> str:
        return f"B{self.B} T{self.T} H{self.H} D{self.D}"


def make_inputs(operator: str, shape: Shape, dtype: torch.dtype, seed: int, device: torch.device) -> list[Tensor]:
    """q, k, v[, g][, beta] as a trained layer sees them, made on the device; a quarter of the gates is exactly open."""
    B, T, H, D = dataclasses.astuple(shape)
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator, device=device)

    shapes = OPERATORS[operator].shapes(B, T, H, D)
    ranges = {name: INPUTS.get(name, {}).get("values", "normal") for name in shapes}
    made = {n: ranged(ranges[n], normal(*size)) for n, size in shapes.items() if n != "initial_state"}
    if "g" in made:
        made["g"].transpose(0, 2)[::4] = 0.0
    return [x.to(dtype if name in "qkv" else x.dtype).requires_grad_() for name, x in made.items()]


def variant_of(operator: str, width: int, dtype: torch.dtype) -> Variant:
    """What the kernels are compiled for at K = V = `width`."""
    op = OPERATORS[operator]
    return Variant(op.gate_axes, op.erases, width, width, dtype)


def arguments(operator: str, tensors: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """q, k, v, g, beta with None for what an operator does not take."""
    op, rest = OPERATORS[operator], list(tensors[3:])
    return (*tensors[:3], rest.pop(0) if op.gated else None, rest.pop(0) if op.erases else None)


def ours(operator: str, configs: Mapping[str, Config] | None = None) -> Call:
    """The GPU kernels, in the chosen or in the named configurations."""

    def call(tensors: Sequence[Tensor]) -> Tensor:
        q, k, v, g, beta = arguments(operator, tensors)
        assert q is not None and k is not None and v is not None
        return blocked(q, k, v, g, beta, q.shape[-1] ** -0.5, None, configs=configs)[0]

    return call


def fla(operator: str) -> Call:
    """The same operator in flash-linear-attention's Triton path; its refusal of gated backwards on Hopper is lifted.

    The refusal concerns tiles 64 wide and older Tritons; results are checked here before they are timed.
    """
    os.environ["FLA_DISABLE_BACKEND_DISPATCH"] = "1"
    function = getattr(importlib.import_module(f"fla.ops.{operator}"), f"chunk_{operator}")
    importlib.import_module("fla.ops.common.chunk_o").TRITON_ABOVE_3_7_1 = True  # type: ignore[attr-defined]

    def call(tensors: Sequence[Tensor]) -> Tensor:
        half = [x.to(tensors[0].dtype) if i == len(tensors) - 1 and OPERATORS[operator].erases else x
                for i, x in enumerate(tensors)]  # fmt: skip
        found: Tensor = function(*half)[0]
        return found

    return call


def exact(operator: str, tensors: Sequence[Tensor], do: Tensor) -> tuple[dict[str, Tensor], Callable[[Tensor], Tensor]]:
    """Output and gradients in float64 of the first and last head of the first and last sequence, and the way to cut
    these out of a tensor."""

    def corner(x: Tensor) -> Tensor:
        ends = [sorted({0, n - 1}) for n in (x.shape[0], x.shape[2])]
        return x.detach()[ends[0]][:, :, ends[1]]

    few = [corner(x).double().requires_grad_() for x in tensors]
    q, k, v, g, beta = arguments(operator, few)
    assert q is not None and k is not None and v is not None
    state = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    o = chunked(q, k, v, g, beta, q.shape[-1] ** -0.5, state)[0]
    found = torch.autograd.grad(o, few, corner(do).double())
    return {"o": o.detach()} | {f"d{i}": x for i, x in enumerate(found)}, corner


def results(call: Call, tensors: Sequence[Tensor], do: Tensor) -> dict[str, Tensor]:
    """The output and the gradients of its product with `do`."""
    o = call(tensors)
    found = torch.autograd.grad(o, list(tensors), do)
    return {"o": o.detach()} | {f"d{i}": x for i, x in enumerate(found)}


def distance(
    found: Mapping[str, Tensor], wanted: dict[str, Tensor], corner: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Error of every result by name."""
    return errors({name: corner(x) for name, x in found.items()}, wanted)


def within(found: Mapping[str, float], dtype: str) -> bool:
    """Whether outputs and gradients keep to the bounds of their dtype."""
    output, slope = BOUNDS[dtype]
    return all(value <= (output if name == "o" else slope) for name, value in found.items())


# Step 1 and 2: a process of its own checks one operator at one width in one dtype.


def check(operator: str, width: int, dtype: str, small: bool, device: torch.device) -> Iterator[dict[str, Any]]:
    """One row a set of configurations: errors, whether they keep the bounds, whether a repeat has the same bits."""
    shape = Shape(1, 20, 2, width) if small else Shape(2, 333, 3, width)
    tensors = make_inputs(operator, shape, DTYPES[dtype], 1, device)
    do = make_inputs("delta_rule", shape, DTYPES[dtype], 2, device)[2].detach()
    wanted, corner = exact(operator, tensors, do)
    sets = every_configuration(variant_of(operator, width, DTYPES[dtype]))
    for configs in sets[:1] if small else sets:
        row = {"operator": operator, "width": width, "dtype": dtype, "configs": {k: str(c) for k, c in configs.items()}}
        try:
            call = ours(operator, configs)
            first, second = results(call, tensors, do), results(call, tensors, do)
            with torch.no_grad():
                plain = call(tensors)
        except (RuntimeError, ValueError, ImportError) as failure:  # does not compile, or does not fit the device
            yield row | {"failed": f"{type(failure).__name__}: {failure}"[:500]}
            continue
        off = distance(first, wanted, corner)
        same = torch.equal(plain, first["o"]) and all(torch.equal(x, second[name]) for name, x in first.items())
        yield row | {"errors": off, "right": within(off, dtype), "repeats": same}


def subjects(operators: Sequence[str], small: bool) -> list[tuple[str, int, str]]:
    """Operator, width and dtype of every check."""
    if small:
        return [(operator, 17, dtype) for operator in operators for dtype in ("float16", "float32")]
    odd = [(operator, 100, "bfloat16") for operator in operators]
    return [(operator, D, dtype) for D in (128, 64) for operator in operators for dtype in DTYPES] + odd


def in_processes(commands: Sequence[list[str]], workers: int, limit_s: float) -> list[tuple[int, str]]:
    """Exit status and output of every command, several at a time; -1 for one that `limit_s` for all did not reach."""
    deadline = time.monotonic() + limit_s

    def one(command: list[str]) -> tuple[int, str]:
        left = max(0.1, deadline - time.monotonic())
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            return -1, f"not finished in the {limit_s:g} s that all of them have"
        return done.returncode, done.stdout + done.stderr

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, commands))


def command_of(subject: tuple[str, int, str], interpret: bool, small: bool) -> list[str]:
    """This file as a process that runs one check."""
    flags = ["--interpret"] * interpret + ["--small"] * small
    return [sys.executable, str(Path(__file__)), "--check", ":".join(map(str, subject)), *flags]


def check_all(
    operators: Sequence[str], interpret: bool, small: bool, workers: int, limit_s: float
) -> list[dict[str, Any]]:
    """Step 1: all rows of all checks; a process that ended badly is a row, too."""
    rows = []
    wanted = subjects(operators, small)
    answers = in_processes([command_of(subject, interpret, small) for subject in wanted], workers, limit_s)
    for (operator, width, dtype), (status, text) in zip(wanted, answers, strict=True):
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        if status or not lines:
            lines.append(
                {"operator": operator, "width": width, "dtype": dtype, "failed": f"exit {status}: {text[-500:]}"}
            )
        for row in lines:
            wrong = row.get("failed") or ("" if row["right"] and row["repeats"] else f"WRONG {row}")
            if wrong:
                click.echo(f"  {operator} D{width} {dtype}: {wrong}")
        rows += lines
    good = sum(bool(row.get("right")) and bool(row.get("repeats")) for row in rows)
    click.echo(f"checks: {good} of {len(rows)} sets of configurations right and repeatable")
    return rows


def sanitize(operators: Sequence[str], small_limit_s: float) -> list[dict[str, Any]]:
    """Step 2: memcheck of every operator, racecheck of the last; empty where the tool is missing."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        click.echo("compute-sanitizer: not installed, not run")
        return []
    runs = [("memcheck", operator) for operator in operators] + [("racecheck", operators[-1])]
    commands = [
        [tool, "--tool", kind, "--error-exitcode", "9", *command_of((operator, 17, "float16"), False, True)]
        for kind, operator in runs
    ]
    rows = []
    for (kind, operator), (status, text) in zip(runs, in_processes(commands, 5, small_limit_s), strict=True):
        rows.append({"tool": kind, "operator": operator, "status": status, "tail": text[-300:] if status else ""})
        click.echo(f"  {kind:10s} {operator:17s} {'clean' if status == 0 else f'status {status}'}")
    return rows


# Step 3 and 4: times.


class Clock:
    """Milliseconds of work on a device, cache cold and host ahead; the wall clock where there is no device."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        if self.on_gpu:
            self.flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device)

    def ms(self, work: Callable[[], object]) -> float:
        """One run."""
        if not self.on_gpu:
            begun = time.perf_counter()
            work()
            return (time.perf_counter() - begun) * 1e3
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        torch.cuda._sleep(AHEAD_CYCLES)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    def median_ms(self, work: Callable[[], object], runs: int) -> float:
        """The median of some runs, after one that does not count."""
        work()
        return statistics.median(self.ms(work) for _ in range(runs))


def forward_of(call: Call, tensors: Sequence[Tensor]) -> Callable[[], object]:
    """The forward pass as inference runs it."""
    plain = [x.detach() for x in tensors]

    def work() -> object:
        with torch.no_grad():
            return call(plain)

    return work


def ceilings(device: torch.device, clock: Clock) -> dict[str, float]:
    """Bytes a second of a large copy (read and written) and FLOP a second of a large bfloat16 product, here and now."""
    if not clock.on_gpu:
        return {"bytes_per_s": 1e10, "flops_per_s": 1e11}
    x = torch.empty(2**31, dtype=torch.int8, device=device)
    y = torch.empty_like(x)
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    copy_s = clock.median_ms(lambda: y.copy_(x), 9) / 1e3
    product_s = clock.median_ms(lambda: a @ a, 9) / 1e3
    return {"bytes_per_s": 2 * x.numel() / copy_s, "flops_per_s": 2 * 8192**3 / product_s}


def floors_ms(operator: str, shape: Shape, rates: Mapping[str, float], C: int = 64) -> tuple[float, float]:
    """The least time of a forward pass, and of forward and backward, in bfloat16 with float32 gates.

    Bytes: q, k, v, o once; q, k, v, do and dq, dk, dv once; gates both ways. Arithmetic of the chunked form without
    products of A and k: 8CD + 6D^2 and 22CD + 18D^2 + 4C^2 FLOP a token and head with erasing, 4CD + 4D^2 and
    10CD + 10D^2 without.
    """
    B, T, H, D = dataclasses.astuple(shape)
    op = OPERATORS[operator]
    gates = 4 * ((0, 1, D)[op.gate_axes] + op.erases)
    moved = (8 * D + gates, 14 * D + 2 * gates)
    work = (8 * C * D + 6 * D * D, 22 * C * D + 18 * D * D + 4 * C * C) if op.erases else (
        4 * C * D + 4 * D * D, 10 * C * D + 10 * D * D)  # fmt: skip
    ms = [
        B * T * H * 1e3 * max(m / rates["bytes_per_s"], w / rates["flops_per_s"])
        for m, w in zip(moved, work, strict=True)
    ]
    return ms[0], sum(ms)


def tune(
    operator: str, shape: Shape, dtype: torch.dtype, clock: Clock, device: torch.device, runs: int
) -> dict[str, Any]:
    """Step 3: the time of forward and backward with each configuration of each kernel, the others as chosen."""
    tensors = make_inputs(operator, shape, dtype, 3, device)
    do = torch.randn_like(tensors[2])
    variant = variant_of(operator, shape.D, dtype)
    times: dict[str, dict[str, float]] = {}
    best: dict[str, Config] = {}
    for kernel in kernels(variant):
        found: dict[Config, float] = {}
        for config in configurations(kernel, variant):
            call = ours(operator, {kernel: config})
            try:
                found[config] = clock.median_ms(lambda call=call: results(call, tensors, do), runs)  # type: ignore[misc]
            except (RuntimeError, ValueError):  # does not fit the device
                found[config] = math.inf
        best[kernel] = min(found, key=found.__getitem__)
        times[kernel] = {str(c): round(t, 4) for c, t in found.items() if t < math.inf}
    named = {kernel: str(config) for kernel, config in best.items()}
    before = {kernel: str(chosen(kernel, variant)) for kernel in best}
    click.echo(f"  {operator:17s} {shape!s:22s} best {named} chosen {before}")
    return {"operator": operator, "shape": str(shape), "times_ms": times, "best": named, "configs": best}


def implementations(
    operator: str, shape: Shape, tuned: Mapping[tuple[str, int], Mapping[str, Config]]
) -> dict[str, Call]:
    """Ours, ours with what tuning found best, and flash-linear-attention where it can be imported."""
    calls = {"ours": ours(operator)}
    if (operator, shape.D) in tuned:
        calls["ours tuned"] = ours(operator, tuned[operator, shape.D])
    if importlib.util.find_spec("fla") and torch.cuda.is_available():
        calls["fla"] = fla(operator)
    return calls


def verified(
    calls: Mapping[str, Call], tensors: Sequence[Tensor], do: Tensor, expected: tuple[Any, Any], dtype: str
) -> dict[str, dict[str, Any]]:
    """Of each implementation the errors at this shape and whether it is right, or how it failed."""
    found: dict[str, dict[str, Any]] = {}
    for name, call in calls.items():
        try:
            off = distance(results(call, tensors, do), *expected)
        except (RuntimeError, ValueError, AssertionError) as failure:
            found[name] = {"right": False, "failed": f"{type(failure).__name__}: {failure}"[:300]}
            continue
        found[name] = {"right": within(off, dtype), "errors": off}
    return found


def time_row(
    operator: str, shape: Shape, dtype: str, calls: Mapping[str, Call], clock: Clock, device: torch.device,
    rates: Mapping[str, float], rounds: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Step 4: all implementations at a shape, in turns; no time for one that is wrong before or after."""
    tensors = make_inputs(operator, shape, DTYPES[dtype], 4, device)
    do = make_inputs("delta_rule", shape, DTYPES[dtype], 5, device)[2].detach()
    expected = exact(operator, tensors, do)
    before = verified(calls, tensors, do, expected, dtype)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls if before[name]["right"]}
    works = {
        name: (forward_of(calls[name], tensors), lambda name=name: results(calls[name], tensors, do)) for name in times
    }
    for turn in range(rounds + 1):
        for name, (forward, both) in works.items():
            pair = clock.ms(forward), clock.ms(both)
            if turn:
                times[name].append(pair)
    after = verified({name: calls[name] for name in times}, tensors, do, expected, dtype)
    floor, floor_both = floors_ms(operator, shape, rates)
    rows = []
    for name in calls:
        row = {"operator": operator, "shape": str(shape), "dtype": dtype, "implementation": name, **before[name]}
        if name in times and after[name]["right"]:
            forward_ms, both_ms = (statistics.median(x) for x in zip(*times[name], strict=True))
            row |= {"forward_ms": forward_ms, "both_ms": both_ms, "rounds": rounds,
                    "floor_share_forward": floor / forward_ms, "floor_share_both": floor_both / both_ms}  # fmt: skip
            if name != "ours" and "ours" in times:
                pairs = list(zip(times[name], times["ours"], strict=True))
                row["over_ours_forward"] = median_interval([a[0] / b[0] for a, b in pairs])
                row["over_ours_both"] = median_interval([a[1] / b[1] for a, b in pairs])
            if name == "fla":
                row["guard_bypassed"] = OPERATORS[operator].gate_axes == 1
        rows.append(row)
        click.echo("  " + line(row))
    return rows


def line(row: Mapping[str, Any]) -> str:
    """A timed row as text."""
    name = f"{row['operator']:17s} {row['shape']:22s} {row['implementation']:11s} "
    if "forward_ms" not in row:
        return name + f"not timed: {row.get('failed', 'wrong, errors ' + str(row.get('errors')))}"
    text = name + "{forward_ms:9.3f} {both_ms:9.3f} ms, {floor_share_forward:5.1%} {floor_share_both:5.1%} of the floor"
    ratio = row.get("over_ours_both")
    return text.format(**row) + (f", over ours {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]" if ratio else "")


def about(device: torch.device, clock: Clock) -> dict[str, Any]:
    """What the numbers were taken on and with."""
    triton = importlib.import_module("triton")
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    ).stdout.strip()
    name = torch.cuda.get_device_name(device) if clock.on_gpu else "interpreter"
    return {"device": name, "torch": torch.__version__, "triton": triton.__version__, "revision": revision,
            "timed": "device events, cold cache, host ahead; forward without gradients, both with"}  # fmt: skip


def measure(
    record: dict[str, Any], keep: Callable[[], None], operators: Sequence[str], shapes: Sequence[Shape], dtype: str,
    clock: Clock, device: torch.device, rounds: int, deadline: float,
) -> None:  # fmt: skip
    """Steps 3 and 4 into the record, kept after every row, until the deadline; what is left out is named."""
    small = not clock.on_gpu
    tuned: dict[tuple[str, int], Mapping[str, Config]] = {}
    tuning = [shapes[0]] if small else [Shape(*sizes) for sizes in TUNED_SHAPES.values()]
    for shape in tuning:
        for operator in operators:
            if time.monotonic() > deadline - (0 if small else 60):
                record["left_out"].append(f"tuning {operator} {shape}")
                continue
            found = tune(operator, shape, DTYPES[dtype], clock, device, 1 if small else 7)
            tuned[operator, shape.D] = found.pop("configs")
            record["tuning"].append(found)
            keep()
    for shape in shapes:
        for operator in operators:
            if time.monotonic() > deadline:
                record["left_out"].append(f"times {operator} {shape}")
                continue
            calls = implementations(operator, shape, tuned)
            record["rows"] += time_row(operator, shape, dtype, calls, clock, device, record["ceilings"], rounds)
            keep()
            if clock.on_gpu:
                torch.cuda.empty_cache()


def add_peer(path: Path) -> None:
    """Make a package importable from its wheel (unpacked, for Triton reads its kernels' sources) or its folder."""
    if path.is_file():
        folder = tempfile.mkdtemp(prefix="peer-")
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder)
        path = Path(folder)
    sys.path.insert(1, str(path))
    importlib.invalidate_caches()


def keeper(record: dict[str, Any], out: Path | None, begun: float) -> Callable[[], None]:
    """What writes the record to its file; a folder gets a file named after the device."""
    named = f"triton_{record['device'].replace(' ', '_')}.json"
    path = out / named if out is not None and (out.is_dir() or not out.suffix) else out

    def keep() -> None:
        if path is None:
            return
        record["wall_s"] = round(time.monotonic() - begun, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(path)

    return keep


@click.command()
@click.option("--minutes", default=8.0, show_default=True, help="No row is begun after this time.")
@click.option("--rounds", default=25, show_default=True, help="Rounds in which every implementation runs once.")
@click.option("--workers", default=min(12, os.cpu_count() or 1), show_default=True, help="Checks at a time.")
@click.option("--operator", "operators", multiple=True, type=click.Choice(DIRECT), help="Default: all.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Wheel or folder of another package, e.g. fla_core-0.6.0-py3-none-any.whl; repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Record, or a folder for it; default: results/benchmarks/triton_<device>.json.",
)
@click.option("--interpret", is_flag=True, help="On a CPU, in Triton's interpreter.")
@click.option("--small", is_flag=True, help="Shapes for a try.")
@click.option("--skip-checks", is_flag=True, help="Leave out steps 1 and 2; every timed row is still checked.")
@click.option("--check", "subject", hidden=True, help="operator:width:dtype, one check, rows as JSON lines.")
def main(
    minutes: float, rounds: int, workers: int, operators: tuple[str, ...], peers: tuple[Path, ...], out: Path | None,
    interpret: bool, small: bool, skip_checks: bool, subject: str | None,
) -> None:  # fmt: skip
    """Check every configuration of the GPU kernels against float64, then time them beside their peers."""
    begun = time.monotonic()
    device = torch.device("cpu" if interpret else "cuda")
    if not interpret and not torch.cuda.is_available():
        raise click.ClickException("no CUDA device here; --interpret --small tries the script on a CPU")
    if subject is not None:
        operator, width, dtype = subject.split(":")
        for row in check(operator, int(width), dtype, small, device):
            click.echo(json.dumps(row))
        return
    for path in peers:
        add_peer(path)
    wanted, clock = operators or tuple(DIRECT), Clock(device)
    lists: dict[str, list[Any]] = {name: [] for name in ("checks", "sanitizer", "tuning", "rows", "left_out")}
    record = about(device, clock) | lists
    if out is None and not interpret:
        out = CHECKOUT / "results" / "benchmarks"
    keep = keeper(record, out, begun)
    click.echo(f"{record['device']}, torch {record['torch']}, Triton {record['triton']}, {record['revision'][:10]}")
    if not skip_checks:
        record["checks"] = check_all(wanted, interpret, small, workers, limit_s=60 * minutes * 0.5)
        keep()
        record["sanitizer"] = [] if interpret else sanitize(wanted, 60)
    record["ceilings"] = ceilings(device, clock)
    keep()
    shapes = [Shape(*sizes) for sizes in (SMALL_SHAPES if small else SHAPES)]
    dtype = "float32" if interpret else "bfloat16"
    turns, deadline = 2 if small else rounds, begun + 60 * minutes
    timed = [operator for operator in wanted if operator in TIMED]
    measure(record, keep, timed, shapes, dtype, clock, device, turns, deadline)
    for name in record["left_out"]:
        click.echo(f"  left out for want of time: {name}")
    keep()
    wrong = [row for row in record["checks"] if not (row.get("right") and row.get("repeats"))]
    if wrong or any(row["status"] for row in record["sanitizer"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

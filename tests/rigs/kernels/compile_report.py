"""What the GPU kernels compile to, without a GPU: ``python -m tests.rigs kernels binaries --help``.

Every kernel of `blocks` in every configuration is compiled for A100, H100 and B200 with the compiler and assembler
that come with Triton. Of each binary the report counts registers, spilled bytes, shared memory, tensor-core
instructions, local-memory accesses and asynchronous copies, and holds them against the goldens. It fails when

- a golden is missing, or was made with another Triton;
- more bytes are spilled, more shared memory or more than 8 more registers are used, or more local memory is accessed;
- the number of tensor-core instructions changed (a product that left them is the slow kind of mistake);
- the configuration that a call would choose does not fit the shared memory of the device or, on the H100, for which
  it is chosen, spills.

It says nothing about speed, nor whether the results are right on a device.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asiarc.core.errors import KernelInputError
from asiarc.kernels.operators import OPERATORS

if TYPE_CHECKING:
    from asiarc.kernels.blocked import Config, Variant

CHECKOUT = Path(__file__).parents[3]
GOLDENS = CHECKOUT / "tests" / "kernels" / "goldens"
RECORD = CHECKOUT / "results" / "kernels" / "compile_report.json"

DIRECT = [name for name, operator in OPERATORS.items() if operator.direct]
"""Operators with binaries of their own."""
WIDTHS = (64, 128)
SHARED_KIB = {80: 163, 90: 227, 100: 227}
"""Shared memory that one program may have, by compute capability."""
CHOSEN_FOR = 90
REGISTERS_SLACK = 8

TENSOR_CORE = re.compile(r"\b(?:HGMMA|HMMA|IMMA|QGMMA|UTC[A-Z]*MMA)\b")
LOCAL = re.compile(r"\b(?:LDL|STL)\b")
COPIES = re.compile(r"\b(?:LDGSTS|UTMALDG|UBLKCP)\b")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What one binary uses; `spilled` are bytes of stack a thread, `shared` bytes a program."""

    registers: int
    spilled: int
    shared: int
    tensor_core: int
    local: int
    copies: int


@dataclasses.dataclass(frozen=True)
class Row:
    """One kernel of one operator, compiled for one device in one configuration."""

    capability: int
    operator: str
    dtype: str
    width: int
    kernel: str
    config: str
    chosen: bool
    facts: Facts
    seconds: float

    @property
    def name(self) -> str:
        """What its golden is filed under."""
        return f"{self.operator} {self.dtype} {self.width} {self.kernel} {self.config}"

    def line(self) -> str:
        """The row as text."""
        f = self.facts
        return (
            f"sm_{self.capability:<4d}{self.operator:17s} {self.dtype:8s} {self.width:4d} {self.kernel:16s} "
            f"{self.config:12s}{'*' if self.chosen else ' '} {f.registers:5d} {f.spilled:7d} {f.shared / 1024:9.1f} "
            f"{f.tensor_core:7d} {f.local:6d} {f.copies:7d} {self.seconds:6.1f}"
        )


HEADER = "{:7s}{:17s} {:8s} {:>4s} {:16s} {:13s} {:>5s} {:>7s} {:>9s} {:>7s} {:>6s} {:>7s} {:>6s}".format(
    "device", "operator", "dtype", "D", "kernel", "configuration", "regs", "spilled", "shared K", "tensor", "local",
    "copies", "s",
)  # fmt: skip


def faults(row: Row, golden: dict[str, int] | None) -> list[str]:
    """Everything that is wrong with a row, in words."""
    found, limit = row.facts, SHARED_KIB[row.capability] * 1024
    wrong = []
    if row.chosen and found.spilled and row.capability == CHOSEN_FOR:
        wrong.append(f"the chosen configuration spills {found.spilled} bytes")
    if row.chosen and found.shared > limit:
        wrong.append(f"the chosen configuration needs {found.shared} bytes of shared memory, the device has {limit}")
    if golden is None:
        return [*wrong, "no golden; look at the row and run again with --bless"]
    for name, slack in (("registers", REGISTERS_SLACK), ("spilled", 0), ("shared", 0), ("local", 0)):
        now, before = getattr(found, name), golden[name]
        if now > before + slack:
            wrong.append(f"{name} {now}, golden {before}")
    if found.tensor_core != golden["tensor_core"]:
        wrong.append(f"tensor-core instructions {found.tensor_core}, golden {golden['tensor_core']}")
    return wrong


def argument_types(variant: Variant) -> dict[str, str]:
    """The type of every tensor and number that a kernel is given."""
    from asiarc.kernels.blocked import TYPES

    own = TYPES[variant.dtype]
    types = dict.fromkeys(
        [*"qkvoyPAS", "do", "dv", "dS", "dq", "dk", "Dq", "Dk", "q_in", "k_in", "k_out", "keys"], f"*{own}"
    )
    types |= dict.fromkeys(("g", "beta", "state", "final", "dfinal", "dstate", "dg", "dbeta"), "*fp32")
    types |= dict.fromkeys(("chunks", "bounds"), "*i64") | dict.fromkeys(("H", "HV", "T", "R"), "i32")
    return types | {"G": "*fp64" if own == "fp32" else "*fp32", "scale": "fp32"}


def compile_one(kernel: str, variant: Variant, config: Config, capability: int) -> tuple[Facts, float]:
    """Compile one kernel for a device that need not be there; returns its facts and the seconds it took."""
    import triton
    from triton.backends.compiler import GPUTarget

    from asiarc.kernels import blocks
    from asiarc.kernels.blocked import Constants

    function, tensors = getattr(blocks, kernel), blocks.TENSORS[kernel]
    types = argument_types(variant)
    own = {"x": tensors(*(types[name] for name in tensors._fields)), "p": "constexpr"}
    signature = {name: own.get(name) or types[name] for name in function.arg_names}
    pointers = [(0, i) for i in range(len(tensors._fields))]
    pointers += [(i,) for i, name in enumerate(function.arg_names) if name in ("chunks", "bounds")]
    source = triton.compiler.ASTSource(
        fn=function,
        signature=signature,
        constexprs={"p": Constants.of(variant, config)},
        attrs={place: [["tt.divisibility", 16]] for place in pointers},
    )
    start = time.perf_counter()
    options = {"num_warps": config.warps, "num_stages": config.stages}
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    seconds = time.perf_counter() - start
    return read_binary(binary.asm["cubin"], binary.metadata.shared), seconds


def read_binary(cubin: bytes, shared: int) -> Facts:
    """Disassemble a binary and count."""
    import triton.backends.nvidia

    tool = str(Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        usage, code = (
            subprocess.run([tool, option, str(file)], capture_output=True, text=True, check=True).stdout
            for option in ("--dump-resource-usage", "-sass")
        )
    registers, stack = (int(n) for n in re.findall(r"(?:REG|STACK):(\d+)", usage)[:2])
    counts = (len(pattern.findall(code)) for pattern in (TENSOR_CORE, LOCAL, COPIES))
    tensor_core, local, copies = counts
    return Facts(registers, stack, shared, tensor_core, local, copies)


def jobs(operators: Iterable[str], widths: Iterable[int], only: Collection[str]) -> Iterator[tuple[str, Variant, str]]:
    """Every kernel of every operator at every width, in bfloat16."""
    import torch

    from asiarc.kernels.blocked import Variant
    from asiarc.kernels.blocked import kernels as all_kernels

    for operator in operators:
        op = OPERATORS[operator]
        for width in widths:
            variant = Variant(op.gate_axes, op.erases, width, width, torch.bfloat16)
            for kernel in all_kernels(variant):
                if not only or kernel in only:
                    yield operator, variant, kernel


Job = tuple[int, str, "Variant", str, "Config"]


def plan(
    operators: Iterable[str], widths: Iterable[int], kernels: Collection[str], capabilities: Iterable[int]
) -> list[Job]:
    """Every binary asked for: device, operator, variant, kernel, configuration."""
    from asiarc.kernels.blocked import configurations

    wanted = list(jobs(operators, widths, kernels))
    return [
        (capability, operator, variant, kernel, config)
        for capability in capabilities
        for operator, variant, kernel in wanted
        for config in configurations(kernel, variant)
    ]


def compiled(job: Job) -> Row:
    """The row of one binary."""
    from asiarc.kernels.blocked import TYPES, chosen

    capability, operator, variant, kernel, config = job
    facts, seconds = compile_one(kernel, variant, config, capability)
    taken, dtype = config == chosen(kernel, variant), TYPES[variant.dtype]
    return Row(capability, operator, dtype, variant.K, kernel, str(config), taken, facts, seconds)


def read_goldens(folder: Path, capability: int) -> dict[str, Any]:
    """What a device's binaries used when someone last looked: {"triton": version, "rows": {name: facts}}."""
    file = folder / f"sm_{capability}.json"
    return json.loads(file.read_text()) if file.exists() else {"triton": None, "rows": {}}


def bless(folder: Path, rows: Iterable[Row], version: str) -> None:
    """Make the rows the goldens, beside those of what was not compiled now by the same Triton."""
    by_device: dict[int, list[Row]] = {}
    for row in rows:
        by_device.setdefault(row.capability, []).append(row)
    for capability, found in by_device.items():
        before = read_goldens(folder, capability)
        kept = before["rows"] if before["triton"] == version else {}
        merged = kept | {row.name: dataclasses.asdict(row.facts) for row in found}
        write(folder / f"sm_{capability}.json", {"triton": version, "rows": dict(sorted(merged.items()))})


def write(file: Path, data: dict[str, Any]) -> None:
    """JSON with a line for each row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in data["rows"].items())
    file.write_text(f'{{"triton": {json.dumps(data["triton"])}, "rows": {{\n{rows}\n}}}}\n')


def record(file: Path, rows: Iterable[Row], version: str) -> None:
    """Add the rows to a record of all devices."""
    before = json.loads(file.read_text()) if file.exists() else {"triton": None, "rows": {}}
    kept = before["rows"] if before["triton"] == version else {}
    new = {f"sm_{row.capability} {row.name}": dataclasses.asdict(row) for row in rows}
    write(file, {"triton": version, "rows": dict(sorted((kept | new).items()))})


@click.command()
@click.option("--operator", "operators", multiple=True, type=click.Choice(DIRECT), help="Default: all.")
@click.option("--width", "widths", multiple=True, type=int, default=WIDTHS, show_default=True, help="K = V.")
@click.option("--kernel", "kernels", multiple=True, help="Default: all.")
@click.option(
    "--device", "capabilities", multiple=True, type=click.Choice([str(c) for c in SHARED_KIB]), help="Default: all."
)
@click.option("--goldens", type=click.Path(path_type=Path), default=GOLDENS, help="Folder of the goldens.")
@click.option("--bless", "blessing", is_flag=True, help="Make what was found the goldens.")
@click.option("--out", type=click.Path(path_type=Path), default=RECORD, help="Record to add the rows to, JSON.")
def main(
    operators: tuple[str, ...],
    widths: tuple[int, ...],
    kernels: tuple[str, ...],
    capabilities: tuple[str, ...],
    goldens: Path,
    blessing: bool,
    out: Path,
) -> None:
    """Compile every GPU kernel in every configuration, without a GPU, and hold it against the goldens."""
    if os.environ.pop("TRITON_INTERPRET", "0") not in ("", "0"):
        raise KernelInputError("TRITON_INTERPRET is set: interpreted kernels do not compile; unset it.")
    os.environ["TRITON_ALWAYS_COMPILE"] = "1"  # what lies in Triton's cache would compile in no time
    try:
        import triton
    except ModuleNotFoundError:
        raise KernelInputError(
            "Triton is not installed, and it compiles the kernels: pip install triton==3.7.1."
        ) from None
    devices = [int(c) for c in capabilities or SHARED_KIB]
    wanted = plan(operators or DIRECT, widths, kernels, devices)
    if not wanted:
        raise KernelInputError(f"no kernel is called {', '.join(kernels)}; leave --kernel out to see them all.")
    click.echo(f"Triton {triton.__version__}, {len(wanted)} binaries; * is the configuration that a call chooses")
    click.echo(HEADER)
    before = {capability: read_goldens(goldens, capability) for capability in devices}
    rows, failures = [], 0
    for i, job in enumerate(wanted, 1):
        row = compiled(job)
        rows.append(row)
        click.echo(f"{row.line()}  [{i}/{len(wanted)}]")
        golden = before[row.capability]
        same = golden["triton"] == triton.__version__
        for wrong in faults(row, golden["rows"].get(row.name) if same else None):
            if not (blessing and wrong.startswith("no golden")):
                failures += 1
                click.echo(f"        WRONG: {wrong}")
        if blessing:
            bless(goldens, [row], triton.__version__)
        record(out, [row], triton.__version__)  # row by row: what was compiled stays when the rest is cut off
    click.echo(f"{len(rows)} binaries, {failures} faults, {sum(row.seconds for row in rows):.0f} s of compilation")
    if failures and not blessing:
        raise SystemExit(1)

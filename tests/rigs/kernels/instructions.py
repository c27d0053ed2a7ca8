"""The instruction layer: how many machine instructions one forward and backward pass takes, by callgrind, within 1 %.

Repeatable to a few in ten thousand on one machine, whatever else it does. It sees overhead and arithmetic, not
waiting for memory. One process under valgrind runs every case; counting is switched on around the measured call
only, by valgrind's own client requests. Those are an instruction sequence that does nothing on a real processor and
that valgrind takes for a call; ``python -m tests.rigs.kernels.instructions`` issues it from a page of
machine code, so no compiler is needed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from asiarc.speed import NotMeasuredError, SpeedError
from tests.rigs.kernels.goldens import Values, environment, ratio_text

BAND = 0.01
LIMIT_S = 900
# mov rax, rdi; xor edx, edx; rol rdi, 3, 13, 61, 51; xchg rbx, rbx; mov rax, rdx; ret  (valgrind.h, amd64)
CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
CALLGRIND = (ord("C") << 24) | (ord("T") << 16)
DUMP_AT, START, STOP, RUNNING = CALLGRIND + 3, CALLGRIND + 4, CALLGRIND + 5, 0x1001


class Requests:
    """valgrind's client requests from Python."""

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.page.write(CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        self.function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64))(address)

    def __call__(self, request: int, argument: int = 0) -> int:
        """Issues a request; 0 outside valgrind."""
        return int(self.function((ctypes.c_uint64 * 6)(request, argument)))


def here() -> dict[str, str]:
    """The environment that instruction counts depend on; raises `NotMeasuredError` where they cannot be taken."""
    if platform.machine() != "x86_64" or shutil.which("valgrind") is None:
        raise NotMeasuredError("not measured here: instruction counts need valgrind on x86-64 (apt install valgrind).")
    version = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    vendor = re.search(r"vendor_id\s*: (\S+)", Path("/proc/cpuinfo").read_text())
    libc = " ".join(platform.libc_ver())
    return environment() | {"valgrind": version, "cpu": vendor[1] if vendor else "unknown", "libc": libc}


def measure(operators: tuple[str, ...] = ()) -> Values:
    """Instructions of every case, forward and backward together; all are run, since one alone counts otherwise."""
    here()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out",
            sys.executable, "-m", "tests.rigs.kernels.instructions",
        ]  # fmt: skip
        # The caller's environment would move the stack, and with it a few counts.
        fixed = {"PATH": os.environ["PATH"], "HOME": folder, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=fixed, timeout=LIMIT_S)
        if done.returncode:
            raise SpeedError(f"valgrind ended with {done.returncode}: {done.stderr[-2000:]}")
        dumps = [path.read_text() for path in Path(folder).glob("out.*")]
    found = counted(dumps, json.loads(done.stdout))
    return {name: values for name, values in found.items() if not operators or name.split()[0] in operators}


def counted(dumps: list[str], expected: list[str]) -> Values:
    """The totals of callgrind's dumps by the name that each was requested under."""
    found: Values = {}
    for text in dumps:
        name = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
        if name and total:
            found[name[1]] = {"instructions": float(total[1])}
    lost = [name for name in expected if name not in found]
    if lost:
        raise SpeedError(f"callgrind gave no count for: {', '.join(lost)}")
    return found


def rule(golden: float, measured: float) -> str:
    """Within the band; fewer instructions want a new golden as well, lest they be lost again unseen."""
    return "" if abs(measured / golden - 1) <= BAND else ratio_text(golden, measured)


def main() -> None:
    """Under valgrind: runs every case once with counting on, and prints their names as JSON."""
    import torch

    from asiarc.kernels.operators import OPERATORS
    from asiarc.speed.cases import outcome, shipped

    request = Requests()
    assert request(RUNNING), "this process does not run under valgrind"
    torch.set_num_threads(1)
    names = []
    for operator in OPERATORS:
        case = shipped(operator, 1, 128, 2, 32)
        call, inputs, upstream = case.call, case.inputs(), case.upstream()
        for _ in range(2):
            outcome(call, inputs, upstream)
        gc.collect()
        gc.disable()
        name = ctypes.create_string_buffer(str(case).encode())
        request(START)
        outcome(call, inputs, upstream)
        request(STOP)
        request(DUMP_AT, ctypes.addressof(name))
        gc.enable()
        names.append(str(case))
    print(json.dumps(names))  # noqa: T201


if __name__ == "__main__":
    main()

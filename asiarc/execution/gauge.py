"""Gauges beside a job: the energy that it drew and what it held on its GPU, as the machine counts them.

The supervisor reads them, before the job starts, once a second and after its end. Where a machine tells nothing (no
RAPL or no right to read it, no NVIDIA driver), nothing is told: a missing number is None.
"""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path
from typing import Any

EVERY_S = 1.0
POWERCAP, STAT = Path("/sys/class/powercap"), Path("/proc/stat")
NVML = "libnvidia-ml.so.1"
BUSY = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, steal


class Gauge:
    """What nothing tells."""

    every_s = math.inf  # how often it is to be read while the job runs

    def sample(self) -> None:
        """Read it once."""

    def spent(self, cpu_s: float) -> dict[str, Any]:
        """What the job took from the gauge's making on; `cpu_s` are its CPU-seconds."""
        return {"energy_j": None, "gpu_memory_bytes": None}


def gauge_for(device: str | None) -> Gauge:
    """The gauge of a job on a device, "cuda" or any other."""
    try:
        return Nvml() if device == "cuda" else PowerCap()
    except OSError:
        return Gauge()


class PowerCap(Gauge):
    """Energy of the processor packages (RAPL), of which a job has its share of all busy CPU-seconds.

    Raises `OSError` where there is no package, or its counter may not be read.
    """

    every_s = EVERY_S

    def __init__(self, powercap: Path = POWERCAP, stat: Path = STAT) -> None:
        zones = [zone for zone in sorted(powercap.glob("*-rapl:*")) if _text(zone / "name").startswith("package")]
        if not zones:
            raise OSError("no processor package tells its energy")
        self._range_uj = [int(_text(zone / "max_energy_range_uj")) for zone in zones]
        self._stat, self._counters = stat, [zone / "energy_uj" for zone in zones]
        self._busy_s, self._last_uj, self._uj = self._busy(), self._read(), 0

    def sample(self) -> None:
        """Add what was drawn since the last time; a counter that wrapped begins again at 0."""
        now_uj = self._read()
        for now, last, whole in zip(now_uj, self._last_uj, self._range_uj, strict=True):
            self._uj += (now - last) % (whole + 1)
        self._last_uj = now_uj

    def spent(self, cpu_s: float) -> dict[str, Any]:
        """As `Gauge.spent`; nothing where the machine's clock ticks saw no busy second."""
        self.sample()
        busy_s = self._busy() - self._busy_s
        share = min(1.0, cpu_s / busy_s) if busy_s > 0 else None
        return {"energy_j": None if share is None else share * self._uj / 1e6, "gpu_memory_bytes": None}

    def _read(self) -> list[int]:
        return [int(_text(counter)) for counter in self._counters]

    def _busy(self) -> float:
        ticks = _text(self._stat).partition("\n")[0].split()[1:]
        return sum(int(ticks[place]) for place in BUSY) / os.sysconf("SC_CLK_TCK")


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class Nvml(Gauge):
    """Energy and memory of the first visible NVIDIA GPU, all that runs on it counted: one trial a device.

    Raises `OSError` where there is no driver or no such device.
    """

    every_s = EVERY_S

    def __init__(self) -> None:
        self._nvml, self._device = ctypes.CDLL(NVML), ctypes.c_void_p()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        found = self._nvml.nvmlInit_v2() == 0 and self._handle(first) == 0
        if not found:
            raise OSError(f"the driver tells nothing of GPU {first}")
        self._start_mj, self._start_bytes = self._millijoules(), self._used_bytes()
        self._most_bytes = self._start_bytes

    def sample(self) -> None:
        """Note the memory that is used."""
        self._most_bytes = max(self._most_bytes or 0, self._used_bytes() or 0)

    def spent(self, cpu_s: float) -> dict[str, Any]:
        """As `Gauge.spent`; the energy is the whole device's."""
        self.sample()
        end_mj, start_mj = self._millijoules(), self._start_mj
        held = None if self._start_bytes is None else (self._most_bytes or 0) - self._start_bytes
        return {
            "energy_j": None if end_mj is None or start_mj is None else (end_mj - start_mj) / 1e3,
            "gpu_memory_bytes": held,
        }

    def _handle(self, first: str) -> int:
        device = ctypes.byref(self._device)
        if first.isdigit():
            return int(self._nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(first)), device))
        return int(self._nvml.nvmlDeviceGetHandleByUUID(first.encode(), device))

    def _millijoules(self) -> int | None:
        told = ctypes.c_ulonglong()
        return told.value if self._tells("nvmlDeviceGetTotalEnergyConsumption", told) else None

    def _used_bytes(self) -> int | None:
        told = _Memory()
        return int(told.used) if self._tells("nvmlDeviceGetMemoryInfo", told) else None

    def _tells(self, question: str, told: Any) -> bool:
        return bool(getattr(self._nvml, question)(self._device, ctypes.byref(told)) == 0)

"""Gauges against counters that are known: a folder as the kernel shows it, a driver that answers as told."""

from __future__ import annotations

import ctypes
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.execution import gauge
from asiarc.execution.gauge import Gauge, Nvml, PowerCap, gauge_for

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
RANGE_UJ = 999


class Machine:
    """Packages with their counters, and busy ticks."""

    def __init__(self, folder, packages=1):
        self.powercap, self.stat = folder / "powercap", folder / "stat"
        self.zones = [self.powercap / f"intel-rapl:{i}" for i in range(packages)]
        for number, zone in enumerate(self.zones):
            zone.mkdir(parents=True)
            (zone / "name").write_text(f"package-{number}\n")
            (zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        part = self.powercap / "intel-rapl:0:0"  # a part of the package, counted in it
        part.mkdir()
        (part / "name").write_text("dram\n")
        self.shows([0] * packages, 0)

    def shows(self, counters_uj, busy):
        for zone, counter in zip(self.zones, counters_uj, strict=True):
            (zone / "energy_uj").write_text(f"{counter}\n")
        self.stat.write_text(f"cpu  {busy} 0 0 777 777 0 0 0 0 0\ncpu0 1 1\n")

    def gauge(self):
        return PowerCap(self.powercap, self.stat)


def test_a_job_has_the_share_of_the_energy_that_it_has_of_the_busy_seconds(tmp_path):
    machine = Machine(tmp_path, packages=2)
    machine.shows([100, 10], 1000)
    found = machine.gauge()
    machine.shows([400, 50], 1400)
    assert found.spent(100 * TICK_S)["energy_j"] == pytest.approx(340e-6 / 4)
    assert found.spent(1e9)["energy_j"] == pytest.approx(340e-6)  # never more than all


@settings(max_examples=15)
@given(st.lists(st.integers(0, RANGE_UJ), min_size=1, max_size=6), st.integers(0, RANGE_UJ))
def test_a_counter_that_wraps_loses_nothing(tmp_path_factory, steps_uj, start_uj):
    machine, total = Machine(tmp_path_factory.mktemp("m")), start_uj
    machine.shows([total], 0)
    found = machine.gauge()
    for step in steps_uj:
        total += step
        machine.shows([total % (RANGE_UJ + 1)], 100)
        found.sample()
    assert found.spent(1e9)["energy_j"] == pytest.approx(sum(steps_uj) / 1e6)


def test_where_nothing_was_busy_nothing_is_told(tmp_path):
    assert Machine(tmp_path).gauge().spent(1.0)["energy_j"] is None


@pytest.mark.parametrize("device", ["cpu", "cuda", None])
def test_a_machine_that_tells_nothing_has_no_numbers(device, monkeypatch, tmp_path):
    monkeypatch.setattr(gauge, "POWERCAP", tmp_path)
    monkeypatch.setattr(PowerCap.__init__, "__defaults__", (tmp_path, tmp_path / "stat"))
    monkeypatch.setattr(gauge, "NVML", "libno-such-driver.so")
    found = gauge_for(device)
    assert type(found) is Gauge and set(found.spent(1.0).values()) == {None}


class Driver:
    """NVML as its header has it: what is asked is written where the caller points, and 0 is said."""

    def __init__(self, uuids=("GPU-0",), tells=True):
        self.uuids, self.tells, self.used, self.millijoules = uuids, tells, 100, 5000

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        return 0 if index.value < len(self.uuids) else 2

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        return 0 if uuid.decode() in self.uuids else 2

    def nvmlDeviceGetTotalEnergyConsumption(self, device, told):
        ctypes.cast(told, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        return 0 if self.tells else 3

    def nvmlDeviceGetMemoryInfo(self, device, told):
        ctypes.cast(told, ctypes.POINTER(ctypes.c_ulonglong))[2] = self.used
        return 0


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: found)
    return found


def test_a_gpu_tells_the_most_that_it_held_beyond_the_start_and_its_energy(driver):
    found = gauge_for("cuda")
    for used in (700, 900, 300):
        driver.used = used
        found.sample()
    driver.millijoules += 2500
    assert found.spent(1.0) == {"energy_j": 2.5, "gpu_memory_bytes": 800}


def test_a_gpu_without_a_counter_tells_what_it_can(driver):
    driver.tells = False
    assert Nvml().spent(1.0) == {"energy_j": None, "gpu_memory_bytes": 0}


@pytest.mark.parametrize(("visible", "is_there"), [("0", True), ("GPU-0,1", True), ("3", False), ("GPU-9", False)])
def test_the_first_visible_gpu_is_asked(driver, monkeypatch, visible, is_there):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert isinstance(gauge_for("cuda"), Nvml) == is_there

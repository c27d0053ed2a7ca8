"""What a trial bought and what it took, in numbers that are counted outside the process that trained it.

Model FLOPs utilisation: MFU = 3 x forward FLOPs a token x tokens a second / the device's peak (Chowdhery et al.,
arXiv 2204.02311, appendix B); a backward pass counts as two forward ones, what is computed twice to save memory counts
once. Seconds are those of the process that trains, from its start to its end: what builds the model and reads the probe
is in them, so both rates are lower bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PASSES = 3  # forward passes that a training step costs: one forward, and a backward of two

# Dense bfloat16 FLOP/s by a part of the name that the driver gives, the most particular first (NVIDIA's datasheets of
# each, read 2026-11; those that give numbers with sparsity alone are halved).
GPU_FLOPS_PER_S: dict[str, float] = {
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "GB200": 2500e12,
    "B200": 2250e12,
    "L40S": 362e12,
}


def gpu_flops_per_s(name: str) -> float | None:
    """A GPU's peak in dense bfloat16, FLOP/s, by the name that its driver gives; None for one that is not listed."""
    return next((peak for part, peak in GPU_FLOPS_PER_S.items() if part in name), None)


@dataclass(frozen=True)
class Bought:
    """One trial's tokens, and what they took; None where nobody told.

    `train_s`: wall seconds of the process that trains. `peak_memory_bytes`: the largest resident memory of the trial's
    processes, what a warm worker shares with them included (rusage). `gpu_memory_bytes`: what the GPU held at most
    beyond what it held before (its driver, once a second). `energy_j`: joules of the GPU meanwhile, or the trial's
    share by processor time of the packages' (RAPL). `peak_flops_per_s`: what the device can do at most: a GPU as
    listed, one core of a CPU as a matrix product in float32 measured it once a session.
    """

    tokens: int = 0
    train_s: float | None = None
    peak_memory_bytes: int = 0
    gpu_memory_bytes: int | None = None
    energy_j: float | None = None
    peak_flops_per_s: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Bought:
        """What a row of the archive says of it."""
        return cls(**{one.name: row[one.name] for one in fields(cls)})

    @property
    def tokens_per_s(self) -> float | None:
        """Training tokens a wall second; None for a trial that was not scored."""
        return self.tokens / self.train_s if self.tokens and self.train_s else None

    def mfu(self, flops_per_token: float | None) -> float | None:
        """Model FLOPs utilisation of a model of so many forward FLOPs a token, 0 to 1."""
        if not (flops_per_token and self.tokens_per_s and self.peak_flops_per_s):
            return None
        return PASSES * flops_per_token * self.tokens_per_s / self.peak_flops_per_s

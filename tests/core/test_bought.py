"""What a trial bought, by the formulas of `asiarc.core.bought`: PaLM's number, properties, and what nobody told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.bought import GPU_FLOPS_PER_S, Bought, gpu_flops_per_s

some = st.floats(1e-3, 1e6)


def test_palm_540b_used_what_its_paper_says():
    """Table 3 of arXiv 2204.02311: 238,300 tokens a second on 6,144 TPU v4 of 275 TFLOP/s are an MFU of 46.2 %."""
    forward = 2 * 540.35e9 + 2 * 118 * 48 * 256 * 2048 * 2  # 6 N + 12 L H Q T, a third of it
    palm = Bought(tokens=238_300, train_s=1.0, peak_flops_per_s=6144 * 275e12)
    assert palm.mfu(forward) == pytest.approx(0.462, abs=0.002)


@settings(max_examples=20)
@given(st.integers(1, 10**9), some, some, some)
def test_twice_the_time_is_half_the_pace(tokens, train_s, flops, peak):
    once, twice = (Bought(tokens, n * train_s, peak_flops_per_s=1e9 * peak) for n in (1, 2))
    assert once.tokens_per_s == pytest.approx(2 * twice.tokens_per_s)
    assert once.mfu(flops) == pytest.approx(2 * twice.mfu(flops)) == pytest.approx(twice.mfu(2 * flops))


@pytest.mark.parametrize("missing", [{"tokens": 0}, {"train_s": None}, {"peak_flops_per_s": None}])
def test_what_nobody_told_is_no_number(missing):
    bought = Bought(**{"tokens": 8, "train_s": 1.0, "peak_flops_per_s": 1e9} | missing)
    assert bought.mfu(1e3) is None
    assert (bought.tokens_per_s is None) == ("peak_flops_per_s" not in missing)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989),
        ("NVIDIA H100 NVL", 835), ("NVIDIA B200", 2250), ("NVIDIA GB200", 2500), ("NVIDIA L40S", 362),
        ("NVIDIA L4", None), ("Radeon", None), ("", None),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_its_drivers_name(name, tflops):
    assert gpu_flops_per_s(name) == (tflops and tflops * 1e12)


def test_no_name_hides_a_more_particular_one():
    names = list(GPU_FLOPS_PER_S)
    assert [n for i, n in enumerate(names) if any(before in n for before in names[:i])] == []

"""The budget: printed hours against each other, and against the operations they bought."""

from __future__ import annotations

from asiarc.evidence import Verdict, decides

SOURCE = "reproductions/data/printed.toml"
H100_PEAK = 989e12  # dense bf16 operations a second, by its data sheet; the paper names no GPU


@decides("C22a")
def totals_agree(evidence):
    """Total = exploration + verification, and the figure's axis = exploration."""
    compute, counts = evidence.paper.printed["compute"], evidence.paper.printed["counts"]
    exploration, total = compute["gpu_hours_exploration"], compute["gpu_hours_abstract"]
    adds_up = exploration + compute["gpu_hours_verification"] == total
    axis = compute["figure1_last_gpu_hour"]
    each, plotted = exploration / counts["experiments"], evidence.paper.figure1[1][0] / 50
    return Verdict(
        "C22a",
        "reproduced" if adds_up and abs(axis / exploration - 1) < 0.05 else "partly" if adds_up else "contradicted",
        f"the parts {'add' if adds_up else 'do not add'} up to {total:,}; Figure 1 ends at {axis:,} for "
        f"the same experiments: {plotted:.1f} hours each against {each:.1f}",
        effect=axis / exploration,
        n=counts["experiments"],
        test="exact arithmetic",
        evidence_path=SOURCE,
        our_value=f"{each:.2f} or {plotted:.2f} GPU hours each",
    )


@decides("C22b")
def hours_fit_the_operations(evidence):
    """6 N D operations over the printed hours, as a rate and as a share of an H100's peak."""
    compute, counts = evidence.paper.printed["compute"], evidence.paper.printed["counts"]
    runs = {"exploration": counts["experiments"], "verification": counts["trained_at_340m"]}
    hours = {stage: compute[f"gpu_hours_{stage}"] / n for stage, n in runs.items()}
    rate = {
        stage: 6 * compute[f"{stage}_parameters"] * compute[f"{stage}_tokens"] / (3_600 * hours[stage])
        for stage in runs
    }
    return Verdict(
        "C22b",
        "not stated clearly",
        "; ".join(
            f"{stage}: {hours[stage]:.1f} h each is {rate[stage] / 1e12:.1f} TFLOP/s, "
            f"{rate[stage] / H100_PEAK:.1%} of an H100's peak"
            for stage in runs
        ),
        effect=rate["exploration"] / H100_PEAK,
        n=sum(runs.values()),
        test="6 N D",
        evidence_path=SOURCE,
        our_value=f"{rate['exploration'] / 1e12:.1f} and {rate['verification'] / 1e12:.1f} TFLOP/s",
        note="neither the GPU nor what else ran in those hours (evaluation, debugging) is stated",
    )

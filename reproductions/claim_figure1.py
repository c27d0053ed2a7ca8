"""Figure 1: discoveries against GPU hours, called a scaling law."""

from __future__ import annotations

from asiarc.evidence import Verdict, decides

SOURCE = "reproductions/data/figure1.csv"
BLOCK = 50  # experiments between two markers, if the axis is their order
WIDTHS = (BLOCK, 250)  # the figure's own, and one with about 15 discoveries a block


def by_order(evidence):
    """Discoveries among the first 50 (k + 1) experiments, for each marker k."""
    index = evidence.paper.gallery_index
    return [sum(i <= BLOCK * (k + 1) for i in index) for k in range(len(evidence.paper.figure1))]


@decides("C11a")
def axis_is_compute(evidence):
    """The figure's counts against those that the order of experiments alone gives."""
    printed = [count for _, count in evidence.paper.figure1]
    order = by_order(evidence)
    exact = sum(a == b for a, b in zip(printed, order, strict=True))
    off = max(abs(a - b) for a, b in zip(printed, order, strict=True))
    hours = evidence.paper.figure1[1][0] / BLOCK
    return Verdict(
        "C11a",
        "contradicted" if exact >= 0.9 * len(printed) and off <= 1 else "inconclusive",
        f"{exact} of {len(printed)} points equal the number of discoveries among the first 50(k+1) "
        f"experiments, the others are off by {off}: the axis is experiment order at {hours:g} GPU hours "
        "each, not measured cost",
        effect=exact / len(printed),
        n=len(printed),
        test="exact comparison",
        evidence_path=SOURCE,
        our_value=f"{exact} of {len(printed)} exact",
        note="runs differ in cost by their mixers, and the second stage, which decides a discovery, is not on the axis",
    )


@decides("C11b")
def rate_is_constant(evidence):
    """One Poisson rate (dispersion test) at two block widths, over all blocks and without the cold start."""
    from scipy.stats import linregress

    cold = evidence.paper.printed["pool"]["cold_start"]
    blocks = {width: per_block(evidence, width) for width in WIDTHS}
    whole = {width: dispersion_p(counts) for width, counts in blocks.items()}
    warm = {width: dispersion_p(counts[-(-cold // width) :]) for width, counts in blocks.items()}
    order, wide = by_order(evidence), blocks[WIDTHS[-1]]
    uneven = "contradicted" if max(warm.values()) < 0.05 else "partly"
    p_values = "; ".join(f"blocks of {w}: p={whole[w]:.2g}, {warm[w]:.2g} after the cold start" for w in WIDTHS)
    return Verdict(
        "C11b",
        "reproduced" if min(whole.values()) > 0.05 else uneven,
        f"discoveries per {WIDTHS[-1]} experiments: {', '.join(map(str, wide))}. One rate? {p_values}. The "
        f"cumulated count fits a line with R² = {linregress(range(len(order)), order).rvalue ** 2:.3f}, as "
        "cumulated counts do",
        effect=sum(wide) / len(wide),
        n=sum(wide),
        test="Poisson dispersion at two block widths",
        evidence_path=SOURCE,
        our_value=f"{min(wide)} to {max(wide)} discoveries per {WIDTHS[-1]} experiments",
        note="rates are per experiment, since the axis is experiment order (C11a); no control search was run (C11c)",
    )


def per_block(evidence, width):
    """Discoveries in each full block of experiments."""
    index, last = evidence.paper.gallery_index, evidence.paper.printed["counts"]["experiments"]
    return [sum(start < i <= start + width for i in index) for start in range(0, last - width + 1, width)]


def dispersion_p(counts):
    """P(counts scatter at least so much | one Poisson rate): chi-square of sum (c - mean)² / mean."""
    from scipy.stats import chi2

    mean = sum(counts) / len(counts)
    return float(chi2.sf(sum((count - mean) ** 2 for count in counts) / mean, len(counts) - 1))

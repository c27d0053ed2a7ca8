"""Table 3: where the components of the discoveries come from, as a language model labelled them."""

from __future__ import annotations

import math

from asiarc.evidence import Verdict, decides

SOURCE = "reproductions/data/table3.csv"
COMPONENTS = 5_000  # "about", Figure 7, all models together


def gallery_components(evidence):
    """Components in the gallery, had all models equally many; the paper prints no count."""
    counts = evidence.paper.printed["counts"]
    return round(COMPONENTS * counts["discoveries"] / counts["experiments"])


@decides("C12a")
def discoveries_draw_more_on_experience(evidence):
    """Difference of two shares with its binomial interval; the third row must lie between the other two."""
    table = evidence.paper.table3
    ours, others, both = (table[group] for group in ("Model Gallery", "Others", "All"))
    n = gallery_components(evidence)
    gap = ours.experience - others.experience
    shares = ((ours.experience / 100, n), (others.experience / 100, COMPONENTS - n))
    radius = 196 * math.sqrt(sum(share * (1 - share) / count for share, count in shares))
    sums = [row.experience + row.cognition + row.originality for row in table.values()]
    mixed = all(
        min(a, b) - 0.05 <= c <= max(a, b) + 0.05
        for a, b, c in zip(
            *((row.experience, row.cognition, row.originality) for row in (ours, others, both)), strict=True
        )
    )
    consistent = mixed and all(abs(total - 100) < 0.11 for total in sums)
    a_model = COMPONENTS / evidence.paper.printed["counts"]["experiments"]
    clear = gap > radius * math.sqrt(a_model)
    return Verdict(
        "C12a",
        "contradicted" if gap <= 0 else "inconclusive" if gap <= radius else "reproduced" if consistent and clear
        else "partly",
        f"{ours.experience} % against {others.experience} %: {gap:+.1f} points; the rows add up and mix "
        f"{'as they should' if consistent else 'inconsistently'}",
        effect=gap,
        low=gap - radius,
        high=gap + radius,
        n=COMPONENTS,
        test=f"binomial difference, {n} gallery components assumed",
        evidence_path=SOURCE,
        our_value=f"{gap:+.1f} points",
        note=f"a model's {a_model:.1f} components are not independent: a design effect of {(gap / radius) ** 2:.1f} "
        "leaves no difference; labels that one language model gave; later models see more experience, and discoveries "
        "are late",
    )


@decides("C12b")
def experience_outweighs_cognition(evidence):
    """Which origin is the larger among the discoveries."""
    row = evidence.paper.table3["Model Gallery"]
    gap = row.experience - row.cognition
    # Two shares of one multinomial: var(a - b) = (a + b - (a - b)²) / n.
    a, b, n = row.experience / 100, row.cognition / 100, gallery_components(evidence)
    radius = 196 * math.sqrt((a + b - (a - b) ** 2) / n)
    return Verdict(
        "C12b",
        "reproduced" if gap > radius else "contradicted" if gap < -radius else "inconclusive",
        f"among the discoveries {row.experience} % come from experience and {row.cognition} % from "
        f"cognition: {gap:+.1f} points",
        effect=gap,
        low=gap - radius,
        high=gap + radius,
        n=n,
        test=f"multinomial difference, {n} gallery components assumed",
        evidence_path=SOURCE,
        our_value=f"{gap:+.1f} points",
        note="what the table shows is a shift toward experience, not its predominance: cognition keeps "
        "the larger share",
    )

"""Figure 8: do the search's models grow?"""

from __future__ import annotations

import math

from asiarc.evidence import Verdict, decides

SOURCE = "reproductions/data/figure8.csv"


@decides("C10b")
def models_do_not_grow(evidence):
    """The share above 600M parameters from the second block to the last, with its binomial interval."""
    rows = evidence.paper.figure8
    block = rows[0].up_to
    large = [sum(row.shares[1:]) / sum(row.shares) for row in rows]
    rise = large[-1] - large[1]
    radius = 1.96 * math.sqrt(sum(share * (1 - share) / block for share in (large[1], large[-1])))
    settled = large[-1] - large[2]
    return Verdict(
        "C10b",
        "contradicted" if rise > radius else "reproduced" if abs(rise) < radius else "inconclusive",
        "above 600M: "
        + ", ".join(f"{share:.0%}" for share in large)
        + f" in blocks of {block}; from the second block to "
        f"the last {100 * rise:+.0f} points, from the third {100 * settled:+.0f}",
        effect=rise,
        low=rise - radius,
        high=rise + radius,
        n=2 * block,
        test="difference of two binomial shares",
        evidence_path=SOURCE,
        our_value=f"{100 * rise:+.0f} points",
        note='level from the third block on; that would make the "initial phase" 700 of 1,773 experiments',
    )

"""What is said of the 106 as a whole: where the five headline models come from, how new they are, their luck."""

from __future__ import annotations

from asiarc.evidence import Verdict, decides
from asiarc.evidence.shares import wilson

SOURCE = "reproductions/data/printed.toml"
BY_LUCK = 0.25  # of models equal to the baseline, those that beat it in two measures that know nothing of each other


@decides("C35")
def architectures_are_novel(evidence):
    """How many of the released programs put together the same parts, each of which was published before."""
    found = evidence.paper.printed["programs"]
    same, programs = found["one_pattern"], found["examined"]
    low, high = wilson(same, programs)
    return Verdict(
        "C35",
        "contradicted" if same == programs else "partly" if low > 0.5 else "reproduced",
        f"{same} of {programs} programs are a delta rule, a convolution of values, the values themselves and a learned "
        f"gate over them, {found['pair_of_filters']} with a short and a long filter: parts that were published before, "
        "in combinations that were not looked for in the literature",
        effect=same / programs,
        low=low,
        high=high,
        n=programs,
        test="count of parts in the programs, Wilson interval",
        evidence_path=SOURCE,
        our_value=f"{same} of {programs} are one pattern",
        note="no check against prior art was published; deciding it takes a search of the literature for each program",
    )


@decides("C36")
def the_five_are_among_the_discoveries(evidence):
    """Names of Table 1's discovered models against the names of all discoveries."""
    names = {row.model for row in evidence.paper.table2} | set(evidence.paper.untabulated)
    five = [row.model for row in evidence.paper.table1 if row.discovered]
    missing = [model for model in five if model not in names]
    present = len(five) - len(missing)
    return Verdict(
        "C36",
        "contradicted" if present < len(five) / 2 else "partly" if missing else "reproduced",
        f"{present} of {len(five)} are among the discoveries"
        + (f"; {', '.join(missing)} are not, under that name" if missing else ""),
        effect=present / len(five),
        n=len(five),
        test="comparison of names",
        evidence_path="reproductions/data/table2.csv",
        our_value=f"{present} of {len(five)}",
        note="nodes of the tree carry the missing names: of experiments that the release does not count as discoveries",
    )


@decides("C37")
def discoveries_are_more_than_luck(evidence):
    """Discoveries over models trained at 340M, against what equal models would show on two independent measures."""
    counts = evidence.paper.printed["counts"]
    found, trained = counts["discoveries"], counts["trained_at_340m"]
    low, high = wilson(found, trained)
    return Verdict(
        "C37",
        "reproduced" if low > BY_LUCK else "contradicted" if high < BY_LUCK else "inconclusive",
        f"{found} of about {trained} trained at 340M beat Gated DeltaNet in loss and in score: {found / trained:.0%} "
        f"[{low:.0%}, {high:.0%}]; of models equal to it {BY_LUCK:.0%} would, and more where the two go together",
        effect=found / trained,
        low=low,
        high=high,
        n=trained,
        test="share, Wilson interval, against a quarter",
        evidence_path=SOURCE,
        our_value=f"{found / trained:.0%}",
        note="losses and scores of the others are not released; with them the gains themselves would decide (C07e)",
    )


@decides("C38")
def two_stages_save_compute(evidence):
    """Hours with a first stage and without, and whether the first stage knows what the second finds."""
    from asiarc.evidence.transfer import rank_correlation

    compute, counts, rows = evidence.paper.printed["compute"], evidence.paper.printed["counts"], evidence.paper.table2
    each = compute["gpu_hours_verification"] / counts["trained_at_340m"]
    both, alone = compute["gpu_hours_abstract"], each * counts["experiments"]
    found = {
        what: rank_correlation(*([getattr(row, f"{what}_{size}") for row in rows] for size in ("20m", "340m")))
        for what in ("loss", "score")
    }
    knows = [one.transfers for one in found.values()]
    saves = both < alone
    told = ", ".join(f"{what} {c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}]" for what, c in found.items())
    return Verdict(
        "C38",
        "contradicted" if not saves or not any(knows) else "reproduced" if all(knows) else "partly",
        f"{both:,} GPU hours in two stages, {alone:,.0f} had all been trained at 340M: {1 - both / alone:.0%} "
        f"saved; of what the first stage sees, ranks carry over to the second by {told}",
        effect=1 - both / alone,
        n=counts["experiments"],
        test="arithmetic; Spearman, Bonett-Wright interval",
        evidence_path=SOURCE,
        our_value=f"{1 - both / alone:.0%} saved",
        note="any cheap first stage saves hours, a draw of lots included; what it finds with them is the question",
    )

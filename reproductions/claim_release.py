"""What the authors' released tree and gallery say; decided where the user brings them (``--release
FOLDER``)."""

from __future__ import annotations

from asiarc.core.errors import EvidenceError
from asiarc.evidence import Verdict, decides
from asiarc.evidence.release import (
    ELITE,
    POOL,
    gallery_findings,
    paper_findings,
    read_release,
    search_findings,
    tree_findings,
)


def released(evidence):
    """The release that the user brought."""
    if evidence.release_path is None:
        raise EvidenceError(
            "needs the authors' tree.json and 106.json (the `data` folder of their repository): pass --release FOLDER"
        )
    return read_release(evidence.release_path)


@decides("C01")
def experiments_are_recorded(evidence):
    """Nodes of the tree against the printed count."""
    tree, claimed = tree_findings(released(evidence)), evidence.paper.printed["counts"]["experiments"]
    return Verdict(
        "C01",
        "reproduced" if abs(tree.nodes - claimed) <= 1 else "contradicted",
        f"{tree.nodes:,} nodes are released, with indices to {tree.last_index:,}",
        effect=tree.nodes - claimed,
        n=tree.nodes,
        test="count",
        evidence_path="tree.json",
        our_value=f"{tree.nodes:,}",
        note=f"to within one; {tree.last_index - tree.nodes} indices are missing, and failed runs leave no record",
    )


@decides("C03")
def parents_come_from_the_elite(evidence):
    """Cold start from the order of indices; parents against the rebuilt pool of their time."""
    found, pool = search_findings(released(evidence)), evidence.paper.printed["pool"]
    cold = found.first_other_parent > pool["cold_start"]
    verdict = "partly" if cold or found.parents_in_pool > 0.9 else "contradicted"
    return Verdict(
        "C03",
        "reproduced" if cold and found.parents_in_elite > 0.9 else verdict,
        f"only the root has children before experiment {found.first_other_parent}; of later parents "
        f"{found.parents_in_pool:.0%} were in the top {POOL} of their time, {found.parents_in_elite:.0%} "
        f"in the top {ELITE} at the refresh before ({found.parents_ever_in_elite:.0%} at any time before)",
        effect=found.parents_in_elite,
        n=found.children,
        test="pool rebuilt from stored fitness",
        evidence_path="tree.json",
        our_value=f"{found.parents_in_elite:.0%} from the top {ELITE}",
        note="runs overlap and a pool may lag behind; a lag alone does not put half of the parents below rank 10",
    )


@decides("C04a")
def pool_settles_where_printed(evidence):
    """Mean fitness of the 50 best, over three."""
    found, printed = search_findings(released(evidence)), evidence.paper.printed["figure6b"]["total"]
    last = max(found.top_pool)
    ours = found.top_pool[last]
    return Verdict(
        "C04a",
        "reproduced" if abs(ours - printed) < 0.0006 else "contradicted",
        "mean of the top 50: " + ", ".join(f"{mean:.3f} @{n}" for n, mean in found.top_pool.items()),
        effect=ours - printed,
        n=last,
        test="exact arithmetic",
        evidence_path="tree.json",
        our_value=f"{ours:.4f}",
    )


@decides("C04b")
def proposals_improve(evidence):
    """Slope of new proposals over the second half, and children against unrelated proposals of their time."""
    found = search_findings(released(evidence))
    better = found.children_above_parent > found.strangers_above_parent
    flat = found.late_slope_low <= 0
    return Verdict(
        "C04b",
        "reproduced" if better and not flat else "contradicted" if flat and not better else "partly",
        f"over the second half new proposals change by {found.late_slope:+.3f} of 3 per 1,000 experiments; "
        f"{found.children_above_parent:.1%} of children beat their parent, "
        f"{found.strangers_above_parent:.1%} of unrelated proposals of the same time beat that same parent",
        effect=found.late_slope,
        low=found.late_slope_low,
        high=found.late_slope_high,
        n=found.children,
        test="least squares over the second half; unrelated proposals as control",
        evidence_path="tree.json",
        our_value=f"{found.children_above_parent:.1%} of children",
        note="the early rise, before about experiment 500, is real: see C04a's curve",
    )


@decides("C07g")
def runs_finished(evidence):
    """Loss curves that are not a number, and last losses against Table 2."""
    release = released(evidence)
    found, table = gallery_findings(release, promising=1_350), paper_findings(release, evidence.paper)
    broken = ", ".join(f"{name} ({count} steps)" for name, count in found.not_a_number.items())
    return Verdict(
        "C07g",
        "contradicted" if broken or table.disagree else "reproduced",
        f"{table.rows_that_agree} of {table.rows} rows agree with the release; not a number in the "
        f"release: {broken or 'none'}",
        effect=table.rows_that_agree / table.rows,
        n=table.rows,
        test="exact comparison",
        evidence_path="106.json",
        our_value=f"{table.rows_that_agree} of {table.rows}",
        note=f"Table 2 prints a loss for {', '.join(table.disagree)} all the same" if table.disagree else "",
    )


@decides("C07h")
def metrics_are_the_same(evidence):
    """Gated DeltaNet's distance from the discoveries' trend on loss, task by task."""
    trends = paper_findings(released(evidence), evidence.paper).task_trends
    off = [trend for trend in trends if abs(trend.z) > 3]
    furthest = max(trends, key=lambda trend: abs(trend.z))
    return Verdict(
        "C07h",
        "not stated clearly" if off else "reproduced",
        "off the trend by more than 3 residual deviations: "
        + (", ".join(f"{t.task} ({t.z:+.1f})" for t in off) or "none")
        + "; the others "
        + ", ".join(f"{t.task} {t.z:+.1f}" for t in trends if t not in off),
        effect=furthest.z,
        n=len(trends),
        test="residual of a linear trend over the discoveries",
        evidence_path="106.json",
        our_value=f"{len(off)} of {len(trends)} tasks off",
        note="Table 1 scores those two with length normalisation: the discoveries look so scored, the "
        "baseline does not",
    )


@decides("C08c")
def fitness_finds_the_discoveries(evidence):
    """Ranks of the discoveries in first-stage fitness against a uniform draw from the promising."""
    found = gallery_findings(released(evidence), evidence.paper.printed["counts"]["promising"])
    promising = evidence.paper.printed["counts"]["promising"]
    p = found.uniform_p
    if p is None:
        raise EvidenceError("too few discoveries in the release to compare their ranks with chance")
    high = found.rank_quartiles[1] < promising / 2
    return Verdict(
        "C08c",
        "contradicted" if p > 0.05 else "reproduced" if high else "partly",
        f"median rank {found.rank_quartiles[1]:,.0f}, {found.in_top_50} of {found.members} in the top 50; "
        f"against a random draw from the promising {promising:,}: p={p:.2f}",
        effect=found.rank_quartiles[1],
        low=found.rank_quartiles[0],
        high=found.rank_quartiles[2],
        n=found.members,
        test="Kolmogorov-Smirnov; low and high are quartiles",
        evidence_path="tree.json, 106.json",
        our_value=f"median rank {found.rank_quartiles[1]:,.0f}",
        note="passing the first gate did matter: few discoveries rank below the promising",
    )


@decides("C10c")
def sizes_are_one(evidence):
    """Released parameter counts against the smallest, which is about DeltaNet's."""
    found = gallery_findings(released(evidence), evidence.paper.printed["counts"]["promising"])
    smallest, middle, largest = found.parameters_m
    return Verdict(
        "C10c",
        "contradicted"
        if found.outside_2_percent > found.members / 2
        else "reproduced"
        if not found.outside_2_percent
        else "partly",
        f"{smallest:.1f}M to {largest:.1f}M, median {middle:.1f}M; {found.outside_2_percent} of "
        f"{found.members} lie more than 2 % above the smallest",
        effect=middle / smallest - 1,
        low=0.0,
        high=largest / smallest - 1,
        n=found.members,
        test="count; low and high are the extremes",
        evidence_path="106.json",
        our_value=f"{smallest:.0f}M to {largest:.0f}M",
    )


@decides("C14a")
def names_are_not_reused(evidence):
    """Internal names that stand for more than one node."""
    tree = tree_findings(released(evidence))
    return Verdict(
        "C14a",
        "contradicted" if tree.reused_names else "reproduced",
        f"{tree.reused_names} internal names stand for more than one of {tree.nodes:,} nodes",
        effect=tree.reused_names,
        n=tree.nodes,
        test="count",
        evidence_path="tree.json",
        our_value=str(tree.reused_names),
        note="two ideas may share a name and two names an idea; results are looked up by name in the public code",
    )


@decides("C21b")
def fitness_predicts_the_score(evidence):
    """Spearman's rank correlation of first-stage fitness, judge included, with the score at 340M."""
    found = paper_findings(released(evidence), evidence.paper).fitness_to_score
    undecided = "partly" if found.transfers else "inconclusive"
    return Verdict(
        "C21b",
        "reproduced" if found.low > 0.5 else "contradicted" if found.high < 0.3 else undecided,
        found.explain(),
        effect=found.rho,
        low=found.low,
        high=found.high,
        n=found.n,
        test="Spearman, Bonett-Wright interval",
        evidence_path="tree.json, reproductions/data/table2.csv",
        our_value=f"{found.rho:+.2f}",
        note="only winners at 340M are tabulated, which weakens any correlation",
    )

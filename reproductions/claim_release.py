"""What the authors' released tree and gallery say: their numbers, which are shipped as one table, or the files that a
user brings (``--release FOLDER``)."""

from __future__ import annotations

import math

from asiarc.core.errors import EvidenceError
from asiarc.evidence import Verdict, decides
from asiarc.evidence.paper import item_error
from asiarc.evidence.release import ELITE, POOL, gallery_findings, paper_findings, search_findings, tree_findings
from asiarc.evidence.shares import wilson
from asiarc.studies.verdicts import progress, stance

SOURCE = "reproductions/data/released.csv"
EQUAL = 1.02  # sizes that count as one
LATE = 800  # experiments after which Figure 6's components are said to go on improving
USEFUL_FITNESS = 0.1  # of 3: a fifth of the spread of all fitnesses
NORMALISED = {"arc_challenge", "hellaswag"}  # what Table 1 scores by length-normalised accuracy


@decides("C01")
def experiments_are_recorded(evidence):
    """Nodes of the tree against the printed count; whose hand was in between leaves no trace in it."""
    tree, claimed = tree_findings(evidence.release), evidence.paper.printed["counts"]["experiments"]
    return Verdict(
        "C01",
        "partly" if abs(tree.nodes - claimed) <= 1 else "contradicted",
        f"{tree.nodes:,} nodes are released, with indices to {tree.last_index:,}; whether a person stepped in is in no "
        "released record (C34)",
        effect=tree.nodes - claimed,
        n=tree.nodes,
        test="count",
        evidence_path=SOURCE,
        our_value=f"{tree.nodes:,}",
        note=f"to within one; {tree.last_index - tree.nodes} indices are missing, and failed runs leave no record",
    )


@decides("C03")
def parents_come_from_the_elite(evidence):
    """Cold start from the order of indices; parents against the rebuilt pool of their time."""
    found, pool = search_findings(evidence.release), evidence.paper.printed["pool"]
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
        evidence_path=SOURCE,
        our_value=f"{found.parents_in_elite:.0%} from the top {ELITE}",
        note="runs overlap and a pool may lag behind; a lag alone does not put half of the parents below rank 10",
    )


@decides("C04a")
def pool_settles_where_printed(evidence):
    """Mean fitness of the 50 best, over three."""
    found, printed = search_findings(evidence.release), evidence.paper.printed["figure6b"]["total"]
    last = max(found.top_pool)
    ours = found.top_pool[last]
    return Verdict(
        "C04a",
        "reproduced" if abs(ours - printed) < 0.0006 else "contradicted",
        "mean of the top 50: " + ", ".join(f"{mean:.3f} @{n}" for n, mean in found.top_pool.items()),
        effect=ours - printed,
        n=last,
        test="exact arithmetic",
        evidence_path=SOURCE,
        our_value=f"{ours:.4f}",
    )


@decides("C04b")
def proposals_improve(evidence):
    """The rule of C04c: proposals over the second half, and children against unrelated proposals of their time."""
    found = search_findings(evidence.release)
    trend, edge = found.late_trend, found.edge
    if trend is None or edge is None:
        raise EvidenceError(f"{found.children} children of later parents are too few to tell a trend")
    return Verdict(
        "C04b",
        progress(trend, edge),
        f"over the second half a proposal's place and its fitness correlate by {trend.rho:+.2f} [{trend.low:+.2f}, "
        f"{trend.high:+.2f}], {found.late_slope:+.3f} of 3 per 1,000 experiments; "
        f"{found.children_above_parent:.1%} of children beat their parent, "
        f"{found.strangers_above_parent:.1%} of unrelated proposals of the same time beat that same parent",
        effect=edge.mean,
        low=edge.low,
        high=edge.high,
        n=found.children,
        test=f"children less strangers, {edge.test}; Spearman of place and fitness over {trend.n}",
        evidence_path=SOURCE,
        our_value=f"{found.children_above_parent:.1%} of children",
        note="the early rise, before about experiment 500, is real: see C04a's curve",
    )


@decides("C07g")
def runs_finished(evidence):
    """Loss curves that are not a number, and last losses against Table 2."""
    release = evidence.release
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
        evidence_path=SOURCE,
        our_value=f"{table.rows_that_agree} of {table.rows}",
        note=f"Table 2 prints a loss for {', '.join(table.disagree)} all the same" if table.disagree else "",
    )


@decides("C07h")
def metrics_are_the_same(evidence):
    """Gated DeltaNet's distance from the discoveries' trend on loss, task by task."""
    trends = paper_findings(evidence.release, evidence.paper).task_trends
    off = [trend for trend in trends if abs(trend.z) > 3]
    is_scoring = {trend.task for trend in off} == NORMALISED and all(trend.z < 0 for trend in off)
    furthest = max(trends, key=lambda trend: abs(trend.z))
    return Verdict(
        "C07h",
        "contradicted" if is_scoring else "partly" if off else "reproduced",
        "off the trend by more than 3 residual deviations: "
        + (", ".join(f"{t.task} ({t.z:+.1f})" for t in off) or "none")
        + "; the others "
        + ", ".join(f"{t.task} {t.z:+.1f}" for t in trends if t not in off),
        effect=furthest.z,
        n=len(trends),
        test="residual of a linear trend over the discoveries",
        evidence_path=SOURCE,
        our_value=f"{len(off)} of {len(trends)} tasks off",
        note="Table 1 scores exactly those two with length normalisation: the discoveries look so scored, the baseline "
        "does not" if is_scoring else "",
    )


@decides("C08c")
def fitness_finds_the_discoveries(evidence):
    """Ranks of the discoveries in first-stage fitness against a uniform draw from the promising."""
    found = gallery_findings(evidence.release, evidence.paper.printed["counts"]["promising"])
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
        evidence_path=SOURCE,
        our_value=f"median rank {found.rank_quartiles[1]:,.0f}",
        note="passing the first gate did matter: few discoveries rank below the promising",
    )


@decides("C10c")
def sizes_are_one(evidence):
    """Released parameter counts against the smallest, which is about DeltaNet's."""
    found = gallery_findings(evidence.release, evidence.paper.printed["counts"]["promising"])
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
        evidence_path=SOURCE,
        our_value=f"{smallest:.0f}M to {largest:.0f}M",
    )


@decides("C14a")
def names_are_not_reused(evidence):
    """Internal names that stand for more than one node."""
    tree = tree_findings(evidence.release)
    return Verdict(
        "C14a",
        "contradicted" if tree.reused_names else "reproduced",
        f"{tree.reused_names} internal names stand for more than one of {tree.nodes:,} nodes",
        effect=tree.reused_names,
        n=tree.nodes,
        test="count",
        evidence_path=SOURCE,
        our_value=str(tree.reused_names),
        note="two ideas may share a name and two names an idea; results are looked up by name in the public code",
    )


@decides("C21b")
def fitness_predicts_the_score(evidence):
    """Spearman's rank correlation of first-stage fitness, judge included, with the score at 340M."""
    found = paper_findings(evidence.release, evidence.paper).fitness_to_score
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
        evidence_path=SOURCE,
        our_value=f"{found.rho:+.2f}",
        note="only winners at 340M are tabulated, which weakens any correlation",
    )


@decides("C39")
def parents_of_the_elite_pay(evidence):
    """Children of the top ten of their time against other children of the same hundred experiments."""
    found = search_findings(evidence.release)
    gain = found.elite_advantage
    if gain is None:
        raise EvidenceError("no hundred experiments have children of the top ten and of others")
    return Verdict(
        "C39",
        stance({"top ten over others": gain}, useful=USEFUL_FITNESS),
        f"children of the top {ELITE} gain {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] of 3 over other later "
        f"children of the same hundred experiments; {found.parents_in_elite:.0%} of later parents were in that top",
        effect=gain.mean,
        low=gain.low,
        high=gain.high,
        n=gain.n,
        test=f"{gain.test} over blocks of 100 experiments",
        evidence_path=SOURCE,
        our_value=f"{gain.mean:+.3f} of 3",
        note="other parents come from the pool of 50 too: what is compared is the ten with the rest; less than "
        f"{USEFUL_FITNESS} is not worth a policy",
    )


@decides("C41")
def late_gain_by_term(evidence):
    """The judge's part of what the top 50 gained after 800 experiments: read from the figure, the total is exact."""
    printed, top = evidence.paper.printed, search_findings(evidence.release).top_pool
    late = printed["figure6b_at_800"]
    if len(top) < 2 or LATE not in top or (total := 3 * (top[max(top)] - top[LATE])) <= 0:
        raise EvidenceError(f"the released pool has no gain after experiment {LATE}")
    judged = printed["figure6b"]["judge"] - late["judge"]
    read_to = late["reading_error"]
    share, low, high = (max(0.0, judged + error) / total for error in (0.0, -read_to, read_to))
    return Verdict(
        "C41",
        "contradicted" if low > 0.5 else "reproduced" if high < 0.5 else "inconclusive",
        f"after experiment {LATE} the three terms of the top {POOL} gain {total:.3f} together, the judge's {judged:.3f}"
        f": {share:.0%} [{low:.0%}, {high:.0%}]",
        effect=share,
        low=low,
        high=high,
        n=POOL,
        test=f"arithmetic; the curve of the judge is read to {read_to}",
        evidence_path=SOURCE,
        our_value=f"{share:.0%} is the judge's",
        note="terms are means over the pool of each time; the release holds no term of any node",
    )


@decides("C42")
def lineages_are_many(evidence):
    """How much of the tree, and of the discoveries, descends from one node other than the root."""
    tree = tree_findings(evidence.release)
    if not tree.busiest:
        raise EvidenceError("no node other than the root has a child: there are no lineages to compare")
    node, below = max(tree.busiest.items(), key=lambda item: item[1])
    found, members = tree.busiest_in_gallery[node], len(evidence.release.gallery)
    low, high = wilson(found, members)
    return Verdict(
        "C42",
        "contradicted" if low > 0.5 else "reproduced" if high < 0.25 else "partly",
        f"{below:,} of {tree.nodes:,} experiments ({below / tree.nodes:.0%}) and {found} of {members} discoveries "
        f"descend from experiment {node}; {tree.parents} experiments were ever a parent",
        effect=found / members,
        low=low,
        high=high,
        n=members,
        test="share of the discoveries, Wilson interval",
        evidence_path=SOURCE,
        our_value=f"{found} of {members} from one",
    )


@decides("C44")
def discoveries_of_the_baselines_size(evidence):
    """The discoveries within 2 % of the smallest, against the printed Gated DeltaNet in loss and in score."""
    base = evidence.paper.table2_baselines["Gated DeltaNet"]
    smallest = min(member.parameters_m for member in evidence.release.gallery)
    equal = [m for m in evidence.release.gallery if m.parameters_m <= EQUAL * smallest]
    ahead = sum(m.losses[-1] < base.loss_340m and m.score > base.score_340m for m in equal)
    clear = sum(m.score - base.score_340m > 1.96 * math.sqrt(2) * item_error(evidence.paper) for m in equal)
    everyone = ahead == len(equal)
    return Verdict(
        "C44",
        "reproduced" if everyone and clear > len(equal) / 2 else "partly" if ahead > len(equal) / 2 else "contradicted",
        f"{len(equal)} of {len(evidence.release.gallery)} lie within 2 % of the smallest ({smallest:.1f}M); {ahead} of "
        f"them have lower loss and higher score, {clear} by more than 1.96 standard errors of a score",
        effect=ahead / len(equal),
        n=len(equal),
        test="count; binomial item error",
        evidence_path=SOURCE,
        our_value=f"{ahead} of {len(equal)}",
        note="one run each; the baseline's own size is not stated, and its metrics look different (C07h)",
    )

"""What the closed loop is worth: arms at equal compute, and what the shipped campaign's own candidates say.

Without the analyst there is no insight and nothing to look up in the cognition base; best-of-N draws every
candidate from the start's own neighbourhood and learns nothing. The repeat is the unit: n is the number of repeats,
not of candidates or seeds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from asiarc.archive.results import address_in, paired_by_seed
from asiarc.core.errors import EvidenceError
from asiarc.core.genome import Genome
from asiarc.core.seeds import rng_of
from asiarc.evidence import Verdict, decides
from asiarc.evidence.effects import paired_effect
from asiarc.evidence.shares import wilson
from asiarc.evidence.transfer import rank_correlation
from asiarc.researcher.grammar import GrammarResearcher
from asiarc.studies import Search
from asiarc.studies.arms import DISCOVERY, FULL, first_rung_gains
from asiarc.studies.verdicts import USEFUL, both, progress, stance, told, verdict
from asiarc.tasks import get_task

RESAMPLES = 2_000
WITH_A_MODEL = "small_model"  # the campaign in which a language model proposes, and mends what is handed back
WORTH = 0.1  # of what is handed back, the share whose repair is worth the calls
STUBBORN, MENDED = "a look ahead", "mended"


FAULTS = {
    "a syntax error": ("def forward(self,", "def forward(self,,"),
    "an exception": ("b t h v -> b t (h v)", "b t h -> b t h"),
    "not a number": ("rearrange(o_BTHV,", "rearrange((-1 - o_BTHV.abs()).sqrt(),"),
    "a look ahead": ("rearrange(o_BTHV,", "rearrange(o_BTHV.roll(-1, dims=1),"),
}


class Faulty(GrammarResearcher):
    """The grammar with a fault planted in every second candidate, each kind in turn; mends all but the look ahead."""

    def propose(self, context):
        proposal = super().propose(context)
        if context.index % 2 == 0:
            return proposal
        kind = list(FAULTS)[context.index // 2 % len(FAULTS)]
        right, wrong = FAULTS[kind]
        assert right in proposal.source, f"the grammar writes {right!r} in every source"
        return replace(proposal, source=proposal.source.replace(right, wrong), genome=None, predicted=kind)

    def revise(self, proposal, failure, number, version):
        right, wrong = FAULTS.get(proposal.predicted, ("", ""))
        stays = proposal.predicted in (MENDED, STUBBORN) or not wrong
        source = proposal.source if stays else proposal.source.replace(wrong, right)
        return replace(proposal, source=source, predicted=proposal.predicted if stays else MENDED)


class Unchecked(GrammarResearcher):
    """The grammar, not told what was proposed before."""

    def propose(self, context):
        return super().propose(replace(context, known=frozenset()))


# 20 candidates are five generations. With 10 and one seed the budget's full runs all went to the first
# generation, which arms share, and every arm but random named the same winner (results/LOG.md)
ENOUGH = {"repeats": 6, "candidates": 20, "explore_seeds": 2}
arms = Search(arms=(FULL, "random", "best_of_n", "no_analyst", "no_cognition"), **ENOUGH)
unchecked = Search(arms=("no_novelty",), researcher=Unchecked(), **ENOUGH)
faults = Search(researcher=Faulty(), repeats=2, candidates=12)


def origins(found):
    """Where the elements of the full loop's candidates came from, of all and of the winners; exact, noted when made."""
    kinds = {"all": Counter(), "winners": Counter()}
    for repeat in range(found.search.repeats):
        for row in found.archive.proposals(found.run_of(FULL, repeat)):
            here = Counter(origin["kind"] for origin in row["origins"])
            kinds["all"] += here
            if found.winners[FULL, repeat] == row["address"]:
                kinds["winners"] += here
    return ", ".join(
        f"{who}: " + " ".join(f"{kind} {count / counts.total():.0%}" for kind, count in sorted(counts.items()))
        for who, counts in kinds.items()
    )


def of_scored(hits, scored):
    """``40 of 93 (0.43)``."""
    return f"{hits} of {scored}" + (f" ({hits / scored:.2f})" if scored else "")


def told_ends(ended):
    """What a gate or a cap refused, and what broke."""
    return f"{ended['refused']} and {ended['failed']}"


def against_arms(claim, evidence, others, note=lambda found: ""):
    """The full loop's winners against each arm's, in bits a byte gained over the start.

    An arm that named the full loop's own winner every time says nothing: what it lacks never came into play.
    """
    found = arms.result(evidence.archive, evidence.tier, "arms")
    effects = {f"full over {arm}": found.advantage(FULL, arm) for arm in others}
    same = {arm: found.same_winner(FULL, arm) for arm in others}
    silent = found.search.repeats in same.values()
    later = {f"full over {arm}": found.later_advantage(FULL, arm) for arm in others}
    means = ", ".join(
        f"{arm} {sum(won.values()) / len(won):+.3f}" for arm in (FULL, *others) if (won := found.gains(arm))
    )
    shared = ", ".join(f"{arm} {count} of {found.search.repeats}" for arm, count in same.items())
    hits = ", ".join(f"{arm} {of_scored(*found.discoveries(arm))}" for arm in (FULL, *others))
    ends = ", ".join(f"{arm} {told_ends(found.ended(arm))}" for arm in (FULL, *others))
    return verdict(
        claim, "inconclusive" if silent else stance(effects, useful=USEFUL), effects, run=found.run,
        subject=f"winners' gain over the start in bits on {found.search.task}, difference",
        note=f"mean gains: {means}; the full loop's own winner in {shared} repeats; first-rung gain after the first "
        f"generation: {told(later)}; of those scored after it, beat the start by {DISCOVERY} bits at once: {hits}; "
        f"refused and failed: {ends}{note(found)}",
    )  # fmt: skip


@decides("C11c")
def the_loop_against_no_loop(evidence):
    """Random candidates and best-of-N with the same number of candidates, rungs and seeds."""
    return against_arms("C11c", evidence, ("random", "best_of_n"))


@decides("C12c")
def the_loop_without_its_parts(evidence):
    """Without the cognition base, and without the analyst."""
    return against_arms(
        "C12c", evidence, ("no_cognition", "no_analyst"), lambda found: f"; origins of elements, {origins(found)}"
    )


@decides("C14b")
def novelty_check_on_behaviour(evidence):
    """With the check of the program's text against without any, neither by the loop nor by the researcher.

    That copies of a program become fewer is what the check is; the claim asks for fewer programs that behave alike.
    """
    told_known = arms.result(evidence.archive, evidence.tier, "arms")
    untold = unchecked.result(evidence.archive, evidence.tier, "unchecked")
    repeats = range(min(told_known.search.repeats, untold.search.repeats))
    effects, shares = {}, []
    for what, copies in (("fewer repeats with the check", True), ("fewer but for copies", False)):
        checked = {repeat: told_known.repeated(FULL, repeat, copies=copies) for repeat in repeats}
        free = {repeat: untold.repeated("no_novelty", repeat, copies=copies) for repeat in repeats}
        effects[what] = paired_effect(checked, free, higher_is_better=False)
        shares += [f"{sum(side.values()) / len(side):.1%}" for side in (checked, free)]
    return verdict(
        "C14b", both(*(stance({what: effect}, useful=USEFUL) for what, effect in effects.items())), effects,
        run=untold.run,
        subject=f"proposals that compute what an earlier one does: {shares[0]} with the check, {shares[1]} without; "
        f"but for copies of a program {shares[2]} and {shares[3]}",
        note="the check compares programs; behaviour is compared by outputs on fixed probes with fixed weights",
    )  # fmt: skip


def ends_of_faults(found):
    """(fault, how it ended) to their number, and how many proposals have no end."""
    ends, lost = Counter(), 0
    for repeat in range(found.search.repeats):
        run = found.run_of(FULL, repeat)
        results = {row["number"]: row["outcome"] for row in found.archive.results(run)}
        for row in found.archive.proposals(run):
            outcome = results.get(row["number"])
            lost += outcome is None
            if row["number"] % 2 and outcome is not None:
                ends[row["predicted"], outcome.gate or outcome.kind] += 1
    return ends, lost


def revised_by_a_model(evidence):
    """Of a search with a language model: (revised and scored in the end, handed back); None where none has run.

    Only such a search can carry a claim on repair: who mends in study faults was written together with the faults.
    """
    try:
        result = evidence.campaign(WITH_A_MODEL)
    except EvidenceError:
        return None
    rows = result.archive.rows("SELECT DISTINCT number FROM versions WHERE run = ? AND version > 0", result.run)
    ends = {row["number"]: row["outcome"].kind for row in result.archive.results(result.run)}
    return sum(ends.get(row["number"]) == "scored" for row in rows), len(rows)


def told_revised(revised):
    """What a language model's revisions came to, in words."""
    if revised is None:
        return f"a scripted researcher mends; campaign {WITH_A_MODEL}, where a language model does, has not run"
    return f"of {revised[1]} proposals of a language model that were handed back {revised[0]} were scored in the end"


@decides("C19")
def faults_are_handed_back(evidence):
    """Every second candidate carries a fault: how did each end, and did the loop go on?"""
    found = faults.result(evidence.archive, evidence.tier, "faults")
    ends, lost = ends_of_faults(found)
    total, revised = sum(ends.values()), revised_by_a_model(evidence)
    mended = sum(count for (fault, end), count in ends.items() if fault == MENDED)
    through = sum(count for (fault, end), count in ends.items() if fault in FAULTS and end == "scored")
    repaired = bool(mended and revised and revised[0])
    name = "contradicted" if lost or through or not mended else "reproduced" if repaired else "partly"
    shown = ", ".join(f"{fault}: {end} {count}" for (fault, end), count in sorted(ends.items()))
    return Verdict(
        "C19",
        name,
        f"of {total} planted faults {mended} were handed back and mended, {through} were scored as they were, {lost} "
        f"proposals have no end: {shown}",
        effect=mended / total,
        n=total,
        test="count",
        evidence_path=f"run {found.run}",
        our_value=f"{mended} of {total} mended",
        note=told_revised(revised),
    )


@decides("C40")
def revision_raises_the_yield(evidence):
    """How many candidates are scored that would not have been, had they not been handed back."""
    found = faults.result(evidence.archive, evidence.tier, "faults")
    ends, _ = ends_of_faults(found)
    faulty, revised = sum(ends.values()), revised_by_a_model(evidence)
    won = sum(count for (fault, end), count in ends.items() if fault == MENDED and end == "scored")
    mended, handed_back = revised or (won, faulty)
    low, high = wilson(mended, handed_back) if handed_back else (0.0, 1.0)
    if revised is None or not handed_back:
        name = "partly" if won else "contradicted"
    else:
        name = "reproduced" if low > WORTH else "contradicted" if high < WORTH else "inconclusive"
    return Verdict(
        "C40",
        name,
        f"of {handed_back} candidates that were handed back {mended} were scored in the end: {low:.0%} to {high:.0%}",
        effect=mended / handed_back if handed_back else None,
        low=low,
        high=high,
        n=handed_back,
        test="share, Wilson interval",
        evidence_path=f"run {found.run}",
        our_value=f"{mended} of {handed_back}",
        note=told_revised(revised),
    )


# --- the shipped campaign's own candidates ----------------------------------------------------------------------------


@decides("C34")
def the_search_needs_nobody(evidence):
    """Our loop: did every proposal come from its own researcher, and has each an end?"""
    result = evidence.campaign("delta_text")
    rows = result.archive.proposals(result.run)
    ended = {row["number"] for row in result.archive.results(result.run)}
    by_hand = sum(bool(row.get("author")) for row in rows)
    lost = sum(row["number"] not in ended for row in rows)
    share = (len(rows) - by_hand - lost) / len(rows)
    return Verdict(
        "C34",
        "reproduced" if share == 1 else "partly" if share > 0.5 else "contradicted",
        f"of {len(rows)} proposals {by_hand} came from outside the loop and {lost} have no end",
        effect=share,
        n=len(rows),
        test="count",
        command=f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}",
        evidence_path=f"run {result.run}",
        our_value=f"{share:.0%} without a hand",
        note="of the paper's run no record of who did what is released; the public code stops at each duplicate idea, "
        "where it awaits a plain function",
    )


@decides("C04c")
def later_generations_propose_better(evidence):
    """The rule of C04b: the first rung's gain over the second half, and children against strangers of their
    generation."""
    result = evidence.campaign("delta_text")
    gains = first_rung_gains(result.archive, result.run, result.spec["start_from"])
    start = address_in(result.archive, result.run, result.spec["start_from"])
    rows = [row for row in result.archive.proposals(result.run) if row["address"] in gains]
    late = rows[len(rows) // 2 :]
    trend = rank_correlation([row["number"] for row in late], [gains[row["address"]] for row in late])
    whole = rank_correlation([row["number"] for row in rows], [gains[row["address"]] for row in rows])
    children, strangers = {}, {}
    for index, row in enumerate(rows):
        parent = (gains | {start: 0.0}).get(row["parents"][0]) if row["parents"] else None
        others = [
            gains[other["address"]]
            for other in rows
            if other["generation"] == row["generation"] and other["parents"][:1] != row["parents"][:1]
        ]
        if parent is not None and others:
            children[index] = float(gains[row["address"]] > parent)
            strangers[index] = sum(gain > parent for gain in others) / len(others)
    edge = paired_effect(children, strangers, higher_is_better=True)
    beat, by_chance = (sum(side.values()) / len(side) for side in (children, strangers))
    return Verdict(
        "C04c",
        progress(trend, edge),
        f"over the second half a proposal's number and its gain correlate by {trend.rho:+.2f} [{trend.low:+.2f}, "
        f"{trend.high:+.2f}] ({trend.n} proposals; over all {whole.n} by {whole.rho:+.2f}); children beat "
        f"their parent {beat:.0%} of the time, strangers of the same generation beat that parent {by_chance:.0%}",
        effect=edge.mean,
        low=edge.low,
        high=edge.high,
        n=edge.n,
        test=f"children less strangers, {edge.test}; Spearman of number and gain over {trend.n}",
        command=f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}",
        evidence_path=f"run {result.run}",
        our_value=f"trend {trend.rho:+.2f}, children {edge.mean:+.0%}",
    )


@decides("C05")
def loss_and_benchmark_improve_together(evidence):
    """The finalists on verify's fresh seeds: mean gain over the start in bits where it decides and in accuracy on the
    checks."""
    result = evidence.campaign("delta_text")
    decides = result.first_that_decides("verify")
    checks = [task for task in result.tasks("verify") if get_task(task).higher_is_better]
    start = result.baseline(result.spec["start_from"])
    pool = [result.entrant(address) for address in result.stage("verify")["entrants"]]

    def mean_by_seed(entrants, tasks):
        values = [entrant.values(task, "verify") for entrant in entrants for task in tasks]
        seeds = set.intersection(*(set(found) for found in values)) if values else set()
        return {seed: sum(found[seed] for found in values) / len(values) for seed in seeds}

    effects = {
        what: paired_by_seed(mean_by_seed(pool, tasks), mean_by_seed([start], tasks), tasks[0])
        for what, tasks in ((f"bits on {decides}", [decides]), (f"accuracy on {', '.join(checks)}", checks))
    }
    loss, benchmark = (stance({what: effect}, useful=USEFUL) for what, effect in effects.items())
    name = "contradicted" if "contradicted" in (loss, benchmark) else loss if loss == benchmark else "inconclusive"
    return replace(
        verdict("C05", name, effects, run=result.run, subject=f"mean gain of {len(pool)} finalists over the start"),
        command=f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}",
    )


@decides("C13")
def discoveries_have_a_shorter_tail(evidence):
    """Different components among the candidates of the last rung, against as many scored candidates drawn at random.

    Components are choices of the grammar: a candidate without a genome has none to count.
    """
    result = evidence.campaign("delta_text")
    genomes = {row["number"]: row["genome"] for row in result.archive.proposals(result.run) if row["genome"]}
    results = [row for row in result.archive.results(result.run) if row["outcome"].kind == "scored"]
    scored = [row for row in results if row["number"] in genomes]
    tags = {row["number"]: set(Genome(**genomes[row["number"]]).choices().items()) for row in scored}
    foreign = len(results) - len(scored)
    last = max((row["rung"] for row in scored), default=0)
    chosen = [row["number"] for row in scored if row["rung"] == last]
    if not chosen or len(chosen) == len(scored):
        raise EvidenceError("the campaign told no candidates apart: all scored ones reached the same rung")

    def components(numbers):
        return len(set.union(*(tags[number] for number in numbers)))

    ours, rng = components(chosen), rng_of("C13", result.run)
    drawn = sorted(components(rng.sample(list(tags), len(chosen))) for _ in range(RESAMPLES))
    fewer = sum(count <= ours for count in drawn) / RESAMPLES
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
    mean = sum(drawn) / RESAMPLES
    return Verdict(
        "C13",
        "reproduced" if fewer < 0.025 else "contradicted" if fewer > 0.5 else "inconclusive",
        f"{len(chosen)} candidates of the last rung use {ours} different components, as many drawn from all "
        f"{len(scored)} scored use {mean:.1f} ({low} to {high})",
        effect=ours - mean,
        low=ours - high,
        high=ours - low,
        n=len(chosen),
        test=f"{RESAMPLES} random draws of equal number; as few or fewer in {fewer:.1%}",
        command=f"pytest campaigns/campaign_delta_text.py --tier {evidence.tier}",
        evidence_path=f"run {result.run}",
        our_value=f"{ours} against {mean:.1f}",
        note=f"{foreign} scored without a genome are left out" if foreign else "",
    )

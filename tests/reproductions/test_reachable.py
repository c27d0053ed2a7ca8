"""Every decider can come out each way: for the claim, against it, and neither; or says here why it cannot.

What a decider reads is made up: the paper's tables with other numbers, a release by rule, studies whose mixers score as
a world says. What is asked is which verdicts it reaches before a tier caps them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from asiarc.core.errors import EvidenceError
from asiarc.core.genome import random_genome
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.seeds import rng_of
from asiarc.evidence.claims import load_register, mark_of
from asiarc.evidence.paper import load_paper
from asiarc.evidence.release import Member, Node, Release, read_shipped
from asiarc.studies.study import StudyResult
from asiarc.tasks import get_task

from .laboratory import FOLDER, load, noise
from .test_studies import FakeResult, gained

REGISTER = load_register(FOLDER / "claims.toml")
PAPER, RELEASE = load_paper(FOLDER), read_shipped(FOLDER / "data" / "released.csv")
MODULES = {path.stem.removeprefix("claim_"): load(path.stem) for path in sorted(FOLDER.glob("claim_*.py"))}
DECIDERS = {m.claim: (stem, f) for stem, module in MODULES.items() for f in vars(module).values() if (m := mark_of(f))}
FOR, AGAINST, NEITHER = {"reproduced"}, {"contradicted"}, {"partly", "inconclusive"}

CANNOT = {
    "C01": "the half that says nobody stepped in leaves no trace in a release: its count can refute, not carry it",
    "C02": "a formula gives a stored number or it does not",
    "C04a": "a mean is the printed one or it is not",
    "C07c": "each row passes the gate or one fails it",
    "C07d": "fewer rows than discoveries are partly documented; only an empty table would refute it",
    "C07g": "each curve is finite and ends as printed, or one is not",
    "C09a": "an average is the mean of its row or it is not",
    "C11a": "a figure alone cannot show that its axis was measured; it can show that it is the order of experiments",
    "C14a": "a name comes twice or none does",
    "C21a": "the judge gave 5 or another mark",
    "C22b": "neither the GPU nor what else ran in those hours is stated: the arithmetic is told, nothing is decided",
}
"""Claims whose decider cannot come out each way, and why."""


# --- what can be made up ----------------------------------------------------------------------------------------------


class Told(StudyResult):
    """A study's result whose mixers score as a world says."""

    def values(self, mixer, task="text"):
        assert mixer in self.study.mixers, mixer
        return {f"study/{seed}": self.world(mixer, task, f"study/{seed}") for seed in range(8)}

    def probed(self, mixer, quantity, task="text"):
        return {f"study/{seed}": self.seen(mixer, quantity, f"study/{seed}") for seed in range(6)}

    def size(self, mixer):
        return 1_000


def study(stem, name, world, seen=lambda *_: 0.5, refused=(), gate="causality"):
    """(module's file, study's name, a result in its place)."""
    declared = getattr(MODULES[stem], name)
    outcomes = {m: Outcome("rejected", "as told", gate) if m in refused else SCORED for m in declared.mixers}
    moved = {"chunk": {"text": {"study/0": {"moved": {"retention_H": 0.1}}}}}
    found = Told(declared, name, "ab12", [], outcomes, {}, moved)
    object.__setattr__(found, "world", world)
    object.__setattr__(found, "seen", seen)
    return stem, name, found


def lower(gains, spread=0.002):
    """A world of losses, and of accuracies on other tasks, in which some mixers gain."""

    def world(mixer, task, seed):
        gain = gains(mixer, task) if callable(gains) else gains.get(mixer, 0.0)
        return (0.5 + gain if get_task(task).higher_is_better else 2.5 - gain) + noise(mixer, task, seed, spread)

    return world


NOISY = 0.3  # a spread under which nothing can be told


def trained(stem, name, *worlds, seen=None):
    """One case a world: a study in which mixers gain."""
    return [{"studies": [study(stem, name, world, **({"seen": seen} if seen else {}))]} for world in worlds]


def searched(stem, name, **answers):
    """A search's result that answers as told."""
    return stem, name, SimpleNamespace(run="ab12", search=getattr(MODULES[stem], name), **answers)


def arms(gains, spread=0.002):
    """Arms whose winners gain so much."""
    def won(arm):
        return {repeat: gains.get(arm, 0.0) + noise(arm, "gain", str(repeat), spread) for repeat in range(6)}

    def ahead(arm, other):
        from asiarc.evidence.effects import paired_effect

        return paired_effect(won(arm), won(other), higher_is_better=True)

    def repeated(arm, repeat, *, copies=True):
        return abs(noise(arm, "repeat", str(repeat), 0.01)) + (0.2 if copies else 0.0)

    return searched(
        "search", "arms", gains=won, advantage=ahead, later_advantage=ahead, same_winner=lambda *_: 0,
        discoveries=lambda arm: (4, 9), ended=lambda arm: Counter(scored=9), repeated=repeated,
        archive=SimpleNamespace(proposals=lambda run: []), run_of=lambda *_: "", winners={},
    )  # fmt: skip


def repeats(checked, free):
    """The novelty check's two searches: the share of repeats with copies and without, with the check and without."""
    def share(shares):
        return lambda arm, repeat, *, copies=True: shares[not copies] + abs(noise("share", arm, str(repeat), 0.004))

    known, untold = (searched("search", name, repeated=share(shares))
                     for name, shares in (("arms", checked), ("unchecked", free)))  # fmt: skip
    return {"studies": [known, untold]}


def faulty(*ends, revised=None):
    """A search with planted faults that ended so, and the revisions of a language model's search, if one has run."""
    rows = [{"number": 2 * i + 1, "predicted": fault} for i, (fault, _) in enumerate(ends)]
    results = [{"number": 2 * i + 1, "outcome": end} for i, (_, end) in enumerate(ends) if end is not None]
    archive = SimpleNamespace(proposals=lambda run: rows, results=lambda run: results)
    declared = SimpleNamespace(repeats=1)
    found = SimpleNamespace(run="ab12", search=declared, archive=archive, run_of=lambda *_: "")
    case = {"studies": [("search", "faults", found)]}
    if revised is None:
        return case
    scored, handed_back = revised
    outcomes = [{"number": i, "outcome": SCORED if i < scored else Outcome("crashed", "as told")}
                for i in range(handed_back)]  # fmt: skip
    asked = SimpleNamespace(rows=lambda *_: [{"number": i} for i in range(handed_back)], results=lambda run: outcomes)
    return case | {"campaigns": {"small_model": SimpleNamespace(run="cd34", archive=asked)}}


def paper(**changes):
    """The paper's tables, some of them changed."""
    return {"paper": replace(PAPER, **changes)}


def printed(section, **values):
    """The same with single numbers changed."""
    return paper(printed=PAPER.printed | {section: PAPER.printed[section] | values})


def rows2(**fields):
    """Table 2 with fields of every row replaced by a function of the row and its place."""
    new = (replace(row, **{k: f(row, i) for k, f in fields.items()}) for i, row in enumerate(PAPER.table2))
    return paper(table2=tuple(new))


def rows1(change, table="table1"):
    """Table 1 (or the follow-up's) with the accuracies of every row changed."""
    def changed(row):
        accuracy = {task: change(row, task, value) for task, value in row.accuracy.items()}
        return replace(row, accuracy=accuracy)

    return paper(**{table: tuple(map(changed, getattr(PAPER, table)))})


def table3(**shares):
    """The gallery's shares of Table 3 replaced; `All` is mixed from the two rows."""
    ours = replace(PAPER.table3["Model Gallery"], **shares)
    others = PAPER.table3["Others"]
    mixed = {k: 0.06 * getattr(ours, k) + 0.94 * getattr(others, k) for k in ("experience", "cognition", "originality")}
    return paper(table3={"Model Gallery": ours, "Others": others, "All": replace(others, **mixed)})


def release(**changes):
    """The release, with its nodes or its gallery replaced."""
    return {"release": replace(RELEASE, **changes)}


def members(**fields):
    """Its discoveries with fields replaced by a function of the discovery and its place."""
    new = (replace(m, **{k: f(m, i) for k, f in fields.items()}) for i, m in enumerate(RELEASE.gallery))
    return release(gallery=tuple(new))


def grown(fitness, parent=lambda i: 1 if i <= 201 else 2 + i % 10, count=800, discoveries=60):
    """A tree by rule: every experiment's parent and fitness; the fittest are discoveries."""
    nodes = {1: Node(1, None, "n1", 1.0)}
    for i in range(2, count + 1):
        nodes[i] = Node(i, parent(i), f"n{i}", fitness(i, rng_of("tree", i)))
    best = sorted(nodes.values(), key=lambda node: -node.fitness)[:discoveries]
    template = RELEASE.gallery[0]
    gallery = tuple(Member(n.index, n.name, template.losses, template.accuracy, 412.0, None) for n in best)
    return {"release": Release(nodes, gallery)}


def campaign(result):
    """A campaign's result in the place of delta_text's."""
    return {"campaigns": {"delta_text": result}}


def winner(mean, sd=0.01):
    """A campaign whose winner gains so much over anyone, and whose baselines differ by as much."""
    gain = gained(mean, sd)
    won = SimpleNamespace(name="w", gain_over=lambda other: gain)
    return campaign(SimpleNamespace(
        run="ab12", evaluated=48, winner=won, best_baseline=lambda stage: SimpleNamespace(name="b"),
        compare=lambda a, b, task, stage, num_comparisons: gain, first_that_decides=lambda stage: "mixed:zipf",
    ))  # fmt: skip


def loop(rows, **more):
    """A campaign of proposals by rule: (gain, parent)."""
    return campaign(FakeResult(rows, **more))


def proposed(*authors, lost=0):
    """A campaign whose proposals came from these authors, the last of them without an end."""
    rows = [{"number": i, "author": author} for i, author in enumerate(authors)]
    archive = SimpleNamespace(proposals=lambda run: rows, results=lambda run: rows[: len(rows) - lost])
    return campaign(SimpleNamespace(run="ab12", archive=archive))


def progressing(trend, inherit):
    """Proposals over many generations that get better, and whose children do."""
    def row(i):
        child = i >= 8 and i % 2
        luck = noise("progress", "text", str(i), 0.05)
        return (trend * i + luck + (inherit if child else 0.0), f"c{i - 8}" if child else None)

    return loop([row(i) for i in range(160)])


def pool(text, check, spread=0.002):
    """Finalists that gain so much over the start on text and on the checks."""
    class Pool(FakeResult):
        def entrant(self, address):
            mine = (2.5 - text, 0.5 + check) if address != "start" else (2.5, 0.5)
            return SimpleNamespace(values=lambda task, stage: {
                f"s{n}": mine[task != "text"] + noise(address, task, str(n), spread) for n in range(5)
            })  # fmt: skip

    return campaign(Pool([(0, None)]))


def tail(chosen, rest):
    """40 candidates, of which 8 reach the last rung, with so many different genomes among the chosen and the rest."""
    genomes = [random_genome(rng_of("tail", i)).model_dump() for i in range(40)]
    given = {i: genomes[i % chosen] if i < 8 else genomes[i % rest] for i in range(40)}
    return campaign(FakeResult([(0, None)] * 40, [1] * 8 + [0] * 32, given))


FORMS = tuple(MODULES["headlines"].FORMS)


def headline(gain, spread=0.002, others=None):
    """The headline studies where every design gains so much over every baseline."""
    world = lower(dict.fromkeys(FORMS, gain) | (others or {}), spread)
    return {"studies": [study("headlines", name, world) for name in ("headlines", "remembered")]}


def half(gain):
    """The same where the repaired forms alone gain."""
    return headline(-gain, others={form: gain for form in FORMS if form.endswith("_repaired")})


def sized(own, equal):
    """Designs at their own size and at the baseline's."""
    at_own = study("headlines", "own_size", lower(dict.fromkeys(FORMS, own)))
    return {"studies": [at_own, *headline(equal)["studies"]]}


def admitted(gate=None, **counted):
    """The headline designs at the gates, and how many of the released programs pass."""
    refused = FORMS[:1] if gate else ()
    case = {"studies": [study("headlines", "admitted", lower({}), refused=refused, gate=gate or "causality")]}
    return case | (printed("programs", **counted) if counted else {})


def ablations(losses, spread=0.002, seen=lambda mixer, what, seed: 0.5 + noise(mixer, what, seed)):
    """The mechanisms' study where mixers whose name ends so lose so much."""
    def gains(mixer, task):
        return -sum(loss for ending, loss in losses.items() if mixer.endswith(ending))

    return trained("mechanisms", "mechanisms", lower(gains, spread), seen=seen)


def gates(entropy=0.0, dead=0.0):
    """Gates that are so much less open, and die so much oftener, without the mechanism."""
    def seen(mixer, what, seed):
        changed = ", no " in mixer
        level = {"entropy": 0.8 - entropy * changed, "dead": 0.1 + dead * changed}[what]
        return level + noise(mixer, what, seed)

    return seen


def leaking(*caught, gates_miss=()):
    """Leaks of which some have a loss this much below DeltaNet's; the gates refuse all but some."""
    leaks = list(MODULES["leaks"].LEAKS)
    gains = dict(zip(leaks, caught, strict=False))
    worse = {name: gains.get(name, -0.5) for name in leaks}
    refused = [name for i, name in enumerate(leaks) if i not in gates_miss]
    return {"studies": [study("leaks", "leaks", lower(worse), refused=refused)]}


LINEAR = MODULES["published"].LINEAR


def remembering(own, others, recall):
    """MAD's tasks: DeltaNet's memorisation against the others', and its recall."""
    def world(mixer, task, seed):
        level = recall if task != "memorisation" else own if mixer == "delta_net" else others
        return level + noise(mixer, task, seed)

    return {"studies": [study("published", name, world) for name in ("mad", "mad_row")]}


def tracking(negative, others, far, spread=0.0005):
    """Parity, near and far."""
    def world(mixer, task, seed):
        return (negative if mixer == "negative" else others) + noise(mixer, task, seed, spread)

    return trained("published", "tracking", world, seen=lambda m, q, s: far if m == "negative" else 0.5)


def ranked(sign):
    """The survey where synthetic tasks rank mixers as text does, the other way round, or by chance."""
    names = list(MODULES["published"].survey.mixers)
    place = {name: i / len(names) for i, name in enumerate(names)}
    chance = dict(zip(names, sorted(place.values(), key=lambda v: math.sin(1e4 * v)), strict=True))

    def world(mixer, task, seed):
        score = sign * place[mixer] + (1 - abs(sign)) * chance[mixer]
        return 3 - place[mixer] if task == "text" else 0.5 + 0.3 * score

    return {"studies": [study("published", "survey", world)]}


def gated(others, spread):
    """The survey's random mixers, and re-seeded DeltaNets, at the paper's first gate."""
    def world(mixer, task, seed):
        gain = others if mixer.startswith("random") else 0.0
        return (0.5 + gain if get_task(task).higher_is_better else 2.5 - gain) + noise(mixer, task, seed, spread)

    return {"studies": [study("published", name, world) for name in ("survey", "reseeded")]}


def rewarded(text, entropy, spread=0.002):
    """The entropy term in the loss."""
    return trained("mechanisms", "entropy", lower({"rewarded": text}, spread),
                   seen=lambda m, q, s: 0.5 + entropy * (m == "rewarded") + noise(m, q, s))[0]  # fmt: skip


def forgetting(chunk, token, spread=0.002):
    """The two forms of retention on text and on reset."""
    return trained("mechanisms", "retention", lower({"chunk": chunk, "token": token}, spread))[0]


def descending(share, one_parent):
    """A tree in which a share of experiments descends from one node."""
    return grown(lambda i, rng: rng.gauss(2, 0.3), lambda i: 1 if i <= 50 or i % 100 >= share else one_parent)


SMALL = min(m.parameters_m for m in RELEASE.gallery)
TEMPERATURE = {", no temperature": 0.2}
CASES = {
    "C03": [
        grown(lambda i, rng: 3 - i / 1_000),
        grown(lambda i, rng: i / 1_000, lambda i: 1 if i <= 60 else 2 + i % 10),
        {},
    ],
    "C04b": [
        grown(lambda i, rng: i / 100 + rng.gauss(0, 0.1), lambda i: 1 if i <= 201 or i % 2 else i - 3),
        {},
        grown(lambda i, rng: i / 1_000 + rng.gauss(0, 0.1)),
    ],
    "C04c": [progressing(0.004, 0.4), progressing(0.0, -0.1), progressing(0.0, 0.3)],
    "C05": [pool(0.5, 0.2), pool(0.5, 0.0), pool(0.5, 0.0, 0.2)],
    "C06": [gated(0.5, 0.002), gated(-0.5, 0.002), gated(0.0, 0.01)],
    "C07a": [paper(printed=PAPER.printed | {"counts": PAPER.printed["counts"] | {"discoveries": 101}})
             | release(gallery=tuple(m for m in RELEASE.gallery if math.isfinite(m.losses[-1]))[:101]),
             rows2(loss_340m=lambda row, i: 3.5), {}],
    "C07b": [rows2(loss_20m=lambda row, i: 4.0), rows2(loss_20m=lambda row, i: 5.0), {}],
    "C07e": [{}, rows2(score_340m=lambda row, i: 42.1), rows2(score_340m=lambda row, i: 42.9)],
    "C07f": [rows2(score_340m=lambda row, i: 43 + 1.5 * noise("s", "t", str(i), 1.0)),
             rows2(score_340m=lambda row, i: 43 + 0.1 * noise("s", "t", str(i), 1.0)), {}],
    "C07h": [members(accuracy=lambda m, i: dict(zip(PAPER.printed["stage2"]["tasks"], (
                 base + noise("acc", task, str(i), 0.01) for task, base in
                 zip(PAPER.printed["stage2"]["tasks"], PAPER.printed["stage2"]["gated_delta_net"], strict=True)),
                 strict=True))), {},
             members(accuracy=lambda m, i: m.accuracy | {"boolq": 0.8 + noise("b", "t", str(i), 0.01)})],
    "C08a": [rows2(loss_340m=lambda row, i: row.loss_20m), rows2(loss_340m=lambda row, i: -row.loss_20m), {}],
    "C08b": [rows2(score_340m=lambda row, i: row.score_20m), {},
             paper(table2=tuple(replace(r, score_340m=s) for r, s in
                                zip(PAPER.table2[:10], (3, 1, 4, 5, 9, 2, 6, 8, 7, 0), strict=True)))],
    "C08c": [grown(lambda i, rng: 3 - i / 400), {}, release(gallery=tuple(
        sorted(RELEASE.gallery, key=lambda m: RELEASE.nodes[m.index].fitness)[:60]))],
    "C09b": [rows1(lambda row, t, v: v + 3 * row.discovered), rows1(lambda row, t, v: v - 3 * row.discovered), {}],
    "C09c": [{}, rows1(lambda row, t, v: v - (2 if row.discovered else 15 * (t == "boolq"))),
             rows1(lambda row, t, v: v - 0.3 * row.discovered)],
    "C09d": [rows1(lambda row, t, v: v + 9 * row.discovered), rows1(lambda row, t, v: v - 9 * row.discovered)
             | paper(table1=tuple(
                 replace(r, wikitext_ppl=99.0, lambada_ppl=99.0, accuracy=dict.fromkeys(r.accuracy, 1.0))
                 if r.discovered else r for r in PAPER.table1)), {}],
    **{claim: [headline(0.5), headline(-0.5), headline(0.0, NOISY)] for claim in ("C09e", "C09h", "C09i")},
    **{claim: [headline(0.5), headline(-0.5), half(0.5)] for claim in ("C09f", "C09g")},
    "C09j": [headline(0.0, others={"mamba2": 0.4, "gated_delta_net": 0.2}),
             headline(0.0, others={"mamba2": -0.4}), headline(0.0, NOISY)],
    "C10a": [sized(0.3, 0.3), sized(0.3, -0.05), sized(0.3, 0.15)],
    "C10b": [paper(figure8=tuple(replace(row, shares=PAPER.figure8[-1].shares) for row in PAPER.figure8)), {},
             paper(figure8=tuple(replace(row, shares=PAPER.figure8[-1 - i].shares)
                                 for i, row in enumerate(PAPER.figure8)))],
    "C10c": [members(parameters_m=lambda m, i: 412.0), {},
             members(parameters_m=lambda m, i: 412.0 if i % 5 else 500.0)],
    "C11b": [paper(gallery_index=tuple(int(17 * i) + 1 for i in range(104))),
             paper(gallery_index=tuple(range(400, 506))), {}],
    "C11c": [{"studies": [arms({"full": 0.3})]}, {"studies": [arms({"random": 0.3})]}, {"studies": [arms({}, NOISY)]}],
    "C12a": [table3(experience=60.0, cognition=33.4), table3(experience=30.0, cognition=63.4), {}],
    "C12b": [table3(experience=63.4, cognition=30.0), table3(experience=30.0, cognition=63.4), {}],
    "C12c": [{"studies": [arms({"full": 0.3})]}, {"studies": [arms({"no_analyst": 0.3})]},
             {"studies": [arms({}, NOISY)]}],
    "C13": [tail(1, 40), tail(8, 1), tail(6, 40)],
    "C14b": [repeats((0.0, 0.0), (0.4, 0.2)), repeats((0.2, 0.2), (0.2, 0.2)), repeats((0.0, 0.0), (0.2, 0.0))],
    "C15a": [admitted(independent_of_what_follows=106), admitted("causality"), admitted()],
    "C15b": [admitted(sub_quadratic=106), admitted("complexity"), admitted("finite")],
    "C16a": ablations(TEMPERATURE, seen=gates(entropy=0.2)) + ablations({}, seen=gates())
            + ablations(TEMPERATURE, seen=gates()),
    "C16b": ablations({", no statistics": 0.2}) + ablations({}) + ablations({}, NOISY),
    "C16c": ablations({", fixed sum": 0.2}) + ablations({}) + ablations({}, NOISY),
    "C17a": ablations({"fusion, softmax": 0.2, "ada, sigmoid": -0.2}) + ablations({}) + ablations({}, NOISY),
    "C17b": [forgetting(0.2, 0.2), forgetting(0.0, 0.0), forgetting(0.0, 0.2)],
    "C18a": ablations({", no floor": 0.2}, seen=gates(dead=0.2)) + ablations({}, seen=gates())
            + ablations({}, seen=gates(dead=0.2)),
    "C18b": [rewarded(0.2, 0.2), rewarded(-0.2, -0.2), rewarded(0.0, 0.2)],
    "C18c": ablations({", flat": 0.2}) + ablations({}) + ablations({}, NOISY),
    "C19": [faulty(("mended", SCORED), revised=(5, 9)), faulty(("an exception", SCORED)), faulty(("mended", SCORED))],
    "C20": [leaking(*[2.0] * 60), leaking(*[0.1] * 20), leaking(*[2.0] * 8)],
    "C21b": [rows2(score_340m=lambda row, i: RELEASE.nodes[row.experiment_index].fitness), {},
             paper(table2=tuple(PAPER.table2[:12]))],
    "C22a": [printed("compute", figure1_last_gpu_hour=10_000), printed("compute", gpu_hours_abstract=25_000), {}],
    "C23": [paper(followup=tuple(
                replace(row, accuracy={t: a + (9 - i if row.discovered else -9) for t, a in row.accuracy.items()},
                        overall=90.0 - i) for i, row in enumerate(PAPER.followup)),
                table1=tuple(replace(row, average=90.0 - i) for i, row in enumerate(PAPER.table1))),
            rows1(lambda row, t, v: v - 3 * row.discovered, "followup"), {}],
    "C24": [remembering(0.5, 0.8, 0.99), remembering(0.9, 0.8, 0.4), remembering(0.9, 0.8, 0.99)],
    "C25": tracking(0.999, 0.5, 0.999) + tracking(0.5, 0.5, 0.5) + tracking(0.999, 0.5, 0.6),
    **{claim: trained("published", "parts", *(lower({"l1_keys": -g, "no_convolution": -g}, s)
                                              for g, s in ((0.2, 0.002), (-0.2, 0.002), (0.0, NOISY))))
       for claim in ("C26", "C27")},
    "C28": [ranked(1.0), ranked(-1.0), ranked(0.5)],
    "C29": [winner(0.2), winner(-0.2), winner(0.0, 0.1)],
    "C30": [winner(0.2), winner(0.0, 0.005), winner(0.0, 0.1)],
    "C31": trained("signatures", "on_text", lower({"gated_delta_net": 0.2, "mamba2": 0.2, "linear_attention": -0.2}),
                   lower({"mamba2": -0.2}), lower({}, NOISY)),
    "C32": [winner(0.2), winner(-0.2), winner(0.0, 0.1)],
    "C33": trained("signatures", "on_reset", lower({"gated_delta_net": 0.2, "mamba2": 0.2}), lower({"mamba2": -0.2}),
                   lower({}, NOISY)),
    "C34": [proposed("", ""), proposed("me", "you", ""), proposed("", "", "", lost=1)],
    "C35": [printed("programs", one_pattern=20), printed("programs", one_pattern=106), {}],
    "C36": [paper(untabulated=tuple(row.model for row in PAPER.table1)), {},
            paper(untabulated=("HierGateNet", "PathGateFusionNet"))],
    "C37": [printed("counts", discoveries=200), printed("counts", discoveries=50), {}],
    "C38": [rows2(loss_340m=lambda row, i: row.loss_20m, score_340m=lambda row, i: row.score_20m),
            printed("compute", gpu_hours_abstract=90_000), {}],
    "C39": [grown(lambda i, rng: rng.gauss(2, 0.1) + i % 2 + 9 * (i == 203),
                  lambda i: 1 if i <= 260 else 203 if i % 2 else 2 + i % 190), {},
            grown(lambda i, rng: rng.gauss(2, 0.9), lambda i: 1 if i <= 201 else 2 + 7 * i % 190, count=450)],
    "C40": [faulty(("mended", SCORED), revised=(50, 60)), faulty(("an exception", Outcome("crashed", "as told"))),
            faulty(("mended", SCORED))],
    "C41": [printed("figure6b_at_800", judge=0.745), {}, printed("figure6b_at_800", judge=0.714)],
    "C42": [descending(5, 3), {}, descending(40, 3)],
    "C43": ablations({", no statistics": 0.2}) + ablations({"sharp, no statistics": 0.2})
           + ablations({"path, no statistics": 0.2}, NOISY),
    "C44": [{}, members(losses=lambda m, i: (3.6,)),
            members(losses=lambda m, i: (3.6,) if m.parameters_m <= 1.001 * SMALL else m.losses)],
}  # fmt: skip
"""Claim to what is made up for it: a case that speaks for it, one against it, and one for neither."""


# --- the questions ----------------------------------------------------------------------------------------------------


def reached(claim, case, monkeypatch):
    """What the decider says of a case."""
    _, function = DECIDERS[claim]
    for where, name, found in case.get("studies", ()):
        monkeypatch.setattr(MODULES[where], name, SimpleNamespace(result=lambda *_, found=found: found))

    def campaign_of(name):
        if name not in case.get("campaigns", {}):
            raise EvidenceError(f"campaign {name} has not run")
        return case["campaigns"][name]

    here = SimpleNamespace(
        tier="full", archive=None, paper=case.get("paper", PAPER), release=case.get("release", RELEASE),
        campaign=campaign_of,
    )  # fmt: skip
    verdict = function(here)
    assert verdict.claim == claim
    return verdict.verdict


def test_every_claim_has_its_cases_or_its_reason():
    assert CASES.keys() | CANNOT.keys() == REGISTER.keys()
    assert not CASES.keys() & CANNOT.keys()
    assert all(len(reason) > 20 for reason in CANNOT.values())


@pytest.mark.parametrize("claim", CASES)
def test_a_decider_comes_out_for_against_and_neither(claim, monkeypatch):
    for case, expected in zip(CASES[claim], (FOR, AGAINST, NEITHER), strict=True):
        assert reached(claim, case, monkeypatch) in expected


def test_floors_that_nothing_dies_without_cannot_be_tested(monkeypatch):
    (case,) = ablations({", no floor": 0.2}, seen=lambda *_: 0.0)
    with pytest.raises(EvidenceError, match=r"no path dies with floors or without.*it takes a training"):
        reached("C18a", case, monkeypatch)


def test_a_tie_is_called_one_and_says_how_close(monkeypatch):
    """Radius of six pairs with spread 0.02: 2.571 × 0.02 / sqrt(6) = 0.021."""
    case = winner(0.002, 0.02)
    here = SimpleNamespace(tier="full", campaign=lambda name: case["campaigns"][name])
    found = DECIDERS["C30"][1](here)
    assert (found.verdict, found.our_value) == ("inconclusive", "equal within 0.023 bits a byte that is asked for")
    assert "pairs would tell" in found.note


def test_one_effect_has_one_interval_in_every_claim(monkeypatch):
    """A form over DeltaNet at equal size, in the claim on its design and in the claim on sizes."""
    case = sized(0.3, 0.2)
    for where, name, found in case["studies"]:
        monkeypatch.setattr(MODULES[where], name, SimpleNamespace(result=lambda *_, found=found: found))
    here = SimpleNamespace(tier="full", archive=None, paper=PAPER)
    told = [DECIDERS[claim][1](here).statement for claim in ("C09h", "C10a")]
    intervals = [line.split("hier_gate_net", 1)[1].split("]")[0].replace(" over delta_net", "") for line in told]
    assert intervals[0] == intervals[1] and "[" in intervals[0]

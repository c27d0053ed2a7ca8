"""The domain of patterns, and hybrids in the domain of mixers: what may be declared, what is turned away, and a
campaign of each from its first proposal to its reports, over a laboratory without torch."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc import Budget, Campaign, Recipe, Stage, by_tier
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.campaign.identity import run_identity
from asiarc.core.candidate import content_address
from asiarc.core.errors import BudgetExhaustedError, CampaignError, CandidateError
from asiarc.core.pattern import mixers_of, pattern_of, pattern_text, shortest
from asiarc.core.proposal import Context, Relative
from asiarc.core.recipe import MICRO
from asiarc.core.seeds import rng_of
from asiarc.domains import DOMAINS, Part, Setting, domain_of
from asiarc.domains.pattern import baseline, cross, examine, genome, mutate, random_pattern, researcher
from asiarc.engineer.workshop import Request
from asiarc.harness.cli import main
from asiarc.models.baselines import baseline_source

from .fakes import Bench, FakeExecutor, answer, campaign, candidate, still, written

SLOTS = ("delta_net", "mamba2@0", "softmax_attention", "mlp@2")
SETTING = Setting(SLOTS, blocks=8, quadratic=0.25)
START = "8*delta_net"
LABORATORY = dict(
    domain="pattern",
    slots=SLOTS,
    start_from=START,
    baselines=(START, "3*delta_net+softmax_attention", "random_1"),
    recipe=Recipe(num_layers=8),
    explore=Stage(tasks=("text",), seeds=1),
    verify=Stage(tasks=("text",), seeds=2, top=2),
    confirm=None,
    budget=by_tier(quick=Budget(candidates=8, minutes=60)),
)


def patterns(**changes) -> Campaign:
    return Campaign(**LABORATORY | changes)


# --- the grammar ------------------------------------------------------------------------------------------------------

SETTINGS = st.builds(
    Setting,
    st.lists(st.sampled_from([*SLOTS, "gla", "mlp"]), min_size=1, max_size=4, unique=True).map(tuple).filter(mixers_of),
    st.integers(1, 9),
)


def is_one(layers, setting: Setting) -> bool:
    """Of the setting's slots, no longer than its models, with a mixer, in its shortest form."""
    fits = 0 < len(layers) <= setting.blocks and set(layers) <= set(setting.slots)
    return fits and bool(mixers_of(layers)) and shortest(layers) == layers


@settings(max_examples=60)
@given(SETTINGS, st.integers(0, 10**6))
def test_every_move_stays_in_the_grammar(setting, seed):
    rng = rng_of(seed)
    layers, other = random_pattern(rng, setting), random_pattern(rng, setting)
    assert is_one(layers, setting)
    for _ in range(5):
        layers, how = mutate(layers, rng, setting)
        assert is_one(layers, setting), how
    child = cross(layers, other, rng, setting)
    assert child is None or is_one(child, setting)


def context(parent, index=0, known=frozenset(), references=()):
    text = pattern_text(parent)
    mine = Relative(address=content_address(text), name="mother", source=text, genome=genome(text), scores={})
    return Context(seed=1, generation=0, index=index, parent=mine, known=known, references=references)


@pytest.mark.parametrize("name", ["grammar", "random"])
def test_a_proposal_is_new_and_a_function_of_its_context(name):
    asked, known = researcher(name, SETTING), set()
    for index in range(30):
        told = context(("delta_net",), index, frozenset(known))
        proposal = asked.propose(told)
        assert proposal == asked.propose(told)
        address = content_address(proposal.source)
        assert address not in known | {told.parent.address} and is_one(pattern_of(proposal.source), SETTING)
        known.add(address)


def test_a_child_may_take_its_end_from_a_reference():
    donor = context(("softmax_attention",)).parent
    asked = researcher("grammar", Setting(("delta_net", "softmax_attention"), 8))
    said = [asked.propose(context(("delta_net",), index, references=(donor,))) for index in range(20)]
    crossed = [one for one in said if len(one.parents) == 2]
    assert crossed and all("the last of mother" in one.motivation for one in crossed)


def test_a_grammar_with_nothing_left_says_so():
    for name in ("grammar", "random"):
        with pytest.raises(BudgetExhaustedError, match="more slots or blocks"):
            researcher(name, Setting(("delta_net",), 1)).propose(context(("delta_net",)))


# --- baselines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "layers"),
    [
        ("8*delta_net", ("delta_net",)), ("2*mlp@2+delta_net", ("mlp@2", "mlp@2", "delta_net")),
        ("delta_net+softmax_attention+delta_net+softmax_attention", ("delta_net", "softmax_attention")),
    ],
)  # fmt: skip
def test_a_baseline_is_written_as_slots_and_how_often(given, layers):
    assert pattern_of(baseline(given, SETTING)) == layers


def test_a_drawn_baseline_is_the_same_everywhere():
    assert baseline("random_3", SETTING) == baseline("random_3", SETTING) != baseline("random_4", SETTING)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("delta_net", r"pure stack is 8\*delta_net"), ("9*delta_net", "9 slots"), ("0*delta_net", "0 slots"),
        ("3*deltanet", "Did you mean 'delta_net'"), ("3**delta_net", "is no pattern"), ("+delta_net", "is no pattern"),
    ],
)  # fmt: skip
def test_what_is_no_baseline(given, said):
    with pytest.raises(CandidateError, match=said):
        baseline(given, SETTING)


# --- gates ------------------------------------------------------------------------------------------------------------

SIZES = {"parameters": 100.0, "state_bytes": 400.0, "flops_per_token": 200.0}
PARTS = {
    "delta_net": Part(SIZES, False),
    "mamba2": Part({name: 2 * size for name, size in SIZES.items()}, False),
    "softmax_attention": Part({name: 40 * size for name, size in SIZES.items()}, True),
}
MUST_FAIL = {
    "readable": [
        "import os", 'layers = "delta_net"', 'layers = ("deltanet",)', 'layers = ("delta_net@-1",)',
        'layers = ("candidate",)', 'layers = (*("delta_net",),)', 'layers = ("delta_net",)\nlayers = ("mlp",)',
    ],
    "length": [pattern_text(["delta_net"] * 8 + ["mamba2"])],
    "mixing": [pattern_text(["mlp"]), pattern_text(["mlp@2", "mlp"])],
    "quadratic": [pattern_text(["softmax_attention"]), pattern_text(["softmax_attention", "delta_net"]),
                  pattern_text(["softmax_attention", "mlp@2", "delta_net"])],
}  # fmt: skip


@pytest.mark.parametrize(("gate", "source"), [(gate, one) for gate, some in MUST_FAIL.items() for one in some])
def test_a_gate_rejects(gate, source):
    found = examine(source, PARTS, SETTING)
    assert (found.outcome.kind, found.outcome.gate) == ("rejected", gate) and found.outcome.reason
    assert found.measures is None
    verdicts = [row["verdict"] for row in found.findings]
    assert verdicts == sorted(verdicts, key=["passed", "rejected", "not run"].index), "none runs behind a rejection"


def test_what_passes_is_measured_a_block_in_the_mean():
    found = examine(pattern_text(["delta_net", "mamba2@0", "mlp", "softmax_attention"]), PARTS, SETTING)
    assert str(found.outcome) == "scored" and found.measures is not None
    assert found.measures["state_bytes"] == (1 + 2 + 40) * 400 / 4
    three = examine(
        pattern_text(["softmax_attention", "delta_net", "delta_net", "delta_net", "delta_net"]), PARTS, SETTING
    )
    assert three.measures["parameters"] == (2 * 40 + 6) * 100 / 8, "the pattern is counted as it fills eight blocks"


# --- declared ---------------------------------------------------------------------------------------------------------


def test_a_pattern_campaign_of_ones_own_mixers(tmp_path):
    (tmp_path / "own.py").write_text('"""Own."""\nNAME = "own"\n\n\nclass Mixer:\n    """It."""\n')
    found = patterns(slots=("own.py@0", "delta_net"), start_from="8*delta_net", baselines=("8*delta_net",))
    found = found.at(tmp_path)
    assert found.setting == Setting(("own@0", "delta_net"), 8, 0.5)
    assert {name: one.given for name, one in found.mixers_beside.items()} == {"own": "own.py", "delta_net": ""}
    identity = run_identity(found, "q", "quick")
    assert identity["mixers"].keys() == {"own", "delta_net"} and identity["spec"]["domain"] == "pattern"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"domain": "patern"}, "Did you mean 'pattern'"), ({"slots": ()}, "slots"),
        ({"slots": ("mlp",)}, "with a mixer"),
        ({"slots": ("delta_net", "deltanet")}, "Did you mean"), ({"slots": ("candidate",)}, "candidate"),
        ({"recipe": None}, "num_layers"), ({"recipe": Recipe(num_layers=8, layers=("candidate",))}, "no layers"),
        ({"researcher": "llm"}, "unknown researcher"), ({"novelty": ("behaviour",)}, "unknown check"),
        ({"at_most": {"quadratic": 1.5}}, "share"), ({"at_most": {"time": 2}}, "unknown resource"),
        ({"baselines": (START, "9*delta_net")}, "9 slots"), ({"baselines": (START, START)}, "twice"),
        ({"domain": "mixer"}, "delta_net"), ({"slots": ("delta_net@17",)}, "from 0 to 16"),
    ],
)  # fmt: skip
def test_what_cannot_be_declared(changes, said):
    with pytest.raises(CampaignError, match=said):
        patterns(**changes)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"layers": ("softmax_attention",)}, "no slot for what evolves"), ({"layers": ()}, "at least 1"),
        ({"layers": ("candidate", "softmaxattention")}, "Did you mean"), ({"layers": ("candidate@x",)}, "share"),
        ({"layers": ("candidate", "mixers/mlp.py")}, "means something"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be(recipe, said):
    with pytest.raises(CampaignError, match=said):
        Recipe(**recipe)


def test_a_pattern_longer_than_the_model_is_refused_where_its_size_is_said():
    layers = ("candidate", "candidate", "softmax_attention")
    assert campaign(recipe=Recipe(layers=layers)).plan("explore", "quick").text.num_layers == 3
    assert campaign(recipe=Recipe(layers=layers)).as_dry("quick").plan("explore", "quick").text.num_layers == 3
    with pytest.raises(CampaignError, match="num_layers=3"):
        campaign(recipe=Recipe(layers=layers, num_layers=2))
    with pytest.raises(CampaignError, match="@0 in every slot"):
        campaign(recipe=Recipe(layers=("candidate@0",)))


def test_a_campaign_without_a_pattern_has_none_in_its_identity():
    identity = run_identity(campaign(), "q", "quick")
    assert "mixers" not in identity and not {"domain", "slots"} & identity["spec"].keys()
    assert '"layers"' not in json.dumps({name: identity[name] for name in ("spec", "plans")})


# --- a campaign of each -----------------------------------------------------------------------------------------------


def test_a_campaign_of_patterns_from_proposal_to_report(tmp_path):
    bench, executor = Bench(patterns(at_most={"quadratic": 0.25, "state_bytes": 1.0}), tmp_path), FakeExecutor()
    winner = bench.run(executor, then=lambda run: CampaignResult.load(run.archive, run.run).winner.address)
    ends = [row["outcome"].kind for row in bench.results().values()]
    assert len(ends) == 8 and "scored" in ends and set(ends) <= {"scored", "rejected"}
    assert winner in {row["address"] for row in bench.results().values()}
    assert not executor.repeated
    mixers = {"delta_net", "mamba2", "softmax_attention"}
    for trial in executor.trials:
        layers = pattern_of(trial["source"])
        named = {*mixers_of(layers), "delta_net"}  # start_from's, which sizes are brought to
        assert trial["mixers"].keys() == named <= mixers and trial["recipe"]["num_layers"] == 8
        assert trial["mixers"]["delta_net"] == baseline_source("delta_net")
    admitted = {job.payload["source"] for job in executor.jobs if "exempt" in job.payload}
    assert admitted == {baseline_source(name) for name in mixers}, "what the sandbox examines are the mixers"
    before = bench.content()
    bench.run(FakeExecutor(interrupt_at=0))
    assert bench.content() == before, "nothing is done again"
    for verb in (["show", "question"], ["lineage", winner], ["diff", winner, START]):
        told = CliRunner().invoke(
            main, [*verb, *(["--tier", "quick"] if verb[0] != "diff" else []), "--store", str(tmp_path)]
        )
        assert told.exit_code == 0 and told.output.strip(), told.output


def test_random_patterns_run_beside_the_search_at_equal_compute(tmp_path):
    arm = patterns(arms=("random",)).as_arm("random")
    ends = Bench(arm, tmp_path).run(then=lambda run: run.archive.proposals(run.run))
    assert len(ends) == 8 and all("Drawn at random" in row["motivation"] for row in ends)


def test_too_much_state_is_turned_away_by_the_campaigns_own_cap(tmp_path):
    def heavy(job):
        found = answer(job)
        if job.function.endswith(":admission") and job.payload["source"] == baseline_source("mamba2"):
            found.value["measures"]["state_bytes"] *= 100
        return found

    class Two:
        def propose(self, context):
            layers = (("delta_net", "mamba2@0"), ("delta_net", "mlp@2"))[context.index % 2]
            said = researcher("random", SETTING).propose(context)
            return replace(said, source=pattern_text(layers), name="-".join(layers))

    budget = by_tier(quick=Budget(candidates=2, minutes=60))
    bench = Bench(patterns(researcher=Two(), budget=budget, at_most={"state_bytes": 2.0}), tmp_path)
    bench.run(FakeExecutor(ends=heavy), "explore")
    ends = {name: row["outcome"] for name, row in bench.results().items()}
    assert (ends["delta_net-mamba2@0"].kind, ends["delta_net-mamba2@0"].gate) == ("rejected", "state_bytes")
    assert ends["delta_net-mlp@2"].kind == "scored"


def test_a_hybrid_of_mixers(tmp_path):
    """The candidate passes the gates alone, attention only those that are not of cost; every trial has both."""
    layers = ("candidate", "candidate", "candidate", "softmax_attention")
    asked = written(candidate("good", GAIN=0.3), recipe=Recipe(layers=layers), explore=Stage(tasks=("text",)))
    executor = FakeExecutor()
    Bench(asked, tmp_path).run(executor, "explore")
    exempt = {job.payload["source"]: job.payload["exempt"] for job in executor.jobs if "exempt" in job.payload}
    attention = baseline_source("softmax_attention")
    assert exempt[attention] == ["complexity", "peak_memory"]
    assert all(not those for source, those in exempt.items() if source != attention)
    for trial in executor.trials:
        assert trial["recipe"]["layers"] == layers and trial["recipe"]["num_layers"] == 4
        assert trial["mixers"] == {"softmax_attention": attention}
    with Archive(tmp_path, write=False) as archive:
        (run,) = archive.runs("question", "quick")
        assert run["identity"]["mixers"] == {"softmax_attention": content_address(attention)}


def test_a_trials_key_holds_the_pattern_and_every_mixer_in_it():
    with still():
        source = baseline_source("gla")
        plain = Request("a", source, "text", "explore", "0/explore/0", MICRO, None, "validation", 8)
        mixed = replace(plain, recipe=MICRO.at(layers=("candidate", "x")), mixers={"x": baseline_source("delta_net")})
        others = [
            replace(mixed, mixers={"x": baseline_source("mamba2")}),
            replace(mixed, recipe=MICRO.at(layers=("x", "candidate"))),
            replace(mixed, recipe=MICRO.at(layers=("candidate@2", "x"))),
        ]
        keys = {one.key for one in (plain, mixed, *others)}
        assert len(keys) == 5 and "mixers" not in plain.payload and mixed.payload["mixers"] == dict(mixed.mixers)


def test_every_domain_is_one_and_says_who_proposes():
    for name in DOMAINS:
        domain = domain_of(name)
        assert {"grammar", "random"} <= set(domain.researchers) and callable(
            domain.researcher("random", SETTING).propose
        )

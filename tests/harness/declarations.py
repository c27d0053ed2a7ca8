"""Campaigns drawn at random from what a declaration may say."""

from __future__ import annotations

from hypothesis import strategies as st

from asiarc import Budget, ByTier, Campaign, Models, Recipe, Stage
from asiarc.campaign.declaration import ARMS, POLICIES, ROLES
from asiarc.campaign.recipe import RecipeByTier
from asiarc.core.recipe import TIERS
from asiarc.domains.mixer import MIXER
from asiarc.models.baselines import PANEL_NAMES, QUADRATIC
from asiarc.tasks.catalogue import ALIASES, CATALOGUE

amounts = st.floats(min_value=1e-6, max_value=1e12)
paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map("text:/{}".format)
tasks = st.one_of(
    st.sampled_from([*CATALOGUE, *ALIASES]),
    st.sampled_from([f"{name}:{level}" for name, entry in CATALOGUE.items() for level in entry.levels]),
    paths,
)
task_lists = st.lists(tasks, min_size=1, max_size=4, unique=True).map(tuple)
budgets = st.builds(Budget, candidates=st.integers(1, 10**9), minutes=amounts, usd=st.just(0.0) | amounts)
rates = st.lists(st.floats(1e-9, 0.999), max_size=4, unique=True).map(tuple)

# What is said of sizes has to fit together; of these, anything goes with anything.
lengths = st.fixed_dictionaries({}, optional={"steps": st.integers(1, 10**8)}) | st.fixed_dictionaries(
    {"tokens": st.integers(1, 10**13)}
)
loose = st.fixed_dictionaries(
    {},
    optional={
        "batch_size": st.integers(1, 64), "num_layers": st.integers(1, 4), "learning_rate": st.floats(1e-9, 0.999),
        "precision": st.sampled_from(["float32", "bfloat16"]),
    },
)  # fmt: skip
recipes = st.builds(lambda one, other: Recipe(**one | other), lengths, loose)
by_tiers = st.dictionaries(st.sampled_from(TIERS), recipes, min_size=1).map(lambda named: RecipeByTier(**named))
any_recipe = st.none() | recipes | by_tiers

model_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@st.composite
def models(draw) -> Models:
    """Language models by role, all of them priced."""
    names = draw(st.lists(model_names, min_size=1, max_size=3, unique=True))
    some = st.none() | st.sampled_from(names)
    return Models(
        researcher=tuple(names),
        analyst=draw(some),
        checker=draw(some),
        judge=draw(some),
        prices={name: draw(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3))) for name in names},
        most_usd=draw(st.dictionaries(st.sampled_from(ROLES), st.floats(0, 1e6))),
        most_tokens=draw(st.dictionaries(st.sampled_from(ROLES), st.integers(0, 10**12))),
        temperatures=draw(st.lists(st.floats(0, 2), max_size=2).map(tuple)),
        structured=draw(st.booleans()),
    )


@st.composite
def campaigns(draw) -> Campaign:
    """Any campaign whose researcher has a name."""
    baselines = draw(st.lists(st.sampled_from(PANEL_NAMES), min_size=1, unique=True))
    start = draw(st.sampled_from([name for name in PANEL_NAMES if name not in QUADRATIC]))
    plain = st.builds(Stage, tasks=task_lists, seeds=st.integers(1, 64), recipe=any_recipe)
    tuned = st.builds(
        Stage, tasks=task_lists, seeds=st.integers(1, 64), top=st.none() | st.integers(1, 99), learning_rates=rates
    )
    verify = draw(st.none() | tuned)
    tiers = draw(st.dictionaries(st.sampled_from(TIERS), budgets, min_size=1))
    researcher = draw(st.sampled_from(MIXER.researchers))
    asked = draw(models() if researcher == "llm" else st.none() | models())
    is_checked = researcher == "llm" and asked and asked.checker
    checks = [name for name in MIXER.novelty if name != "motivation" or is_checked]
    return Campaign(
        start_from=start,
        baselines=tuple(dict.fromkeys([*baselines, start])),
        explore=draw(plain),
        verify=verify,
        confirm=draw(st.none() | plain) if verify else None,
        researcher=researcher,
        models=asked,
        novelty=tuple(draw(st.lists(st.sampled_from(checks), unique=True))),
        arms=tuple(draw(st.lists(st.sampled_from(ARMS), unique=True))),
        policy=draw(st.sampled_from(sorted(POLICIES))),
        match=draw(st.sampled_from([(), ("parameters",)])),
        at_most=draw(st.dictionaries(st.sampled_from(MIXER.resources), st.floats(1, 1e9))),
        budget=ByTier(**tiers),
        recipe=draw(any_recipe),
        seed=draw(st.integers(0, 2**70)),
    )


REGISTER = """\
[C07]
statement = "The winner beats the baseline on every task."
place = "section 4"
kind = "quality"
paper_value = "+0.1"
counts_for = "a gain whose interval is above 0"
counts_against = "an interval below 0"
weakest_tier = "smoke"
full_tier = "smoke"
"""

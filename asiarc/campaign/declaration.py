"""The declaration: what a campaign file says. Frozen, typed, unknown fields refused; TOML loads into the same model.

Light on purpose: collecting campaigns imports this module and neither torch nor scipy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import tomli_w
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from asiarc.campaign.content import content_of, file_hash
from asiarc.campaign.own import COSTS, OWN_PATTERN, Baseline, baseline_at, called, check_given, check_names
from asiarc.campaign.recipe import (
    CampaignDeclaration,
    Recipe,
    RecipeByTier,
    WithRecipe,
    by_name,
    check_slots,
    faults,
    longer_than,
    mixers_said,
    recipe_at,
    without_text,
)
from asiarc.core.declared import Declaration, FieldError, at_field
from asiarc.core.errors import CampaignError, CandidateError, TaskError, nearest, unknown_name
from asiarc.core.pattern import CANDIDATE, mixers_of
from asiarc.core.recipe import STAGES, TIERS, StageName, StagePlan, Tier, stage_plan
from asiarc.domains import DOMAINS, Domain, Setting, domain_of
from asiarc.models.baselines import PANEL_NAMES, QUADRATIC, SHIPPED_NAMES
from asiarc.models.controls import CONTROL_NAMES
from asiarc.tasks import check_name, is_text, opened
from asiarc.tasks.declared import DeclaredTask

IDENTITY_VERSION = 2
ROLES = ("researcher", "analyst", "checker", "judge", "embedding")
ARMS = ("no_cognition", "no_analyst", "no_belief", "no_novelty", "no_judge", "random", "best_of_n")
POLICIES = {  # name -> the class, which the search imports: a declaration stays light
    "ucb": "asiarc.search.policies.bayes:UpperBound",
    "thompson": "asiarc.search.policies.bayes:Thompson",
    "halving": "asiarc.search.policies.halving:SuccessiveHalving",
    "asha": "asiarc.search.policies.halving:Asha",
    "map_elites": "asiarc.search.policies.elites:MapElites",
    "paper": "asiarc.search.policies.paper:PaperPolicy",
    "random": "asiarc.search.policies.controls:RandomSearch",
    "best_of_n": "asiarc.search.policies.controls:BestOfN",
}
MATCHABLE = ("parameters",)
SHARE = "quadratic"  # of the blocks, in `at_most` of a campaign of patterns: a share, and no factor
PATTERN = r"[*+]|^random_\d+$"  # how the baselines of a campaign of patterns are written, where they are no mixers
MOST_QUADRATIC = 0.5  # share of blocks that may grow with the text, where a campaign of patterns says nothing else


class Budget(CampaignDeclaration):
    """Hard caps of one campaign at one tier. Reaching `minutes` stops the stage and says so; nothing done is lost."""

    candidates: int = Field(ge=1, description="how many candidates explore evaluates")
    minutes: float = Field(gt=0, description="wall-clock cap of a stage's run, in minutes")
    usd: float = Field(default=0.0, ge=0, description="cap on money spent on language models")


class ByTier(CampaignDeclaration):
    """One value for each tier; a tier that is not named cannot be run."""

    smoke: Budget | None = None
    quick: Budget | None = None
    full: Budget | None = None
    gpu: Budget | None = None
    paper: Budget | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> ByTier:
        if not self.tiers:
            raise ValueError(f"an empty budget runs nothing; name at least one tier of {', '.join(TIERS)}")
        return self

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that have a budget."""
        return tuple(tier for tier in TIERS if getattr(self, tier) is not None)

    def at(self, tier: Tier) -> Budget:
        """The budget of a tier; `CampaignError` names the tiers that have one."""
        budget: Budget | None = getattr(self, tier)
        if budget is None:
            raise at_field("budget", CampaignError(self.without(tier)))
        return budget

    def without(self, tier: Tier) -> str:
        """What to say of a tier that has no budget."""
        return f"no budget for tier {tier!r}; this campaign declares: {', '.join(self.tiers)}"


@overload
def by_tier(**values: Budget) -> ByTier: ...
@overload
def by_tier(**values: Recipe) -> RecipeByTier: ...
def by_tier(**values: Any) -> ByTier | RecipeByTier:
    """``by_tier(smoke=Budget(...), quick=Budget(...))``; recipes go by tier the same way."""
    recipes = values and all(isinstance(value, Recipe) for value in values.values())
    return RecipeByTier(**values) if recipes else ByTier(**values)


class Stage(WithRecipe):
    """One stage: what is measured, on how many seeds and, where it is said, with which recipe."""

    tasks: tuple[str, ...] = Field(
        min_length=1, description="names of tasks, or your own: ('text', 'overwrite', 'tasks/copying.py:copying')"
    )
    seeds: int = Field(default=1, ge=1, le=64, description="training seeds a candidate")
    top: int | None = Field(default=None, ge=1, description="verify only: how many finalists of explore enter")
    learning_rates: tuple[float, ...] = Field(
        default=(),
        description="explore and verify: grid searched for every candidate and baseline alike, on the first rung, with "
        "a seed of its own; empty: in verify what explore found, where that searched none the recipe's own rate",
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _places_of_tasks(cls, tasks: Any) -> Any:
        if not isinstance(tasks, (list, tuple)):
            return tasks
        return tuple(task.place if isinstance(task, DeclaredTask) else task for task in tasks)

    @field_validator("tasks")
    @classmethod
    def _known_tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            try:
                check_name(task)
            except TaskError as error:
                raise ValueError(str(error)) from error
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"a task is named twice: {', '.join(tasks)}")
        return tasks

    @field_validator("learning_rates")
    @classmethod
    def _sane_rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < rate < 1 for rate in rates) or len(set(rates)) != len(rates):
            raise ValueError(f"learning rates are distinct numbers between 0 and 1, given {rates}")
        return rates


class Models(CampaignDeclaration):
    """The language models of a campaign by role, what they cost, and how they are asked.

    A role without a model is done without one: the analyst by arithmetic, the check of motivations and the judge not at
    all. `--llm-base-url` says where they are asked, `--llm` whether at all; the key comes from the environment.
    """

    researcher: tuple[str, ...] = Field(
        default=(), description="several are chosen among by a bandit; who proposed revises"
    )
    analyst: str | None = Field(default=None, description="writes insights beside the arithmetic")
    checker: str | None = Field(default=None, description="says whether an idea was proposed before")
    judge: str | None = Field(default=None, description="marks candidates by the paper's rubric")
    embedding: str | None = Field(default=None, description="finds entries and near motivations; without it BM25 does")
    prices: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="USD a million tokens of prompt and reply, by model; (0, 0) for your own"
    )
    most_usd: dict[str, float] = Field(default_factory=dict, description="a role's own cap on money")
    most_tokens: dict[str, int] = Field(default_factory=dict, description="a role's cap on tokens")
    silence_s: dict[str, float] = Field(
        default_factory=dict, description="a role's longest pause inside a reply, in seconds; else 120"
    )
    longest_s: dict[str, float] = Field(
        default_factory=dict, description="a role's longest whole reply, in seconds; else 1,200"
    )
    temperatures: tuple[float, ...] = Field(default=(0.7, 1.0), description="drawn from by seed; empty: not sent")
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="keeps small models from repeating themselves; None: not sent"
    )
    structured: bool = Field(default=True, description="ask for JSON by its schema; False: for a bare Python file")
    context_tokens: int = Field(default=12_000, ge=500, description="size of a proposal's prompt")
    reply_tokens: int = Field(default=8_000, ge=50, description="limit of a reply")
    repairs: int = Field(default=1, ge=0, le=5, description="times that an unusable reply goes back")
    redraws: int = Field(default=2, ge=0, le=10, description="times that an idea goes back because it is not new")
    revisions: int = Field(default=2, ge=0, le=10, description="times that a rejected candidate goes back")
    judge_samples: int = Field(default=3, ge=2, le=20, description="how often the judge marks one candidate")

    @property
    def named(self) -> tuple[str, ...]:
        """Every model that is named, each once."""
        others = (self.analyst, self.checker, self.judge, self.embedding)
        return tuple(dict.fromkeys([*self.researcher, *(name for name in others if name)]))

    @field_validator("most_usd", "most_tokens", "silence_s", "longest_s")
    @classmethod
    def _known_roles(cls, caps: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        for role, cap in caps.items():
            if role not in ROLES:
                raise ValueError(unknown_name("role", role, ROLES))
            if cap <= 0 and str(info.field_name).endswith("_s"):
                raise ValueError(f"the {role} would be given {cap:g} seconds; give more than 0")
            if cap < 0:
                raise ValueError(f"the cap of the {role} is {cap}; give at least 0")
        return caps

    @model_validator(mode="after")
    def _all_priced(self) -> Models:
        for name in self.named:
            if name not in self.prices:
                raise ValueError(
                    f"prices does not name {name!r}, so no cap could hold; add prices={{{name!r}: (prompt, reply)}} in "
                    "USD a million tokens, (0, 0) for a server of your own"
                )
        return self


def _domain(info: ValidationInfo) -> Domain:
    """The domain of a campaign that is being validated; where none can be named, mixers."""
    return domain_of(info.data.get("domain", "mixer"))


def _are_mixers(info: ValidationInfo) -> bool:
    return _domain(info).baseline is None


class Campaign(WithRecipe):
    """A question and how it is searched. See `campaigns/` for examples; the test functions below it are its answers."""

    domain: str = Field(default="mixer", description="what evolves: a mixer, or the pattern that fills the blocks")
    slots: tuple[str, ...] = Field(
        default=(),
        description="domain='pattern' only: what patterns are made of, written as in a recipe's layers: mixers by name "
        "or path, 'mlp', each with @SHARE where it is said",
    )
    start_from: str = Field(
        description="the baseline whose design the search starts from and is compared with, by name or path"
    )
    baselines: tuple[str, ...] = Field(
        min_length=1, description="trained beside the candidates: published mixers by name, files of your own by path"
    )
    controls: tuple[str, ...] = Field(
        default=CONTROL_NAMES,
        description="mixers without memory, trained beside the baselines from the quick tier upwards: what is local",
    )
    explore: Stage = Field(description="the search: small models, few seeds")
    verify: Stage | None = Field(default=None, description="the finalists again: longer training, fresh seeds")
    confirm: Stage | None = Field(
        default=None, description="the winner once more: fresh seeds, fresh items; as verify when not given"
    )
    researcher: str | Any = Field(default="grammar", description="a name, or an object that has propose()")
    open: bool = Field(
        default=False, description="take proposals of people and agents (asiarc propose) beside the researcher's own"
    )
    models: Models | None = Field(default=None, description="language models by role, with their prices")
    novelty: tuple[str, ...] = Field(
        default=("syntax",), description="checks that a candidate is new: syntax, behaviour, motivation"
    )
    arms: tuple[str, ...] = Field(
        default=(), description="ways of searching that run beside the full loop, at equal compute"
    )
    cognition: tuple[str, ...] = Field(
        default=(), description="files or folders of entries of your own, read beside the shipped ones"
    )
    policy: str = Field(
        default="ucb",
        description="who is trained next, who becomes a parent and who is a finalist; asiarc.search compares them",
    )
    match: tuple[str, ...] = Field(default=("parameters",), description="made equal to start_from within 2 %")
    at_most: dict[str, float] = Field(default_factory=dict, description="resource caps relative to start_from")
    budget: ByTier = Field(description="by_tier(smoke=Budget(...), quick=Budget(...))")
    seed: int = Field(default=0, ge=0, description="everything random in the campaign follows from it")
    _arm: str = PrivateAttr(default="")  # which of `arms` this is; see `as_arm`
    _dry: bool = PrivateAttr(default=False)  # whether its plans are shrunk; see `as_dry`
    _baselines: dict[str, Baseline] = PrivateAttr(default_factory=dict)  # by name, once `at` has read them
    _mixers: dict[str, Baseline] = PrivateAttr(default_factory=dict)  # the same, of those in patterns
    _researcher: dict[str, Any] = PrivateAttr(default_factory=dict)  # what an object was made of before it was asked

    @field_validator("domain")
    @classmethod
    def _known_domain(cls, name: str) -> str:
        if name not in DOMAINS:
            raise ValueError(unknown_name("domain", name, DOMAINS))
        return name

    @field_validator("slots")
    @classmethod
    def _known_slots(cls, slots: tuple[str, ...]) -> tuple[str, ...]:
        check_slots(slots)
        if len(set(slots)) != len(slots):
            raise ValueError(f"a slot is named twice: {', '.join(slots)}")
        if any(slot.partition("@")[0] == CANDIDATE for slot in slots):
            raise ValueError(f"{CANDIDATE!r} fills no slot where the pattern is what evolves; name a mixer")
        return slots

    @field_validator("start_from")
    @classmethod
    def _known_start(cls, name: str, info: ValidationInfo) -> str:
        if not _are_mixers(info):
            return name
        check_given(name)
        if name in (*QUADRATIC, *CONTROL_NAMES):
            allowed = ", ".join(n for n in PANEL_NAMES if n not in QUADRATIC)
            what = "a quadratic reference" if name in QUADRATIC else "a control"
            raise ValueError(f"{name!r} is {what} and never a parent; start from one of: {allowed}")
        return name

    @field_validator("controls")
    @classmethod
    def _known_controls(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in CONTROL_NAMES:
                raise ValueError(unknown_name("control", name, CONTROL_NAMES, then="controls=() trains none."))
        return tuple(dict.fromkeys(names))

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not _are_mixers(info):
            if len(set(names)) != len(names):
                raise ValueError(f"a baseline is named twice: {', '.join(names)}")
            return names
        for name in names:
            check_given(name)
        check_names(names)
        return names

    @field_validator("researcher")
    @classmethod
    def _known_researcher(cls, researcher: Any, info: ValidationInfo) -> Any:
        known = _domain(info).researchers
        if isinstance(researcher, str) and researcher not in known:
            raise ValueError(unknown_name("researcher", researcher, known, then="Or pass an object with propose()."))
        if isinstance(researcher, type):
            raise ValueError(f"{researcher.__name__} is a class; pass an object of it: {researcher.__name__}()")
        if not isinstance(researcher, str) and not callable(getattr(researcher, "propose", None)):
            raise ValueError(f"a researcher has a method propose(context), {type(researcher).__name__} has none")
        return researcher

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        if name not in POLICIES:
            raise ValueError(unknown_name("policy", name, POLICIES))
        return name

    @field_validator("novelty", "arms")
    @classmethod
    def _known_checks_and_arms(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_novelty = info.field_name == "novelty"
        kind, allowed = ("check of novelty", _domain(info).novelty) if is_novelty else ("arm", ARMS)
        for name in names:
            if name not in allowed:
                raise ValueError(unknown_name(kind, name, allowed))
        if len(set(names)) != len(names):
            raise ValueError(f"named twice: {', '.join(names)}")
        return names

    @field_validator("match")
    @classmethod
    def _known_match(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in MATCHABLE:
                raise ValueError(unknown_name("quantity to match", name, MATCHABLE))
        return names

    @field_validator("at_most")
    @classmethod
    def _known_caps(cls, caps: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        for name, cap in caps.items():
            if name not in _domain(info).resources:
                raise ValueError(unknown_name("resource", name, _domain(info).resources))
            if name == SHARE:
                if not 0 <= cap <= 1:
                    raise ValueError(f"at_most[{name!r}] = {cap} is a share of the blocks; give 0 to 1")
            elif cap < 1:
                raise ValueError(
                    f"at_most[{name!r}] = {cap} would refuse start_from itself; give a factor of at least 1"
                )
        return caps

    @model_validator(mode="after")
    def _possible_mix(self) -> Campaign:
        if self.start_from not in self.baselines:
            close = nearest(self.start_from, self.baselines)
            hint = f" Did you mean start_from={close!r}?" if close else ""
            raise ValueError(
                f"start_from={self.start_from!r} is missing from baselines={self.baselines}; gains are measured "
                f"against it, so add it there.{hint}"
            )
        if self.researcher == "llm" and not (self.models and self.models.researcher):
            raise ValueError(
                "researcher='llm' needs models=Models(researcher=('name',), prices={'name': (prompt, reply)})"
            )
        if "motivation" in self.novelty and not (self.researcher == "llm" and self.models and self.models.checker):
            raise ValueError("novelty='motivation' is judged by models.checker for researcher='llm'; name one")
        if self.confirm is not None and self.verify is None:
            raise ValueError("confirm without verify: confirm tests the winner that verify picks; declare verify too")
        for name, stage in (("explore", self.explore), ("confirm", self.confirm)):
            if stage is not None and stage.top is not None:
                raise ValueError(f"{name} was given top, which belongs to verify: how many finalists enter it")
        if self.confirm is not None and self.confirm.learning_rates:
            raise ValueError(
                "confirm was given learning_rates, which belong to explore or verify: it takes the winner at the rate "
                "that was found there"
            )
        return self

    @model_validator(mode="after")
    def _possible_domain(self) -> Campaign:
        """What a domain asks for is said, and nothing that it has no use for."""
        source_of = self._domain.baseline
        if source_of is None:
            if self.slots:
                raise FieldError("slots", "patterns are made of slots: say domain='pattern', or leave them out")
            return self
        if not mixers_of(self.slots):
            raise FieldError("slots", f"domain={self.domain!r} needs slots=(...), at least one of them with a mixer")
        for tier in self.budget.tiers:
            for stage in self.stages:
                said = self._said(stage, tier)
                if "layers" in said or "num_layers" not in said:
                    text = "the pattern is what evolves: its recipe says num_layers, and no layers"
                    raise FieldError("recipe", f"{stage} at tier {tier}: {text}; give recipe=Recipe(num_layers=8)")
        for given in self.baselines:
            try:
                source_of(given, self.setting)
            except CandidateError as error:
                raise FieldError("baselines", f"{given!r}: {error}") from error
        return self

    @model_validator(mode="after")
    def _trainable(self) -> Campaign:
        """What the campaign says of its recipe can be trained, at every tier that has a budget."""
        for tier in self.budget.tiers:
            for name in self.stages:
                fault = next(self._faults(name, tier), "")
                if fault:
                    places = [name, "verify"] if name == "confirm" and self.confirm is None else [name]
                    own = (place for place in places if getattr(getattr(self, place), "recipe", None))
                    raise FieldError(next(own, "recipe"), f"{name} at tier {tier}: {fault}")
        return self

    def _faults(self, name: StageName, tier: Tier) -> Iterator[str]:
        stage, said = self.stage(name), self._said(name, tier)
        if not said:
            return
        is_own = "seq_len" in recipe_at(stage.recipe, tier).said
        tasks = stage.tasks if is_own else [task for one in self.stages for task in self.stage(one).tasks]
        if fault := without_text(said, tasks):
            yield fault
        is_matched = "parameters" in self.match
        yield from faults(
            self.plan(name, tier),
            stage.tasks,
            tier,
            start_from=self.start_from,
            baselines=self.baselines,
            is_matched=is_matched,
        )

    def model_post_init(self, _: Any) -> None:
        """Look at a researcher that is an object before it is asked anything."""
        if not isinstance(self.researcher, str):
            self._researcher = content_of(self.researcher)

    def with_models(self, chosen: Sequence[str]) -> Campaign:
        """With other models in some roles, each as ``role=name`` (several researchers: ``researcher=a,b``)."""
        named: dict[str, Any] = {}
        for text in chosen:
            role, equals, name = text.partition("=")
            if role not in ROLES or not equals or not name:
                raise CampaignError(unknown_name("role", role, ROLES, then="Write --llm-model researcher=NAME."))
            named[role] = tuple(name.split(",")) if role == "researcher" else name
        if not named or self.models is None:
            return self
        return self.model_copy(update={"models": Models(**self.models.model_dump() | named)})

    def as_arm(self, arm: str) -> Campaign:
        """The same campaign searched another way: one of `ARMS`, with everything that is not the search unchanged."""
        assert arm in ARMS, arm
        changes: dict[str, Any] = {"arms": ()}
        if arm == "random":
            changes |= {"researcher": "random", "novelty": ("syntax",)}
        if arm == "no_novelty":
            changes |= {"novelty": ()}
        if arm in ("no_analyst", "no_judge") and self.models:
            changes |= {"models": self.models.model_copy(update={arm.removeprefix("no_"): None})}
        found = self.model_copy(update=changes)
        found._arm = arm
        return found

    def as_dry(self, tier: Tier) -> Campaign:
        """The same campaign with four candidates at most and every stage's plan shrunk: all its steps, no evidence."""
        budget = self.budget.at(tier)
        few = budget.model_copy(update={"candidates": min(4, budget.candidates)})
        found = self.model_copy(update={"budget": self.budget.model_copy(update={tier: few})})
        if self.researcher == "open":  # whoever would propose is not there
            found = found.model_copy(update={"researcher": "grammar"})
        found._dry = True
        return found

    def at(self, folder: Path, *, build: bool = True) -> Campaign:
        """The campaign of a file in `folder`, where its relative paths start: texts and tasks of one's own by their
        keys, each built once (without `build` only looked for, and checked), entries by their places, baselines of
        one's own by their names.

        Raises `CampaignError` with the field whose text, entries or file are not to be had.
        """
        entries = [folder / Path(path).expanduser() for path in self.cognition]
        for path in entries:
            if not path.exists():
                raise at_field(
                    "cognition", CampaignError(f"cognition: no entries at {path}; name a TOML file or a folder")
                )
        found = {one.name: one for one in self._read("baselines", self.baselines, folder)}
        mixers = {one.name: one for one in self._read("recipe", self._given_mixers, folder)}
        stages: dict[str, Any] = {"cognition": tuple(map(str, entries))}
        if self._domain.baseline is None:
            stages |= {"baselines": tuple(found), "start_from": called(self.start_from)}
        declared = [task for stage in (self.explore, self.verify, self.confirm) if stage for task in stage.tasks]
        text = next(filter(is_text, declared), "")  # what is trained for documents that bring nothing to train on
        for name in STAGES:
            stage: Stage | None = getattr(self, name)
            try:
                tasks = tuple(opened(task, folder, build=build, text=text) for task in stage.tasks) if stage else ()
                too_long = self._too_long(name, folder) if stage else ""
            except TaskError as error:
                raise at_field(name, CampaignError(f"{name}: {error}")) from error
            if too_long:
                raise at_field(name, CampaignError(f"{name}: {too_long}"))
            if stage is not None and tasks != stage.tasks:
                stages[name] = stage.model_copy(update={"tasks": tasks})
        located = self.model_copy(update=stages)
        located._baselines, located._mixers = found, mixers
        return located

    def _read(self, field: str, givens: Sequence[str], folder: Path) -> Iterator[Baseline]:
        """The mixers that a field names, each read where it lies."""
        known: dict[str, Baseline] = {}
        for given in givens:
            try:
                if field == "baselines":
                    found = self._baselines.get(given) or self._baseline_at(given, folder)
                else:
                    found = self._mixers.get(called(given)) or baseline_at(given, folder)
            except CampaignError as error:
                raise at_field(field, CampaignError(f"{field}: {error}")) from error
            twin = known.setdefault(found.address, found)
            if twin is not found:
                same = f"{twin.told} and {found.told} are one mixer by their content; leave one out"
                raise at_field(field, CampaignError(f"{field}: {same}"))
            yield found

    @property
    def _given_mixers(self) -> tuple[str, ...]:
        """The mixers beside the candidate in any pattern, as they are given, each once."""
        stages = (getattr(self, name) for name in STAGES)
        recipes = [self.recipe, *(stage.recipe for stage in stages if stage is not None)]
        said = (given for recipe in recipes for given in mixers_said(recipe))
        return tuple(dict.fromkeys([*mixers_of(self.slots), *said]))

    @property
    def mixers_beside(self) -> dict[str, Baseline]:
        """The mixers in any pattern but for the candidate, by name; a file's is read by `at`."""
        return self._mixers or {called(given): baseline_at(given, Path.cwd()) for given in self._given_mixers}

    def baseline(self, name: str) -> Baseline:
        """One of the baselines by its name; a file's is read by `at`."""
        return self._baselines.get(name) or self._baseline_at(name, Path.cwd())

    def _baseline_at(self, given: str, folder: Path) -> Baseline:
        """A baseline as this campaign's domain has it; those that are no programs are let off their domain's costs."""
        if self._domain.baseline is None:
            return baseline_at(given, folder)
        return Baseline(given, self._domain.baseline(given, self.setting), COSTS)

    @property
    def _domain(self) -> Domain:
        return domain_of(self.domain)

    @property
    def setting(self) -> Setting:
        """What the domain is told of this campaign."""
        plans = [self.plan(stage, tier) for tier in self.budget.tiers for stage in self.stages]
        blocks = min(plan.text.num_layers for plan in plans)
        return Setting(by_name(self.slots), blocks, self.at_most.get(SHARE, MOST_QUADRATIC))

    def controls_at(self, tier: Tier) -> tuple[str, ...]:
        """The controls that a tier trains in verify and confirm, on what decides: those that are no baselines, where
        what evolves is a mixer as they are."""
        has_none = tier == "smoke" or self._dry or self._domain.baseline is not None
        return () if has_none else tuple(name for name in self.controls if name not in self.baselines)

    def _too_long(self, name: StageName, folder: Path) -> str:
        """Why a text of one's own in a stage that is declared is too short, at the first tier at which it is."""
        stage: Stage = getattr(self, name)
        said = [self._said(name, tier) for tier in self.budget.tiers] if name in self.stages else []
        return next(filter(None, (longer_than(one, stage.tasks, folder) for one in said)), "")

    @property
    def is_open(self) -> bool:
        """Whether people and agents may propose (`asiarc propose`); to the researcher "open" nobody else does."""
        return self.open or self.researcher == "open"

    @property
    def arm(self) -> str:
        """Which of `ARMS` this is; empty for the full loop."""
        return self._arm

    @property
    def finalists(self) -> int:
        """How many candidates verify takes from explore: `top`, or four."""
        return (self.verify.top if self.verify else None) or 4

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that run, in order; what verify picks is always confirmed."""
        return ("explore",) if self.verify is None else STAGES

    def stage(self, name: StageName) -> Stage:
        """One of the stages that run."""
        assert name in self.stages, f"{name} does not run in this campaign"
        stage: Stage | None = getattr(self, name)
        if stage is None:
            assert self.verify is not None
            stage = self.verify.model_copy(update={"top": None, "learning_rates": ()})
        return stage

    def plan(self, name: StageName, tier: Tier) -> StagePlan:
        """What a stage trains at a tier: the tier's plan, over it what the campaign says, over that what the stage."""
        plan = stage_plan(tier, name).over(self._said(name, tier))
        if not self._dry:
            return plan
        return plan.shrunk() if self._domain.baseline is None else plan.shrunk(plan.text.num_layers)

    def _said(self, name: StageName, tier: Tier) -> dict[str, Any]:
        said = recipe_at(self.stage(name).recipe, tier).over(recipe_at(self.recipe, tier)).said
        return said | ({"layers": by_name(tuple(said["layers"]))} if "layers" in said else {})

    def resolved(self, tier: Tier) -> dict[str, Any]:
        """Every field with its value at one tier, as plain data: what the archive keeps and the identity hashes."""
        patience = {"silence_s", "longest_s"}  # changes no reply, so that a stopped run goes on with more of it
        kept_out: dict[str, Any] = {"budget": True, "researcher": True, "models": patience}
        if self._domain.baseline is None:
            kept_out |= {"domain": True, "slots": True}  # what evolves is what has always evolved
        data = self.model_dump(mode="json", exclude=kept_out)
        budget = self.budget.at(tier)
        data["researcher"] = self.researcher if isinstance(self.researcher, str) else self._researcher
        data["candidates"] = budget.candidates
        if not self.open:  # as before there were doors
            del data["open"]
        data["cognition"] = {Path(path).name: file_hash(Path(path)) for path in self.cognition}
        for part in (data, *(data[stage] for stage in STAGES if data[stage])):
            del part["recipe"]  # which stands, by stage, in what each trains
        data["recipe"] = {name: said for name in self.stages if (said := self._said(name, tier))}
        return data | ({"arm": self.arm} if self.arm else {})


def load_toml(path: Path) -> Campaign:
    """A campaign from a TOML file; the same model, the same errors, each with the table that it is in."""
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CampaignError(f"not TOML: {error}") from error
    for stage in STAGES:
        data |= {stage: _from_table(Stage, _with_recipe(data[stage], stage), stage)} if stage in data else {}
    data = _with_recipe(data, "")
    if "models" in data:
        data["models"] = _from_table(Models, data["models"], "models")
    if isinstance(data.get("budget"), dict):
        tiers = {
            tier: _from_table(Budget, value, f"budget.{tier}") if tier in TIERS else value
            for tier, value in data["budget"].items()
        }
        data["budget"] = _from_table(ByTier, tiers, "budget")
    return Campaign(**data)


def _with_recipe(data: Any, table: str) -> Any:
    """A table whose recipe, where it has one, is read: an error names the recipe's own table."""
    recipe = data.get("recipe") if isinstance(data, dict) else None
    if not isinstance(recipe, dict):
        return data
    name = f"{table}.recipe".lstrip(".")
    tiers = {tier: _from_table(Recipe, recipe[tier], f"{name}.{tier}") for tier in TIERS if tier in recipe}
    return data | {"recipe": _from_table(RecipeByTier if tiers else Recipe, recipe | tiers, name)}


def _from_table(model: type[Declaration], table: Any, name: str) -> Any:
    try:
        return model(**table) if isinstance(table, dict) else table
    except CampaignError as error:
        error.table = name
        raise


def to_toml(campaign: Campaign) -> str:
    """The declarative part of a campaign as TOML that `load_toml` reads back to an equal campaign."""
    data = campaign.model_dump(mode="json", exclude_none=True, exclude={"researcher"})
    if not isinstance(campaign.researcher, str):
        raise CampaignError("a researcher that is an object cannot be written as TOML; name one instead")
    return tomli_w.dumps(data | {"researcher": campaign.researcher})


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a TOML campaign; `asiarc/campaign.schema.json` holds it for editors.

    What an editor can complete is listed; what takes more than one field to judge is left to the model.
    """
    schema = Campaign.model_json_schema()
    fields = schema["properties"]
    own = {"type": "string", "pattern": OWN_PATTERN}
    written = {"type": "string", "pattern": PATTERN}
    starts = {"enum": [name for name in PANEL_NAMES if name not in QUADRATIC]}
    fields["start_from"]["anyOf"] = [starts, own, written]
    fields["baselines"] |= {"items": {"anyOf": [{"enum": list(SHIPPED_NAMES)}, own, written]}, "uniqueItems": True}
    fields["controls"] |= {"items": {"enum": list(CONTROL_NAMES)}, "uniqueItems": True}
    fields["domain"] |= {"enum": list(DOMAINS)}
    fields["match"]["items"] = {"enum": list(MATCHABLE)}
    fields["at_most"] |= {
        "propertyNames": {"enum": sorted({name for domain in DOMAINS for name in domain_of(domain).resources})},
        "properties": {SHARE: {"type": "number", "minimum": 0, "maximum": 1}},
        "additionalProperties": {"type": "number", "minimum": 1},
    }
    fields["policy"] |= {"enum": list(POLICIES)}
    fields["researcher"] |= {"type": "string", "enum": list(domain_of("mixer").researchers)}
    fields["researcher"].pop("anyOf", None)
    schema["$id"] = "campaign.schema.json"
    return schema

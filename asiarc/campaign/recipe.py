"""A campaign's own recipe: what it says of sizes, budget and rate over its tier's, and which of that cannot be trained.

Everything is judged at collection, by arithmetic alone: no mixer is made, no text is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from asiarc.campaign.own import called, check_given, check_names
from asiarc.core.declared import Declaration
from asiarc.core.device import device_type
from asiarc.core.errors import CampaignError, CandidateError, TaskError
from asiarc.core.pattern import CANDIDATE, MOST_SLOTS, NO_MIXER, Layers, mixers_of, named_by
from asiarc.core.recipe import (
    OF_TEXT,
    ON_GPU,
    SIZE_TOLERANCE,
    TIERS,
    TRIAL_MEMORY_BYTES,
    Precision,
    StagePlan,
    Tier,
    TrialRecipe,
    vocabulary,
)
from asiarc.models.baselines import mixer_size
from asiarc.models.memory import HEADROOM, Passes, is_chunked, peak_bytes
from asiarc.models.sizes import fits, total_parameters
from asiarc.tasks import is_key, is_text, own_path
from asiarc.tasks.catalogue import CATALOGUE, parse_name

SYNTHETIC_LENGTH = 64  # positions of a synthetic task, about: for the estimate of memory


class CampaignDeclaration(Declaration):
    """A part of a campaign."""

    refused = CampaignError


class Recipe(CampaignDeclaration):
    """What is trained, as far as it is said; the rest is as the tier has it (`asiarc.core.recipe`).

    `steps` (or `tokens`) are those of the last rung; the lower rungs of explore keep their proportion to it. Synthetic
    tasks have a training of their own, over which what is said holds too, but for `seq_len` and `tokenizer`: their
    level says how long they are, and their tokens are bytes. The vocabulary is the tokenizer's.
    """

    d_model: int | None = Field(default=None, ge=16, le=16_384, description="channels")
    num_layers: int | None = Field(default=None, ge=1, le=256, description="blocks of a mixer and an MLP")
    num_heads: int | None = Field(default=None, ge=1, le=1024, description="heads; they divide d_model")
    mlp_ratio: float | None = Field(
        default=None, ge=0, le=64, description="hidden units of the MLP over d_model, before sizes are matched; 0: none"
    )
    seq_len: int | None = Field(default=None, ge=8, le=1_048_576, description="tokens of a sequence of text")
    batch_size: int | None = Field(default=None, ge=1, le=65_536, description="sequences a step")
    micro_batch: int | None = Field(
        default=None, ge=1, le=65_536, description="sequences a pass of a step; not given: as many as fit the memory"
    )
    layers: Layers | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_SLOTS,
        description="what fills the blocks, repeated: 'candidate', other mixers by name or path, 'mlp' (no mixer); "
        "@SHARE behind one gives it an MLP so many times as wide (@0: none)",
    )
    steps: int | None = Field(default=None, ge=1, le=10**8, description="steps of a trial on the last rung")
    tokens: int | None = Field(default=None, ge=1, le=10**13, description="training tokens, in place of steps")
    learning_rate: float | None = Field(default=None, gt=0, lt=1, description="AdamW's peak rate")
    precision: Precision | None = Field(
        default=None, description="what a step computes in; not given: float32 on a CPU, bfloat16 on a GPU"
    )

    tokenizer: str | None = Field(
        default=None, description="what makes tokens of text: bytes, gpt2 (the paper's), or bpe-N, one of our own"
    )

    @field_validator("tokenizer")
    @classmethod
    def _known_tokenizer(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                vocabulary(name)
            except TaskError as error:
                raise ValueError(str(error)) from error
        return name

    @field_validator("layers")
    @classmethod
    def _known_layers(cls, layers: Layers | None) -> Layers | None:
        if layers is not None:
            check_layers(layers)
        return layers

    @model_validator(mode="after")
    def _one_budget(self) -> Recipe:
        if self.steps and self.tokens:
            raise ValueError(f"steps={self.steps} and tokens={self.tokens} both say how long; give one of them")
        return self

    def over(self, other: Recipe | None) -> Recipe:
        """This recipe, and what it does not say as another has it."""
        theirs = other.said if other else {}
        if self.steps or self.tokens:
            theirs = {name: value for name, value in theirs.items() if name not in ("steps", "tokens")}
        return Recipe(**theirs | self.said)

    @property
    def said(self) -> dict[str, Any]:
        """What is said, by field."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def mixers(self) -> Layers:
        """The mixers beside the candidate in the pattern, as they are given."""
        return mixers_of(self.layers or ())


class RecipeByTier(CampaignDeclaration):
    """A recipe for each tier; one that is not named is trained as the tier has it."""

    smoke: Recipe | None = None
    quick: Recipe | None = None
    full: Recipe | None = None
    gpu: Recipe | None = None
    paper: Recipe | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> RecipeByTier:
        if not any(getattr(self, tier) for tier in TIERS):
            raise ValueError(f"no tier is named; name at least one of {', '.join(TIERS)}, or leave the recipe out")
        return self


AnyRecipe = Recipe | RecipeByTier


def check_layers(layers: Layers) -> None:
    """Raise `ValueError` for a pattern that has no slot for the candidate, or one that cannot be filled."""
    check_slots(layers)
    if not any(slot.partition("@")[0] == CANDIDATE for slot in layers):
        raise ValueError(
            f"layers={layers} has no slot for what evolves; put {CANDIDATE!r} where it goes, or search for a pattern "
            "with domain='pattern'"
        )


def check_slots(slots: Layers) -> None:
    """Raise `ValueError` for a slot that cannot be read or names an unknown mixer, and for two files of one name."""
    try:
        givens = mixers_of(slots)
    except CandidateError as error:
        raise ValueError(str(error)) from error
    for given in givens:
        if called(given) in (CANDIDATE, NO_MIXER):
            raise ValueError(
                f"{given!r} would be called {called(given)}, which means something in a pattern; rename it"
            )
        check_given(given)
    check_names(givens)


def by_name(layers: Layers) -> Layers:
    """A pattern whose mixers have the names that they have in results, wherever their files lie."""
    return named_by(layers, {given: called(given) for given in mixers_of(layers)})


def mixers_said(recipe: AnyRecipe | None) -> Layers:
    """The mixers that a recipe names beside the candidate, at whatever tier, each once."""
    recipes = [getattr(recipe, tier) for tier in TIERS] if isinstance(recipe, RecipeByTier) else [recipe]
    return tuple(dict.fromkeys(given for one in recipes if one for given in one.mixers))


def read_recipe(value: Any) -> Any:
    """What a field `recipe` may be, from a recipe, `by_tier` of recipes, or plain data of either."""
    if isinstance(value, dict):
        return (RecipeByTier if value.keys() & set(TIERS) else Recipe)(**value)
    if value is not None and not isinstance(value, AnyRecipe):
        raise ValueError(
            f"a recipe is Recipe(d_model=...) or by_tier(smoke=Recipe(...)), {type(value).__name__} is neither"
        )
    return value


def recipe_at(recipe: AnyRecipe | None, tier: Tier) -> Recipe:
    """What is said at one tier."""
    found: Recipe | None = getattr(recipe, tier) if isinstance(recipe, RecipeByTier) else recipe
    return found or Recipe()


class WithRecipe(CampaignDeclaration):
    """A part of a campaign that may say how it is trained."""

    recipe: AnyRecipe | None = Field(
        default=None, description="Recipe(d_model=..., ...) over the tier's, or by_tier(smoke=Recipe(...)) of them"
    )

    @field_validator("recipe", mode="before")
    @classmethod
    def _any_recipe(cls, value: Any) -> Any:
        return read_recipe(value)


# --- what cannot be trained -------------------------------------------------------------------------------------------


def faults(
    plan: StagePlan, tasks: Sequence[str], tier: Tier, *, start_from: str, baselines: Sequence[str], is_matched: bool
) -> Iterator[str]:
    """Why what a campaign says of a stage cannot be trained, each with the nearest that can."""
    said = dict(plan.said)
    of_text = [task for task in tasks if is_text(task)]
    recipes = [plan.text] if of_text else []
    recipes += [recipe for task in tasks if (recipe := _training(task, said)) is not None]
    for recipe in recipes:
        yield from _uneven(recipe)
        yield from _cut_short(recipe)
        if device_type() == "cpu" and tier not in ON_GPU:
            yield from _too_large(recipe, (start_from, *baselines))
    if is_matched and of_text and not plan.text.d_model % plan.text.num_heads:
        yield from _unmatched(plan.text, start_from, baselines)


def without_text(said: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """Why a length that is said says nothing, where no task is text; empty where it does."""
    if "seq_len" not in said or any(_training(task, {}) is None for task in tasks):
        return ""
    return (
        f"seq_len={said['seq_len']} is the length of text, and none of {', '.join(dict.fromkeys(tasks))} is text; how "
        "long a synthetic task is follows from its level: leave seq_len out, or name a level (overwrite:hard)"
    )


def longer_than(said: Mapping[str, Any], tasks: Sequence[str], folder: Path) -> str:
    """Why a text of one's own is too short for the length that is said; empty where each may be long enough.

    Raises `TaskError` where a text is not there.
    """
    wanted = said.get("seq_len", 0)
    for task in tasks if wanted else ():
        base, level = parse_name(task)
        if base == "text" and level not in CATALOGUE["text"].levels and not is_key(level):
            path = own_path(level, folder)
            files = path.rglob("*") if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files if file.is_file())
            if wanted > size:
                return f"{task} has {size:,} bytes, fewer than seq_len={wanted:,}; give at most {size:,}"
    return ""


def _training(task: str, said: Mapping[str, Any]) -> TrialRecipe | None:
    """A synthetic task's own recipe, and what is said over it; None for text and for tasks of the user's own."""
    listing = CATALOGUE.get(parse_name(task)[0])
    if listing is None or listing.kind == "text":
        return None
    t = listing.training
    own = TrialRecipe(
        task, t.d_model, t.num_layers, t.num_heads, t.mlp_ratio, SYNTHETIC_LENGTH, t.batch_size, t.steps
    )  # fmt: skip
    return own.at(**{name: v for name, v in said.items() if name not in OF_TEXT})


def _uneven(recipe: TrialRecipe) -> Iterator[str]:
    d, h = recipe.d_model, recipe.num_heads
    if d % h:
        heads = min((n for n in range(1, d + 1) if d % n == 0), key=lambda n: abs(n - h))
        width = h * max(1, round(d / h))
        yield f"num_heads={h} does not divide d_model={d}; the nearest that do: num_heads={heads}, or d_model={width}"


def _cut_short(recipe: TrialRecipe) -> Iterator[str]:
    slots, blocks = len(recipe.layers), recipe.num_layers
    if slots > blocks:
        yield (
            f"num_layers={blocks} holds no whole pattern of {slots} slots, so that some would fill no block; the "
            f"nearest that does: num_layers={slots}"
        )


def step_bytes(recipe: TrialRecipe, mixer: str) -> int:
    """Bytes that training a mixer takes at least, about: in passes of the rows that are said, or of one
    (`asiarc.models.memory`).
    """
    parameters = model_size(recipe, mixer)
    rows = min(recipe.micro_batch or 1, recipe.batch_size)
    ways = (Passes(rows, is_chunked(recipe), again) for again in (False, True))
    return min(peak_bytes(recipe, parameters, way, mixer) for way in ways)


def model_size(recipe: TrialRecipe, mixer: str) -> int:
    """Parameters of a model as its recipe has it; a mixer that is not shipped counts as five d x d matrices."""
    mixing = mixing_size(recipe, mixer, unknown=5 * recipe.d_model**2)
    return total_parameters(mixing or 0, recipe, round(recipe.mlp_ratio * recipe.d_model))


def mixing_size(recipe: TrialRecipe, mixer: str, unknown: int | None = None) -> int | None:
    """Parameters of all mixers of a model whose candidate is `mixer`; what is not shipped counts as `unknown`, and
    where that is None nothing can be said."""
    names = [mixer if block.mixer == CANDIDATE else block.mixer for block in recipe.blocks if block.mixer]
    sizes = [mixer_size(name, recipe.d_model, recipe.num_heads) or unknown for name in names]  # a pattern has none
    return None if None in sizes else sum(filter(None, sizes))


def _too_large(recipe: TrialRecipe, mixers: Sequence[str]) -> Iterator[str]:
    mixer = max(mixers, key=lambda one: step_bytes(recipe, one))
    needs = step_bytes(recipe, mixer)
    if needs > TRIAL_MEMORY_BYTES:
        nearest = ", ".join(f"{name}={value}" for name, value in _fitting(recipe, mixer))
        rows = min(recipe.micro_batch or 1, recipe.batch_size)
        yield (
            f"a trial of {mixer} takes about {needs / 2**30:.1f} GiB at {rows} rows a pass, the sandbox gives it "
            f"{TRIAL_MEMORY_BYTES / 2**30:g}; the nearest that fits: {nearest}"
        )


def _fitting(recipe: TrialRecipe, mixer: str) -> Iterator[tuple[str, int]]:
    """One field's largest value that fits, the others as they are: of the rows a pass, else the length, else the width,
    which goes with one row of at most 128 tokens.
    """

    def largest(name: str, values: range, base: TrialRecipe) -> int:
        """The largest of ascending values that fits, or 0."""
        allowed = HEADROOM * TRIAL_MEMORY_BYTES
        count = bisect_right(values, allowed, key=lambda value: step_bytes(base.at(**{name: value}), mixer))
        return values[count - 1] if count else 0

    one = recipe.at(micro_batch=1)
    if rows := largest("micro_batch", range(1, recipe.micro_batch or 1), recipe):
        yield "micro_batch", rows
    elif tokens := largest("seq_len", range(8, recipe.seq_len), one):
        yield "seq_len", tokens
    else:
        widths, tokens = range(recipe.num_heads, recipe.d_model, recipe.num_heads), min(recipe.seq_len, 128)
        if tokens < recipe.seq_len:
            yield "seq_len", tokens
        yield "d_model", largest("d_model", widths, one.at(seq_len=tokens)) or recipe.num_heads


def _unmatched(recipe: TrialRecipe, start_from: str, baselines: Sequence[str]) -> Iterator[str]:
    """What no width of the MLP brings to start_from's size; mixers of the user's own are counted when they are made."""
    start = mixing_size(recipe, start_from)
    if not recipe.mlp_ratio or not any(block.share for block in recipe.blocks):
        yield (
            "mlp_ratio=0 (or @0 in every slot) leaves no MLP whose width could bring models to one size; give "
            "mlp_ratio=1, or match=() for models of the sizes that they have"
        )
        return
    if start is None:
        return
    hidden = round(recipe.mlp_ratio * recipe.d_model)
    sizes = {name: mixing_size(recipe, name) for name in baselines}
    short = {name: size for name, size in sizes.items() if size and not _fits(recipe, start, size, hidden)}
    if short:
        name = max(short, key=lambda one: short[one])
        enough = next(h for h in count(hidden + 1) if all(_fits(recipe, start, s, h) for s in short.values()))
        yield (
            f"no width of the MLP brings {name} ({short[name]:,} parameters in mixers) to the size of {start_from} "
            f"({start:,} in mixers, {hidden} hidden units) within {SIZE_TOLERANCE:.0%}; the nearest mlp_ratio at which "
            f"one does: {_rounded_up(enough / recipe.d_model):g}"
        )


def _rounded_up(ratio: float) -> float:
    """To two digits behind the point, upwards."""
    return -(-round(ratio * 1e6) // 10_000) / 100


def _fits(recipe: TrialRecipe, start: int, mixer: int, hidden: int) -> bool:
    return fits(mixer, recipe, total_parameters(start, recipe, hidden))

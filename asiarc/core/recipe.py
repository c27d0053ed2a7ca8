"""Recipes: the size of the model and the budget of one trial, by stage and tier. No torch in here.

Budgets are in steps and tokens, never in wall time. The micro sizes are the ones at which mixers separate on a CPU
within seconds; the paper's own sizes are named so that they can be built, counted and run where there is hardware.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any, Literal, get_args

from asiarc.core.errors import TaskError
from asiarc.core.pattern import CANDIDATE, Layers, Slot, pattern_of, slot_of

Tier = Literal["smoke", "quick", "full", "gpu", "paper"]
StageName = Literal["explore", "verify", "confirm"]
Precision = Literal["float32", "bfloat16"]
TIERS: tuple[Tier, ...] = get_args(Tier)
ON_GPU: tuple[Tier, ...] = ("gpu", "paper")  # whose sizes want one
STAGES: tuple[StageName, ...] = get_args(StageName)
OF_TEXT = ("seq_len", "tokenizer", "steps", "tokens")  # what a campaign says of its text, and of no synthetic task
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
TRIAL_MEMORY_BYTES = 8 * 2**30  # what a trial's process may take in the sandbox
OWN_VOCABULARY = range(257, 65_537)  # sizes of a byte-pair encoding of our own: every byte and BOS, two bytes a token
SIZE_TOLERANCE = 0.02  # by how much a model may miss the number of parameters that it is brought to
REFERENCE_SEEDS = 3  # of start_from on a rung, at least: what a search's gains are measured against


def vocabulary(tokenizer: str) -> int:
    """How many tokens a tokenizer has: ``bytes`` 256, ``gpt2`` 50,257, ``bpe-4096`` (byte pairs of our own) 4,096.

    Raises `TaskError` for another name.
    """
    known = {"bytes": 256, "gpt2": 50_257}
    size = known.get(tokenizer) or (int(tokenizer[4:]) if re.fullmatch(r"bpe-[0-9]{3,5}", tokenizer) else 0)
    if not size or (tokenizer not in known and size not in OWN_VOCABULARY):
        raise TaskError(
            f"unknown tokenizer {tokenizer!r}. Valid: bytes, gpt2, and bpe-N for a byte-pair encoding of N tokens, "
            f"{OWN_VOCABULARY.start} to {OWN_VOCABULARY.stop - 1} (bpe-4096)."
        )
    return size


@dataclass(frozen=True)
class TrialRecipe:
    """Everything that fixes a trial but the candidate, the task and the seed; `name` says which sizes it started from.

    Sizes: `d_model` channels, `num_layers` blocks of `num_heads` heads, SwiGLU of `mlp_ratio` x d_model hidden
    units (0: no MLP), sequences of `seq_len` tokens, `batch_size` sequences a step. Optimiser: AdamW, linear
    warm-up over `warmup` of the steps, cosine down to `final_lr` x the peak, gradient norm clipped at `clip`.
    """

    name: str
    d_model: int
    num_layers: int
    num_heads: int
    mlp_ratio: float
    seq_len: int
    batch_size: int
    steps: int
    learning_rate: float = 3e-3
    warmup: float = 0.1
    final_lr: float = 0.05
    weight_decay: float = 0.1
    clip: float = 1.0
    vocab_size: int = 256
    tokenizer: str = "bytes"  # what makes tokens of text, by name; see `vocabulary`
    evaluations: int = 5  # losses along the curve, each on the same rows of the training split
    precision: Precision | None = None  # what a step computes in; None: as the device does (`core.device.PRECISION`)
    micro_batch: int | None = None  # rows a pass of a step; None: as many as the memory holds (`models.memory`)
    compile: bool = False  # whether torch.compile makes one program of each block
    layers: Layers = ()  # what fills the blocks (`asiarc.core.pattern`); empty: the candidate fills them all

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))  # JSON has lists

    @property
    def tokens(self) -> int:
        """Training tokens of one trial."""
        return self.steps * self.batch_size * self.seq_len

    @property
    def blocks(self) -> tuple[Slot, ...]:
        """What fills each block: the pattern, repeated."""
        slots = [slot_of(text) for text in self.layers or (CANDIDATE,)]
        return tuple(slots[index % len(slots)] for index in range(self.num_layers))

    def filled_by(self, source: str) -> TrialRecipe:
        """The recipe of a source's model: a source that is a pattern says itself what fills the blocks."""
        layers = pattern_of(source)
        return self if layers is None else replace(self, layers=layers)

    def at(self, **changes: Any) -> TrialRecipe:
        """The same recipe with some fields changed; with another tokenizer its vocabulary, and with a pattern of more
        slots as many blocks, where none is given."""
        if changes.get("tokenizer", self.tokenizer) != self.tokenizer:
            changes = {"vocab_size": vocabulary(changes["tokenizer"])} | changes
        if "layers" in changes:
            changes = {"num_layers": max(self.num_layers, len(changes["layers"]))} | changes
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for payloads and the archive; without a pattern there is none in it."""
        return {name: value for name, value in asdict(self).items() if name != "layers" or value}


MICRO = TrialRecipe(
    "micro",
    d_model=64,
    num_layers=2,
    num_heads=2,
    mlp_ratio=2.0,
    seq_len=128,
    batch_size=32,
    steps=250,
    learning_rate=8e-3,
)
# Half the bytes a step, since recall is learnt in steps, and states small enough to be filled; so many steps that
# designs lie further apart than seeds, and few enough that none is at the ceiling (results/LOG.md, 2026-12-02).
QUICK = MICRO.at(num_heads=4, batch_size=16, steps=160)
SMALL = TrialRecipe(
    "small", d_model=128, num_layers=4, num_heads=4, mlp_ratio=2.0, seq_len=256, batch_size=16, steps=1000
)
FULL = SMALL.at(batch_size=8, steps=100, learning_rate=4e-3)  # after 160 steps DeltaNet is at the ceiling here, too
MEDIUM = TrialRecipe(
    "medium",
    d_model=256,
    num_layers=6,
    num_heads=4,
    mlp_ratio=8 / 3,
    seq_len=512,
    batch_size=16,
    steps=2000,
    learning_rate=1.5e-3,
)
# The paper's exploration and verification sizes (arXiv 2507.18074, section 4.1 and appendix A.2): GPT-2 tokens.
PAPER_20M = TrialRecipe(
    "paper-20m",
    d_model=256,
    num_layers=8,
    num_heads=8,
    mlp_ratio=8 / 3,
    seq_len=2048,
    batch_size=256,
    steps=2000,
    learning_rate=3e-4,
    vocab_size=50_257,
    tokenizer="gpt2",
)
# 20 million parameters again, in mixers and MLPs instead of a large vocabulary, and tokens that need no network. As far
# as one GPU brings the whole panel in an hour: 24 mixers (a panel of 20, four survivors) on three seeds are 72 trials
# of 98 million tokens; at 3 x 48 MFLOP a token that is 1.0e18 FLOP, 58 minutes of an H100 at 30 % of its peak.
GPU_20M = TrialRecipe(
    "gpu-20m",
    d_model=512,
    num_layers=6,
    num_heads=8,
    mlp_ratio=8 / 3,
    seq_len=2048,
    batch_size=32,
    steps=1500,
    learning_rate=1e-3,
    vocab_size=4096,
    tokenizer="bpe-4096",
)
PAPER_340M = TrialRecipe(
    "paper-340m",
    d_model=1024,
    num_layers=24,
    num_heads=8,
    mlp_ratio=8 / 3,
    seq_len=2048,
    batch_size=256,
    steps=2000,
    learning_rate=3e-4,
    vocab_size=50_257,
    tokenizer="gpt2",
)
RECIPES = {p.name: p for p in (MICRO, SMALL, MEDIUM, GPU_20M, PAPER_20M, PAPER_340M)}


def reference_seeds(seeds: int, most: int) -> int:
    """See `StagePlan.reference_seeds`, by the plan's own bound."""
    return min(max(seeds, REFERENCE_SEEDS), most)


@dataclass(frozen=True)
class StagePlan:
    """What one stage trains at one tier: text rungs in steps, and how far capability checks are trained."""

    text: TrialRecipe
    rungs: tuple[int, ...]  # steps of text training
    keep: float  # explore's budget is what it costs to take so much of each rung to the next; see `runs`
    capability: float  # share of a synthetic task's own suggested steps
    documents: int  # lm-eval documents per task
    most_seeds: int = 64  # smoke exercises every path on fewer seeds than a campaign declares
    most_entrants: int = 64  # and carries fewer finalists
    said: tuple[tuple[str, Any], ...] = ()  # of a campaign's own recipe: holds for synthetic tasks too

    def over(self, said: Mapping[str, Any]) -> StagePlan:
        """The plan with what a campaign says of it: fields of `TrialRecipe`, or `tokens` in place of `steps`.

        Steps and tokens are the last rung's; the rungs below keep their proportion, those that fall together are one.
        """
        if not said:
            return self
        fields = {name: value for name, value in said.items() if name not in ("steps", "tokens")}
        text = self.text.at(**fields)
        last = steps_said(said, text) or self.rungs[-1]
        rungs = dict.fromkeys(max(1, round(steps * last / self.rungs[-1])) for steps in self.rungs)
        return replace(self, text=text, rungs=tuple(rungs), said=tuple(sorted(said.items())))

    def shrunk(self, blocks: int = 2) -> StagePlan:
        """The same stage over bytes and the smallest model, long enough to pass every step: a dry run's."""
        blocks = max(blocks, len(self.text.layers))
        size = {"d_model": 32, "num_layers": blocks, "num_heads": 2, "batch_size": 4, "seq_len": 64}
        rungs = tuple(range(2, 2 + len(self.rungs)))
        text = self.text.at(**size, steps=rungs[-1], evaluations=1, tokenizer="bytes")
        pattern = (("layers", self.text.layers),) if self.text.layers else ()
        said = (*((name, size[name]) for name in sorted(size)), ("steps", rungs[-1]), *pattern)
        return replace(self, text=text, rungs=rungs, documents=4, most_seeds=2, most_entrants=2, said=said)

    def reference_seeds(self, seeds: int) -> int:
        """Seeds of start_from on a rung, where candidates have `seeds`: what a search's gains are measured against."""
        return reference_seeds(seeds, self.most_seeds)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a run's identity."""
        return asdict(self) | {"text": self.text.as_dict()}

    @property
    def costs(self) -> tuple[float, ...]:
        """What an evaluation on each rung costs, in units of one on the last."""
        return tuple(steps / self.rungs[-1] for steps in self.rungs)

    def runs(self, seeds: int) -> float:
        """Explore's budget a candidate, in evaluations on the last rung: what one evaluation on each rung would cost,
        and `seeds` on the last, if a share `keep` of every rung entered the next. Who is evaluated, the policy decides.
        """
        shares = [self.keep**rung for rung in range(len(self.rungs))]
        return sum(s * c for s, c in zip(shares, self.costs, strict=True)) + (seeds - 1) * shares[-1]


_PLANS: dict[tuple[str, str], StagePlan] = {
    ("smoke", "explore"): StagePlan(MICRO.at(batch_size=16), (12,), 1.0, 0.05, 16, 2),
    ("smoke", "verify"): StagePlan(MICRO.at(batch_size=16), (24,), 1.0, 0.05, 16, 2, 2),
    ("smoke", "confirm"): StagePlan(MICRO.at(batch_size=16), (24,), 1.0, 0.05, 16, 2),
    ("quick", "explore"): StagePlan(QUICK, (100, 160), 1 / 4, 1.0, 64),
    ("quick", "verify"): StagePlan(QUICK, (160,), 1.0, 1.0, 128),
    ("quick", "confirm"): StagePlan(QUICK, (160,), 1.0, 1.0, 128),
    ("full", "explore"): StagePlan(QUICK, (100, 160), 1 / 4, 1.0, 64),
    ("full", "verify"): StagePlan(FULL, (100,), 1.0, 1.0, 128),
    ("full", "confirm"): StagePlan(FULL, (100,), 1.0, 1.0, 256),
    ("gpu", "explore"): StagePlan(GPU_20M, (100, 400), 1 / 4, 1.0, 64),
    ("gpu", "verify"): StagePlan(GPU_20M, (1500,), 1.0, 1.0, 500, 3, 4),
    ("gpu", "confirm"): StagePlan(GPU_20M, (1500,), 1.0, 1.0, 500, 3),
    ("paper", "explore"): StagePlan(PAPER_20M, (2000,), 1.0, 1.0, 500),
    ("paper", "verify"): StagePlan(PAPER_340M, (2000,), 1.0, 1.0, 500),
    ("paper", "confirm"): StagePlan(PAPER_340M, (30_000,), 1.0, 1.0, 500),
}


def steps_said(said: Mapping[str, Any], recipe: TrialRecipe) -> int | None:
    """The steps that were said, or that the tokens that were said take with a recipe's batch; None for neither."""
    if tokens := said.get("tokens"):
        return ceil(tokens / (recipe.batch_size * recipe.seq_len))
    return said.get("steps")


def stage_plan(tier: Tier, stage: StageName) -> StagePlan:
    """The plan of one stage at one tier."""
    return _PLANS[tier, stage]

"""Every task with its source, its difficulty table, its chance level and a training that suits it. Data only.

`role` says what a score may be used for: text *decides* between mixers, and one that was not shown to measure memory
(`Validity`) stands back for one that was; overwrite and reset are *capability* checks, passed or failed in seconds; the
rest is *reported* and never decides, because at the size of a CPU trial it either does not separate mixers that train
in linear time or orders them the wrong way round (see `Training`).

What is unusual: parity, s3 and memorisation never show an answer to the model. Their targets are not the next
character but what the reader should know at that point, so that an earlier answer cannot be copied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import comb
from typing import Literal

from asiarc.core.errors import TaskError, unknown_name

ORDER = 5  # of the tokens that recur; as `asiarc.tasks.recurring` has it, which imports numpy

Settings = Mapping[str, int | float]
Kind = Literal["text", "synthetic"]
Role = Literal["decides", "capability", "reported"]
Style = Literal["choice", "cloze", "rolling"]

BASE = "base"
# Stand for a task of one's own: a generator and given documents by their keys, and both by the place of their file.
OWN, DOCUMENTS, FILE = "own", "documents", "file"
LM_EVAL = "lm_eval"  # stands for a task that lm-eval brings
YAML = (".yaml", ".yml")
PLACE = re.compile(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)(?::(?P<level>[\w.-]+))?", re.DOTALL)
KEY = r"[a-z0-9_]+-[0-9a-f]{16}"


@dataclass(frozen=True)
class Training:
    """A model and a budget at which a task says something about a mixer on one CPU core.

    ``d_model`` is the width, a head has ``d_model // num_heads`` channels, ``mlp_ratio`` 0 leaves the MLP
    out; the learning rate is AdamW's peak, warmed up over a tenth of ``steps`` and annealed by a cosine.

    How the capability checks were set: by pilots with seed 0 (learning rate 5e-3 or 1e-2, 1 or 4 heads, 300
    to 500 steps; 8 to 36 keys for reset), taking the cheapest at which the mixers that are made for a task
    do it. Then, held-out accuracy over seed 0 and two seeds on which nothing was chosen, 5 to 17 CPU-seconds
    a run:

    =========  =========  =========  =========  ===========
    task       linear     SSD        delta      gated delta
    =========  =========  =========  =========  ===========
    overwrite  .182-.185  .995-.998  1.000      1.000
    reset      .437-.445  .998-.999  .959-.972  1.000
    parity     -          -          .586       -
    =========  =========  =========  =========  ===========

    Parity (seed 0 only) takes the delta rule with negative eigenvalues, beta in [0, 2], to 1.000.

    Negative results. Reset with queries drawn from 8 keys at random was solved by the delta rule without a
    gate, hence more keys, and queries for what the last segment bound; 16 keys still gave it .98. On
    overwrite SSD is behind the delta rule in loss (0.007-0.028 bits against 0.0001), hardly in accuracy. At
    overwrite:hard 300 steps separate nothing (SSD .976, delta .984, one seed). S3 is not solved in 300 steps
    (one seed: delta .25; with negative eigenvalues .36, which tracks the sign and no more, and .26 on swaps,
    less than counting would give). What is reported only keeps settings that were not examined one by one:
    in longer studies recall, selective copying and induction did not order mixers at this size, or ordered
    them the wrong way round.
    """

    num_layers: int
    num_heads: int
    d_model: int
    mlp_ratio: float
    steps: int
    batch_size: int
    learning_rate: float


CONTROLS = ("local_filter", "bag_of_ngrams", "window_16_attention")  # `asiarc.models.controls`, which has them


@dataclass(frozen=True)
class Shown:
    """Where a task was shown to measure memory: the committed study, the size that it was trained at."""

    study: str
    size: str


@dataclass(frozen=True)
class Validity:
    """What must hold for a task to be said to measure memory: the best mixer with a memory is ahead of each of the
    `controls` by an interval, and memory's share of what context gives is at least `share`
    (`asiarc.evidence.validity`). `shown` is where that was found, by level; a level that is missing was not shown.
    """

    controls: tuple[str, ...] = CONTROLS
    share: float = 0.05
    shown: Mapping[str, Shown] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """One line of the catalogue; `levels` is the difficulty table and always has a ``base``.

    `chance` is the accuracy of the best reader who knows the task and the position, and reads nothing. Of a text's
    level, ``row`` is the least length of a row that it is trained on, ``recurring`` the order of the tokens that are
    scored (`asiarc.tasks.recurring`; without it all are).
    """

    summary: str
    source: str
    role: Role
    style: Style
    levels: Mapping[str, Settings]
    training: Training
    chance: Callable[[Settings], float] | None = None
    validity: Validity = Validity()

    @property
    def kind(self) -> Kind:
        """Text is rolled over, everything else is generated."""
        return "text" if self.style == "rolling" else "synthetic"


CHECK = Training(num_layers=1, num_heads=1, d_model=64, mlp_ratio=0.0, steps=300, batch_size=64, learning_rate=1e-2)
_DEEP = Training(num_layers=2, num_heads=2, d_model=64, mlp_ratio=2.0, steps=600, batch_size=64, learning_rate=3e-3)
TEXT = Training(num_layers=2, num_heads=2, d_model=64, mlp_ratio=2.0, steps=500, batch_size=32, learning_rate=3e-3)

_MAD = "MAD, Poli et al. 2024, arXiv:2403.17844"


def _one_of(setting: str) -> Callable[[Settings], float]:
    return lambda settings: 1.0 / settings[setting]


def _null_or_value(settings: Settings) -> float:
    """Always answering "void" is right for the keys that only the last segment bound, when ``queries <= pairs``.

    Two segments of ``pairs`` out of ``keys`` share o keys with the hypergeometric probability; of the ``2 pairs - o``
    keys worth asking for, ``pairs - o`` are void.
    """
    keys, pairs = int(settings["keys"]), int(settings["pairs"])
    shared = {o: comb(pairs, o) * comb(keys - pairs, pairs - o) / comb(keys, pairs) for o in range(pairs + 1)}
    return sum(share * (pairs - o) / (2 * pairs - o) for o, share in shared.items())


CATALOGUE: dict[str, Listing] = {
    "text": Listing(
        summary="English prose, byte by byte",
        source="docstrings of the packages that asiarc is installed with (asiarc.tasks.prose)",
        role="decides",
        style="rolling",
        levels={
            BASE: {"length": 128},
            "read-1024": {"length": 128, "reads": 1024},
            "long": {"length": 512, "row": 512},
            "recurring": {"length": 512, "row": 512, "recurring": ORDER},
        },
        training=TEXT,
    ),
    "code": Listing(
        summary="Python's own library without comments and docstrings, byte by byte: names come back",
        source="the sources of the standard library of the Python that runs asiarc (asiarc.tasks.code)",
        role="reported",
        style="rolling",
        levels={
            BASE: {"length": 512, "row": 512},
            "recurring": {"length": 512, "row": 512, "recurring": ORDER},
            "long": {"length": 1024, "row": 1024},
            "long-recurring": {"length": 1024, "row": 1024, "recurring": ORDER},
        },
        training=TEXT,
    ),
    "mixed": Listing(
        summary="English prose with marked pairs in it; what a pair's key was bound to is asked for, and scored alone",
        source="recall as in MQAR, Arora et al. 2023, arXiv:2312.04927, inside the text of 'text' (asiarc.tasks.mixed)",
        role="decides",
        style="rolling",
        levels={
            BASE: {"length": 256, "row": 256, "spans": 24, "keys": 8, "kind": 0},
            "overwrite": {"length": 256, "row": 256, "spans": 24, "keys": 6, "kind": 1},
            "counting": {"length": 256, "row": 256, "spans": 24, "keys": 5, "kind": 2},
            "zipf": {"length": 256, "row": 256, "spans": 48, "keys": 16, "kind": 1, "zipf": 1},
            "zipf-once": {"length": 256, "row": 256, "spans": 48, "keys": 16, "kind": 0, "zipf": 1},
        },
        training=TEXT,
        validity=Validity(
            share=0.1, shown=dict.fromkeys(("zipf", "zipf-once"), Shown("results/instruments", "micro"))
        ),
    ),
    "fineweb-edu": Listing(
        summary="educational web pages, byte by byte; needs a network once",
        source="FineWeb-Edu, Penedo et al. 2024, arXiv:2406.17557 (HuggingFaceFW/fineweb-edu, sample-10BT)",
        role="decides",
        style="rolling",
        levels={BASE: {"length": 128, "megabytes": 100}, "large": {"length": 2048, "megabytes": 4_000}},
        training=TEXT,
    ),
    "overwrite": Listing(
        summary="keys are bound again and again; at the end every key is asked for its latest value",
        source="Schlag et al. 2021, arXiv:2102.11174, synthetic setting 2 (keys sampled with replacement)",
        role="capability",
        style="choice",
        levels={
            BASE: {"keys": 4, "writes": 12, "values": 16},
            "hard": {"keys": 8, "writes": 24, "values": 16},
            "extreme": {"keys": 16, "writes": 112, "values": 26},
        },
        chance=_one_of("values"),
        training=CHECK,
    ),
    "reset": Listing(
        summary="'#' voids every binding; after '?' keys are asked for, bound or void ('-')",
        source="gating as erasure: Yang et al. 2024, arXiv:2412.06464 (Gated DeltaNet), section 3",
        role="capability",
        style="choice",
        levels={
            BASE: {"segments": 4, "pairs": 4, "queries": 3, "keys": 24, "values": 16},
            "hard": {"segments": 8, "pairs": 8, "queries": 7, "keys": 36, "values": 26},
        },
        chance=_null_or_value,
        training=CHECK,
    ),
    "recall": Listing(
        summary="distinct keys are bound once, then all are asked for in another order (multi-query recall)",
        source="MQAR: Zoology, Arora et al. 2023, arXiv:2312.04927 (there queries are spread by a power law)",
        role="reported",
        style="choice",
        levels={
            "easy": {"pairs": 4, "keys": 8, "values": 16},
            BASE: {"pairs": 8, "keys": 16, "values": 16},
            "hard": {"pairs": 32, "keys": 36, "values": 26},
        },
        chance=_one_of("values"),
        training=CHECK,
    ),
    "selective_copying": Listing(
        summary="letters are strewn among dots; after '|' they come again, in order, without the dots",
        source=f"Mamba, Gu and Dao 2023, arXiv:2312.00752, section 4.1; {_MAD}",
        role="reported",
        style="choice",
        levels={BASE: {"slots": 23, "letters": 8, "values": 16}, "hard": {"slots": 95, "letters": 32, "values": 26}},
        chance=_one_of("values"),
        training=_DEEP,
    ),
    "in_context_recall": Listing(
        summary="a stream of pairs; every key that returns asks for its one value; dots are noise",
        source=f"{_MAD}: in-context recall, and noisy in-context recall as the level 'noisy'",
        role="reported",
        style="choice",
        levels={
            BASE: {"length": 64, "keys": 8, "values": 16, "noise": 0.0},
            "noisy": {"length": 64, "keys": 8, "values": 16, "noise": 0.25},
            "hard": {"length": 256, "keys": 32, "values": 26, "noise": 0.0},
        },
        chance=_one_of("values"),
        training=CHECK,
    ),
    "fuzzy_recall": Listing(
        summary="a stream of pairs whose keys and values are one to three letters long",
        source=f"{_MAD}: fuzzy in-context recall",
        role="reported",
        style="cloze",
        levels={
            BASE: {"length": 96, "motifs": 4, "letters": 4, "values": 8},
            "hard": {"length": 256, "motifs": 16, "letters": 6, "values": 16},
        },
        chance=_one_of("values"),
        training=_DEEP,
    ),
    "compression": Listing(
        summary="a random string is read whole, then said again from memory",
        source=f"{_MAD}: compression (there an MLP decodes one token; here the state is the bottleneck)",
        role="reported",
        style="choice",
        levels={BASE: {"letters": 15, "values": 8}, "hard": {"letters": 63, "values": 26}},
        chance=_one_of("values"),
        training=_DEEP,
    ),
    "memorisation": Listing(
        summary="facts that hold everywhere: a two-letter key has one value, which is never shown",
        source=f"{_MAD}: memorization (facts belong into the weights, not into the state)",
        role="reported",
        style="cloze",
        levels={BASE: {"length": 64, "letters": 16, "values": 16}, "hard": {"length": 64, "letters": 36, "values": 26}},
        chance=_one_of("values"),
        training=_DEEP,
    ),
    "parity": Listing(
        summary="after every bit: has the number of ones so far been even or odd?",
        source="Grazzi et al. 2024, arXiv:2411.12537 (negative eigenvalues); Mamba-3, arXiv:2603.15569",
        role="reported",
        style="choice",
        levels={BASE: {"length": 32}, "hard": {"length": 128}},
        chance=lambda _: 1 / 2,
        training=CHECK,
    ),
    "s3": Listing(
        summary="after every letter, a permutation of three things: which of the six is the product so far?",
        source="Merrill et al. 2024, arXiv:2404.08819; DeltaProduct, Siems et al. 2025, arXiv:2502.10297",
        role="reported",
        style="choice",
        levels={
            "swaps": {"length": 32, "generators": 3},
            BASE: {"length": 32, "generators": 6},
            "hard": {"length": 128, "generators": 6},
        },
        # An odd number of swaps is a swap, an even number is not: whoever counts knows that much.
        chance=lambda settings: 1 / 3 if settings["generators"] == 3 else 1 / 6,
        training=CHECK,
    ),
}

# Tracking S3 needs parity (the sign of a permutation), so the harder of the two stands for both.
ALIASES: dict[str, str] = {"state_tracking": "s3"}


def parse_name(name: str) -> tuple[str, str]:
    """``(task, level)`` of a task name; for ``text:/path`` the level is the path, for `OWN` and `DOCUMENTS` a key (and
    perhaps a level), for `FILE` the name itself. Raises `TaskError`."""
    base, _, level = name.partition(":")
    if base == OWN and re.fullmatch(rf"{KEY}(:[\w.-]+)?", level):
        return base, level
    if (base == DOCUMENTS and re.fullmatch(KEY, level)) or (base == LM_EVAL and re.fullmatch(r"\w[\w.-]*", level)):
        return base, level
    if base != "text" and (PLACE.fullmatch(name) or name.endswith(YAML)):
        return FILE, name
    base = ALIASES.get(base, base)
    if base not in CATALOGUE:
        then = "Levels follow a colon (overwrite:hard); text:/path, file.py:function and file.yaml are your own."
        raise TaskError(unknown_name("task", name, (*CATALOGUE, *ALIASES), then=then))
    levels = CATALOGUE[base].levels
    if level in levels or (base == "text" and level):
        return base, level
    if ":" in name:
        then = f"{base!r} alone means {BASE!r}."
        raise TaskError(unknown_name(f"level of task {base!r}:", level, levels, then=then))
    return base, BASE

"""The controls: mixers without what a memory is for, each a candidate file that obeys the candidate contract.

A task measures memory only where they are behind the mixers that have one. They are no baselines: nobody claims that
they are good, and nothing starts from them. Reading one imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

CONTROL_NAMES: tuple[str, ...] = ("local_filter", "bag_of_ngrams", "window_16_attention")
"""No memory at all; which n-grams stood near, without where or what followed; exact memory, of 16 tokens."""

MEMORY_FREE = "local_filter"
"""The control whose lead over a mixer, or its share of one's gain, is what is local."""

CONTROL_SIZES: dict[str, Callable[[int, int], int]] = {  # parameters of a mixer, of d_model and num_heads
    "local_filter": lambda d, h: 3 * d * d + 8 * d + d // h,
    "bag_of_ngrams": lambda d, h: 3 * d * d + 6 * d + d // h,
    "window_16_attention": lambda d, h: 4 * d * d + 12 * d,
}

_WINDOWED = "sliding_window_attention"  # the baseline whose window is made 16 tokens
_NARROWED = {"the last 64 tokens": "the last 16 tokens", "with W = 64": "with W = 16", "WINDOW = 64": "WINDOW = 16"}


def control_source(name: str) -> str:
    """The source text of one of `CONTROL_NAMES`."""
    assert name in CONTROL_NAMES, name
    if name == "window_16_attention":
        return _narrowed((resources.files("asiarc.models.baselines") / f"{_WINDOWED}.py").read_text(encoding="utf-8"))
    return (resources.files(__package__) / f"{name}.py").read_text(encoding="utf-8")


def _narrowed(source: str) -> str:
    for wide, narrow in _NARROWED.items():
        assert wide in source, f"{_WINDOWED} does not say {wide!r} any more"
        source = source.replace(wide, narrow)
    return source

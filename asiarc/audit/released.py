"""One program of the release, examined: does it do what a language model's mixer must?

A released program defines `class DeltaNet(nn.Module)` in the style of flash-linear-attention:
``forward(hidden_states, attention_mask, past_key_values, use_cache, …) -> (output, auxiliary, past_key_values)``.
It runs with every floating type widened to float64, so that rounding hides nothing (to float32 where that fails), and
as published. A property holds (True), is broken (False), or could not be asked (None); why is in the row's `reasons`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.audit import PROPERTIES, helpers
from asiarc.audit.program import compiled, construct, has_casts, mixer_class, move_off_initial
from asiarc.audit.questions import ask_all, dead_parameters
from asiarc.audit.specimen import Specimen
from asiarc.engineer.gates.counting import count
from asiarc.engineer.gates.measure import measure
from asiarc.execution.attempt import Caught, attempt
from asiarc.models.baselines import baseline_source

SIZES = ((64, 2), (256, 4))  # width and heads; the first that runs
# The configuration that the records name 340M: 24 layers of width 1024, SwiGLU of 2816, untied GPT-2 vocabulary.
LAYERS, NOMINAL_WIDTH, NOMINAL_HEADS = 24, 1024, 8
BESIDE_MIXERS = LAYERS * (3 * 1024 * 2816 + 2 * 1024) + 2 * 50_257 * 1024 + 1024

Payload = dict[str, Any]
# A module of a width and a number of heads, its floating types widened to the one given, or as published.
Maker = Callable[[torch.dtype | None, int, int], nn.Module]


def examine(payload: Payload) -> Payload:
    """All properties of one program (in the sandbox only): takes `program`, gives properties and measures."""
    code = cache(partial(compiled, payload["program"]))
    with helpers.installed():
        row = row_of_maker(
            lambda widened, *size: construct(mixer_class(code(widened)), *size), casts=has_casts(payload["program"])
        )
        row["parameters"], _ = attempt(lambda: nominal_parameters(code(torch.float32)))
    return row


def row_of_maker(make: Maker, *, casts: bool = False) -> Payload:
    """The row of mixers [B, T, D] -> [B, T, D] that can be made in any size; `casts` says whether any narrow a type."""
    published = (_specimen(make, None, size, dtype) for dtype in (torch.float32, torch.bfloat16) for size in SIZES)
    row, specimen = row_of(_exact(make), published, casts=casts)
    row["cost"] = attempt(partial(_relative_cost, specimen))[0] if specimen else None
    return row


def row_of(
    exact: Iterable[Specimen], published: Iterable[Specimen], *, casts: bool = False
) -> tuple[Payload, Specimen | None]:
    """The answers of the first form that runs, exact ones before published ones, and that form.

    Without `casts` the two forms differ by rounding alone, and one is asked. `float32` is true where the first
    published form that runs is in float32.
    """
    exact_form, failure = _first_that_runs(exact)
    published_form, refusal = _first_that_runs(published)
    forms = {"exact": _asked(exact_form, failure)}
    same = exact_form is not None and published_form is not None and not casts
    forms["published"] = forms["exact"] if same else _asked(published_form, refusal)
    specimen = exact_form or published_form
    answers, reasons = forms["exact" if exact_form else "published"]
    in_float32 = published_form is not None and published_form.exact == torch.float32
    ours = failure is not None and failure.message.startswith(helpers.MissingHelperError.__name__)
    answers["float32"] = None if ours and specimen is None else in_float32
    if not in_float32:
        reasons["float32"] = str(refusal)
    dead = attempt(partial(dead_parameters, specimen))[0] if specimen else None
    row = {
        "properties": {name: answers[name] for name in PROPERTIES},
        "reasons": reasons,
        "as_published": {**forms["published"][0], "float32": in_float32},
        "dead_parameters": dead or [],
        "failure": "" if exact_form else str(failure),
    }
    return row, specimen


def _exact(make: Maker) -> Iterator[Specimen]:
    for size in SIZES:
        for dtype in (torch.float64, torch.float32):
            for moved in (True, False):
                yield _specimen(make, dtype, size, dtype, moved=moved)


def _specimen(
    make: Maker, widened: torch.dtype | None, size: tuple[int, int], dtype: torch.dtype, *, moved: bool = False
) -> Specimen:
    def maker() -> nn.Module:
        module = make(widened, *size).to(dtype)
        return move_off_initial(module) if moved else module

    def draw(batch: int, tokens: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, tokens, size[0], generator=generator, dtype=torch.float32).to(dtype)

    return Specimen(maker, draw, dtype, new_caches=lambda: [helpers.Cache(), None])


def _first_that_runs(forms: Iterable[Specimen]) -> tuple[Specimen | None, Caught | None]:
    """(the form, why the first one failed, if it did)."""
    first: Caught | None = None
    for form in forms:
        specimen, failure = attempt(form.examined)
        first = first or failure
        if specimen is not None:
            return specimen, first
    return None, first


def _asked(specimen: Specimen | None, failure: Caught | None) -> tuple[dict[str, bool | None], dict[str, str]]:
    if specimen is not None:
        return ask_all(specimen)
    names = [name for name in PROPERTIES if name != "float32"]
    return dict.fromkeys(names), dict.fromkeys(names, f"does not run: {failure}")


def nominal_parameters(code: CodeType) -> int:
    """Parameters of the whole model in the configuration that the records call 340M.

    The mixer is made for real: on the meta device a random weight imports torch's decompositions, which takes longer.
    """
    mixer = construct(mixer_class(code), NOMINAL_WIDTH, NOMINAL_HEADS)
    return LAYERS * sum(p.numel() for p in mixer.parameters()) + BESIDE_MIXERS


def _relative_cost(specimen: Specimen) -> float:
    """FLOPs per token at 128 tokens, as a multiple of DeltaNet's."""
    x_BTD = specimen.draw(1, 128, 0)
    size = next(size for size in SIZES if size[0] == x_BTD.shape[-1])
    own = count(partial(specimen.run, module=specimen.make()), x_BTD).flops / 128
    return own / _baseline_flops(*size)


@cache
def _baseline_flops(width: int, heads: int) -> float:
    return measure(baseline_source("delta_net"), width, heads).flops_per_token

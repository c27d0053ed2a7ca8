"""One program of the release, examined: does it do what a language model's mixer must?

A released program defines `class DeltaNet(nn.Module)` in the style of flash-linear-attention:
``forward(hidden_states, attention_mask, past_key_values, use_cache, …) -> (output, auxiliary, past_key_values)``.
It runs with the casts to bfloat16 taken out, so that rounding hides nothing, and as published. A property holds (True),
is broken (False), or could not be decided because neither form runs that far (None).

B batch, T tokens, D width.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.audit import PROPERTIES, helpers
from asiarc.engineer.candidate import parse
from asiarc.engineer.gates.counting import count
from asiarc.engineer.gates.guard import CandidateFailure, guarded
from asiarc.engineer.gates.measure import measure
from asiarc.engineer.gates.subject import relative_error
from asiarc.errors import CandidateError
from asiarc.models.baselines import baseline_source

WIDTH, HEADS, TOKENS = 64, 2, 100
# The configuration that the records name 340M: 24 layers of width 1024, SwiGLU of 2816, untied GPT-2 vocabulary.
LAYERS, NOMINAL_WIDTH, NOMINAL_HEADS = 24, 1024, 8
BESIDE_MIXERS = LAYERS * (3 * 1024 * 2816 + 2 * 1024) + 2 * 50_257 * 1024 + 1024
_HALVES = ("bfloat16", "float16", "half")

Payload = dict[str, Any]


class _WithoutCasts(ast.NodeTransformer):
    """`torch.bfloat16` becomes `torch.float32`, `x.bfloat16()` becomes `x.float()`."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr in _HALVES:
            node.attr = (
                "float32" if isinstance(node.value, ast.Name) and node.value.id == "torch" else "float"
            )
        return node


def load(program: str, *, casts: bool) -> type[nn.Module]:
    """The mixer class of a program: `DeltaNet`, else the last module class that takes `hidden_states`.

    Raises `CandidateError` when it is no Python or defines none, and whatever the program raises.
    """
    tree = parse(program)
    if not casts:
        tree = ast.fix_missing_locations(_WithoutCasts().visit(tree))
    module = ModuleType("candidate_program")
    exec(compile(tree, "<candidate_program>", "exec"), module.__dict__)
    classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, nn.Module)]
    mixers = [c for c in classes if "hidden_states" in inspect.signature(c.forward).parameters]
    named = [c for c in mixers if c.__name__ == "DeltaNet"] or mixers
    if not named:
        raise CandidateError("the program defines no module whose forward takes hidden_states")
    return named[-1]


def build(mixer_class: type[nn.Module], width: int, heads: int) -> nn.Module:
    """A mixer of one size, weights fixed."""
    offered = {"d_model": width, "hidden_size": width, "num_heads": heads, "layer_idx": 0}
    taken = inspect.signature(mixer_class.__init__).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mixer_class(**{k: v for k, v in offered.items() if k in taken or open_ended}).eval()


class Program:
    """A mixer of a program and the questions put to it; each raises what the program raises."""

    def __init__(self, program: str, *, casts: bool, dtype: torch.dtype) -> None:
        self.mixer = build(load(program, casts=casts), WIDTH, HEADS).to(dtype)
        self.dtype = dtype
        exact = dtype == torch.float32 and not casts
        self.tolerance = 2e-3 if exact else 6e-2  # other order of sums, other shapes
        self.leak = 1e-5 if exact else 1e-2  # equal shapes: rounding is the same in both runs

    def inputs(self, batch: int, tokens: int, seed: int = 0) -> Tensor:
        """Standard normal inputs."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, tokens, WIDTH, generator=generator).to(self.dtype)

    def run(self, x_BTD: Tensor, **kwargs: Any) -> Tensor:
        """The output alone, finite or an error."""
        with torch.no_grad():
            y_BTD = self.mixer(x_BTD, **kwargs)[0]
        if y_BTD.shape != x_BTD.shape or not y_BTD.isfinite().all():
            raise RuntimeError("the output has another shape than the input or is not finite")
        return y_BTD

    def runs(self) -> bool:
        """A batch of 100 tokens."""
        self.run(self.inputs(2, TOKENS))
        return True

    def causal(self) -> bool:
        """New inputs from a cut on change no output before it; cuts within and at chunk edges."""
        x_BTD, other_BTD = self.inputs(2, TOKENS), self.inputs(2, TOKENS, seed=1)
        y_BTD = self.run(x_BTD)
        for cut in (1, 17, 31, 32, 33, 50, 64, 65, 99):
            z_BTD = self.run(torch.cat((x_BTD[:, :cut], other_BTD[:, cut:]), 1))
            if relative_error(z_BTD[:, :cut], y_BTD[:, :cut]) > self.leak:
                return False
        return True

    def independent_of_total_length(self) -> bool:
        """The outputs of a prefix are those of the whole."""
        x_BTD = self.inputs(2, TOKENS)
        y_BTD = self.run(x_BTD)
        lengths = (1, 2, 16, 31, 32, 33, 63, 64, 65, 90)
        return all(relative_error(self.run(x_BTD[:, :t]), y_BTD[:, :t]) <= self.tolerance for t in lengths)

    def stateless_in_eval(self) -> bool:
        """Same input, same output, after thirty other calls; no buffer and no number has changed."""
        x_BTD = self.inputs(2, TOKENS)
        y_BTD, before = self.run(x_BTD), _numbers(self.mixer)
        for seed in range(30):
            self.run(self.inputs(1, 20, seed=seed))
        return torch.equal(self.run(x_BTD), y_BTD) and _numbers(self.mixer) == before

    def batch_independent(self, *, mask: bool = False) -> bool:
        """A row alone gives what it gives beside others; with `mask`, under an attention mask of ones."""
        x_BTD = self.inputs(3, TOKENS)
        options = [
            {"attention_mask": torch.ones(b, TOKENS, dtype=torch.long)} if mask else {} for b in (3, 1)
        ]
        y_BTD = self.run(x_BTD, **options[0])
        rows = (self.run(x_BTD[row : row + 1], **options[1]) for row in range(3))
        return all(relative_error(y_BTD[i : i + 1], alone) <= self.tolerance for i, alone in enumerate(rows))

    def cached_decoding(self) -> bool:
        """Forty tokens at once and twelve one by one, through the cache, equal one pass over all."""
        x_BTD = self.inputs(2, 52)
        cache = helpers.Cache()
        parts = (x_BTD[:, :40], *x_BTD[:, 40:].split(1, 1))
        y_BTD = torch.cat([self.run(part, past_key_values=cache, use_cache=True) for part in parts], 1)
        return relative_error(y_BTD, self.run(x_BTD)) <= self.tolerance

    def dead_parameters(self) -> list[str]:
        """Parameters that no gradient from the output reaches in training."""
        self.mixer.train()
        for tokens in (1, TOKENS):
            y_BTD = self.mixer(self.inputs(2, tokens))[0]
            y_BTD.float().mul(torch.linspace(-1, 1, WIDTH)).sum().backward()
        named = self.mixer.named_parameters()
        return [name for name, p in named if p.requires_grad and (p.grad is None or not p.grad.any())]


def _numbers(mixer: nn.Module) -> dict[str, str]:
    """Buffers and plain numbers of a module and those in it."""
    found = {name: str(buffer.tolist()) for name, buffer in mixer.named_buffers()}
    for name, module in mixer.named_modules():
        found |= {
            f"{name}.{k}": repr(v) for k, v in vars(module).items() if isinstance(v, (bool, int, float))
        }
    return found


def examine(payload: Payload) -> Payload:
    """All properties of one program (behind the wall only): takes `program`, gives properties and measures."""
    with helpers.installed():
        return _examine(payload["program"])


def _examine(program: str) -> Payload:
    exact = guarded(partial(Program, program, casts=False, dtype=torch.float32))
    published = guarded(partial(Program, program, casts=True, dtype=torch.float32))
    if not _runs(published):
        published = guarded(partial(Program, program, casts=True, dtype=torch.bfloat16))
    forms = {"without_casts": _properties(exact), "as_published": _properties(published)}
    properties = {
        name: forms["without_casts"][name] if forms["without_casts"][name] is not None else answer
        for name, answer in forms["as_published"].items()
    }
    properties["float32"] = (
        _runs(published) and isinstance(published, Program) and published.dtype == torch.float32
    )
    failure = exact if isinstance(exact, CandidateFailure) else guarded(exact.runs)
    dead = guarded(exact.dead_parameters) if isinstance(exact, Program) else []
    return {
        "properties": {name: properties[name] for name in PROPERTIES},
        "as_published": forms["as_published"],
        "dead_parameters": [] if isinstance(dead, CandidateFailure) else dead,
        "parameters": _or_none(guarded(partial(nominal_parameters, program))),
        "cost": _or_none(guarded(partial(relative_cost, exact))) if isinstance(exact, Program) else None,
        "failure": failure.text if isinstance(failure, CandidateFailure) else "",
    }


def nominal_parameters(program: str) -> int:
    """Parameters of the whole model in the configuration that the records call 340M."""
    with torch.device("meta"):
        mixer = build(load(program, casts=False), NOMINAL_WIDTH, NOMINAL_HEADS)
    return LAYERS * sum(p.numel() for p in mixer.parameters()) + BESIDE_MIXERS


def relative_cost(program: Program) -> float:
    """FLOPs per token at 128 tokens, as a multiple of DeltaNet's."""
    own = count(program.run, program.inputs(1, 128)).flops / 128
    return own / measure(baseline_source("delta_net"), WIDTH, HEADS).flops_per_token


def _runs(program: Program | CandidateFailure) -> bool:
    return isinstance(program, Program) and guarded(program.runs) is True


def _properties(program: Program | CandidateFailure) -> dict[str, bool | None]:
    """Each question's answer; a question that makes the program raise, though it runs, is answered with False."""
    if not isinstance(program, Program) or not _runs(program):
        return dict.fromkeys(PROPERTIES)
    questions: dict[str, Callable[[], bool]] = {
        "causal": program.causal,
        "independent_of_total_length": program.independent_of_total_length,
        "stateless_in_eval": program.stateless_in_eval,
        "batch_independent": program.batch_independent,
        "batch_independent_with_mask": partial(program.batch_independent, mask=True),
        "cached_decoding": program.cached_decoding,
        "float32": program.runs,
    }
    return {name: guarded(question) is True for name, question in questions.items()}


def _or_none(value: Any) -> Any:
    return None if isinstance(value, CandidateFailure) else value

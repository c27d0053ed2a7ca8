"""A program's text as a module class, and a class as a module: transformed, executed, constructed by introspection.

Unusual: the text is executed anew for each module that is made, so that not even a global survives from call to call;
and before that every floating type in it may be widened to one, so that casts hide nothing.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Callable, Mapping
from types import CodeType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.audit.specimen import UnanswerableError
from asiarc.core.candidate import parse
from asiarc.core.errors import CandidateError

NAME = "fla.layers.candidate_program"  # so that `from .utils import …` and `from ..modules import …` are FLA's
_FILE = "<candidate_program>"
_FLOATS = ("float", "half", "bfloat16", "float16", "float32")
_METHODS = {torch.float64: "double", torch.float32: "float"}
_COMPLEX = {torch.float64: "complex128", torch.float32: "complex64"}

WIDTHS = ("d_model", "hidden_size", "dim", "model_dim", "embed_dim", "embedding_dim", "n_embd", "input_size", "d")
HEADS = ("num_heads", "n_heads", "num_attention_heads", "n_head", "nhead", "nheads", "heads")
# What FLA's DeltaNet block passes, for constructors that insist on it.
INSISTED: Mapping[str, Any] = {
    "mode": "chunk", "expand_k": 1.0, "expand_v": 1.0, "use_beta": True, "use_gate": False, "use_short_conv": True,
    "conv_size": 4, "conv_bias": False, "allow_neg_eigval": False, "norm_eps": 1e-5, "qk_norm": "l2",
    "qk_activation": "silu", "use_output_norm": True, "chunk_size": 32, "dropout": 0.0, "bias": False,
}  # fmt: skip


class _Widened(ast.NodeTransformer):
    """`torch.bfloat16` and its like become one type, `x.bfloat16()` and its like that type's method."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.method = _METHODS[dtype]
        self.names = dict.fromkeys(_FLOATS, str(dtype).removeprefix("torch."))
        self.names |= dict.fromkeys(("complex64", "cfloat", "chalf"), _COMPLEX[dtype])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "torch":
            node.attr = self.names.get(node.attr, node.attr)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        plain = isinstance(node.func, ast.Attribute) and not node.args and not node.keywords
        if plain and node.func.attr in _FLOATS:  # type: ignore[attr-defined]
            node.func.attr = self.method  # type: ignore[attr-defined]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        for alias in node.names if node.module == "torch" else ():
            if alias.name in self.names:
                alias.name, alias.asname = self.names[alias.name], alias.asname or alias.name
        return node


class _OffTheGpu(ast.NodeTransformer):
    """`x.cuda()` becomes `x.cpu()`, ``device="cuda"`` becomes ``device="cpu"``."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr == "cuda" and not (isinstance(node.value, ast.Name) and node.value.id == "torch"):
            node.attr = "cpu"
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        if node.arg == "device" and isinstance(node.value, ast.Constant) and str(node.value.value).startswith("cuda"):
            node.value.value = "cpu"
        return node


def compiled(program: str, widened: torch.dtype | None) -> CodeType:
    """The program as code that runs on a CPU, every floating type in it `widened` where one is given.

    Raises `CandidateError` when it is no Python.
    """
    tree = _OffTheGpu().visit(parse(program))
    if widened is not None:
        tree = _Widened(widened).visit(tree)
    linecache.cache[_FILE] = (len(program), None, program.splitlines(keepends=True), _FILE)
    return compile(ast.fix_missing_locations(tree), _FILE, "exec")


def has_casts(program: str) -> bool:
    """Whether a program names a type narrower than float32."""
    return any(name in program for name in ("bfloat16", "float16", "half", "autocast"))


def mixer_class(code: CodeType) -> type[nn.Module]:
    """The class of a program, executed: `DeltaNet`, else the last module class whose forward takes `hidden_states`.

    Raises `CandidateError` when there is none, and whatever the program raises.
    """
    module = ModuleType(NAME)
    module.__package__, module.__file__ = NAME.rpartition(".")[0], _FILE
    sys.modules[NAME] = module  # dataclasses look their module up
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(code, module.__dict__)
    classes = {n: c for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, nn.Module)}
    own = [c for c in classes.values() if c.__module__ == NAME]
    mixers = [c for c in own if "hidden_states" in inspect.signature(c.forward).parameters]
    if "DeltaNet" not in classes and not mixers:
        raise CandidateError("the program defines no module whose forward takes hidden_states")
    return classes["DeltaNet"] if "DeltaNet" in classes else mixers[-1]


def construct(module_class: Callable[..., nn.Module], width: int, heads: int) -> nn.Module:
    """A module of one size, its weights drawn from one seed, in evaluation mode.

    Width and heads go under whichever of the usual names the constructor has; `layer_idx` is 0. Raises
    `UnanswerableError` where it insists on something unknown, and what every try raised first.
    """
    errors: list[TypeError] = []
    for keywords in _keywords(module_class, width, heads):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return module_class(**keywords).eval()
        except TypeError as error:
            errors.append(error)
    raise errors[0]


def _keywords(module_class: Callable[..., nn.Module], width: int, heads: int) -> list[dict[str, Any]]:
    taken = inspect.signature(module_class).parameters
    sizes = {**dict.fromkeys(WIDTHS, width), **dict.fromkeys(HEADS, heads), "layer_idx": 0}
    known = {**INSISTED, "head_dim": width // heads, "d_head": width // heads, **sizes}
    named = {name: sizes[name] for name in taken if name in sizes}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    insisted = [n for n, p in taken.items() if p.default is p.empty and p.kind in by_name]
    if unknown := [name for name in insisted if name not in known]:
        name = getattr(module_class, "__name__", "the module")
        raise UnanswerableError(f"{name} wants {', '.join(unknown)}, which the audit does not know; give an --adapter")
    named |= {name: known[name] for name in insisted}
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return [named]
    extra = {"hidden_size": width, "num_heads": heads, "layer_idx": 0}
    return [named, extra | named] if set(named) & set(WIDTHS) else [{"d_model": width} | extra | named, extra | named]


def move_off_initial(module: nn.Module) -> nn.Module:
    """Each parameter moved by a fifth of its size: a path behind a gate that starts at zero is no less a path."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                size = parameter.double().square().mean().sqrt().clamp(min=0.1)
                noise: Tensor = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_((0.2 * size * noise).to(parameter.dtype))
    return module

"""The operators that designs are made of, as signatures with shapes, in the words of their own table and docstrings."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator
from functools import cache

from asiarc.campaign.identity import kernels_folder
from asiarc.kernels.operators import OPERATORS, Operator

HEAD = """\
B batch, T tokens, H heads of K channels, HV value heads (H or a multiple) of V channels, D channels in all. g is the
natural log of a decay, g <= 0: 0 keeps the state, -inf clears it. beta is in [0, 1], or up to 2 where a write may
reflect. scale=None stands for K^-0.5. A filter's last tap weighs the current token. Operators with initial_state return
the output and the final state of that shape, which continues the sequence; norms take any [..., D] and return it."""


@cache
def operators() -> str:
    """The operators as signatures and what they compute, read as text.

    Those that a mixer of the panel has to itself are left out: a proposal has room for few.
    """
    return "\n".join([HEAD, *_signatures()])


def _signatures() -> Iterator[str]:
    for name, operator in sorted(OPERATORS.items()):
        if operator.kind == "apart":
            continue
        for node in ast.parse((kernels_folder() / f"{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                summary, *lines = (ast.get_docstring(node) or "").split("\n")
                yield f"from asiarc.kernels.{name} import {name}  # {summary.split(';')[0].rstrip('.')}"
                yield f"{name}({_arguments(operator, node.args)})"
                yield from _formulas(lines)


def _formulas(lines: Iterable[str]) -> Iterator[str]:
    """The indented lines below a summary, up to the next text."""
    shown = itertools.takewhile(lambda line: not line or line.startswith("  "), lines)
    return (f"  {' '.join(line.split())}" for line in shown if line)


def _arguments(operator: Operator, arguments: ast.arguments) -> str:
    """Names with the axes that the table gives them; ``n`` rows a token where an operator takes several."""
    axes = {name: _axes(operator, text) for name, text in operator.axes(HV="HV").items()}
    named = [f"{a.arg}[{axes[a.arg]}]" if a.arg in axes else a.arg for a in arguments.args]
    keywords = [
        f"{a.arg}={ast.unparse(default) if default else '...'}" + (f" or [{axes[a.arg]}]" if a.arg in axes else "")
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if a.arg not in ("backend", "cu_seqlens")
    ]
    return ", ".join([*named, *(["*", *keywords] if keywords else [])])


def _axes(operator: Operator, text: str) -> str:
    names = {"H*K": "D", f"{operator.steps}*T": "n*T"}
    names |= {str(operator.taps): "W", str(operator.taps - 1): "W-1"} if operator.kind == "filter" else {}
    return ",".join(names.get(axis, axis) for axis in text.split())

"""What a mixer is made of, read from its source: for candidates that no grammar wrote.

A part is a tag ``calls=NAME``: an operator of asiarc.kernels that is imported, or one of the functions that tell one
mixer from another where they are called.
"""

from __future__ import annotations

import ast
from functools import lru_cache

from asiarc.core.candidate import dotted, parse
from asiarc.core.errors import CandidateError
from asiarc.kernels.operators import OPERATORS

Tag = str
MEMORIES = frozenset(name for name, operator in OPERATORS.items() if operator.kind in ("sequence", "apart"))
FILTERS = frozenset({name for name, operator in OPERATORS.items() if operator.kind == "filter"} | {"conv1d"})
OVER_TIME = frozenset(
    {"cumsum", "cumprod", "cummax", "logcumsumexp", "einsum", "matmul", "bmm", "baddbmm", "softmax", "wrapped"}
    | {"scaled_dot_product_attention"}
)
SHAPES = frozenset(
    {"sigmoid", "tanh", "silu", "relu", "elu", "gelu", "softplus", "logsigmoid", "exp", "roll", "pad"}
    | {"normalize", "rms_norm", "layer_norm"}
)
TOLD = MEMORIES | FILTERS | OVER_TIME | SHAPES | OPERATORS.keys()


@lru_cache(maxsize=4096)
def parts_of(source: str) -> frozenset[Tag]:
    """The parts of a mixer; none where the source is no program."""
    return frozenset(f"calls={name}" for name in _names(source) & TOLD)


@lru_cache(maxsize=64)
def is_local(source: str) -> bool:
    """Whether filters are all that joins tokens in a mixer: nothing in it can remember farther than their taps."""
    names = _names(source)
    return bool(names & FILTERS) and not names & (MEMORIES | OVER_TIME | {"for", "while", "@"})


def _names(source: str) -> frozenset[str]:
    """What is called or imported from the kernels, by its last name, and the loops and matrix products."""
    try:
        tree = parse(source)
    except CandidateError:
        return frozenset()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
            found.add(called.lower())
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asiarc.kernels"):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.For | ast.While):
            found.add(type(node).__name__.lower())
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            found.add("@")
    return frozenset(found)

"""A candidate's source while it is being written: its statements by place, and how a formatter would lay them."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from asiarc.models.baselines import baseline_source

WIDTH = 110

SHIFTED = '''
def shifted(x: Tensor, last: Tensor | None) -> Tensor:
    """Each token's predecessor: the last of the state first, zero where there is none."""
    first = torch.zeros_like(x[:, :1]) if last is None else last[:, None]
    return torch.cat((first, x[:, :-1]), dim=1)
'''


@dataclass
class Sketch:
    """The parts of a source while it is being written; `q` and `k` are what queries and keys are called."""

    kernels: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)  # of torch.nn.functional
    constants: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    axes: dict[str, list[str]] = field(default_factory=dict)  # what a letter of a shape suffix stands for
    q: str = "q_BTHK"
    k: str = "k_BTHK"
    tied: bool = False  # keys are what a gate gives up, no features

    def features(self) -> tuple[str, ...]:
        """What has a feature map: queries and keys."""
        return (self.q,) if self.tied else (self.q, self.k)

    def heads(self, function: str, call: str = "{}") -> None:
        """Apply one function to queries and keys."""
        applied = ", ".join(call.format(f"{function}({name})") for name in self.features())
        self.forward.append(f"{', '.join(self.features())} = {applied}")

    def axis(self, letter: str, meaning: str) -> None:
        """Say what a letter of a shape suffix stands for; one letter may stand for several."""
        if meaning not in self.axes.setdefault(letter, []):
            self.axes[letter].append(meaning)

    def help(self, *helpers: str) -> None:
        """Take in functions that stand before the mixer, each once."""
        self.helpers += [helper for helper in helpers if helper not in self.helpers]

    def count_positions(self) -> None:
        """Let the state count tokens: `position_BT` is where each stands in its text."""
        if "position" in self.state:
            return
        self.forward[:0] = [
            'state = state or {"position": x_BTD.new_zeros(x_BTD.shape[0], dtype=torch.long)}',
            'position_BT = state["position"][:, None] + torch.arange(x_BTD.shape[1], device=x_BTD.device)',
        ]
        self.state["position"] = "position_BT[:, -1] + 1"


def by_heads(value: str, letter: str = "v") -> str:
    """A tensor [B, T, D] cut into heads."""
    return f'rearrange({value}, "b t (h {letter}) -> b t h {letter}", h=self.num_heads)'


def low_rank(target: str, rank: str, bias: bool = False) -> str:
    """A projection from the width to itself through `rank` channels."""
    last = f"nn.Linear({rank}, d_model)" if bias else f"nn.Linear({rank}, d_model, bias=False)"
    return call(target, "nn.Sequential", [f"nn.Linear(d_model, {rank}, bias=False)", last])


def call(target: str, function: str, arguments: Sequence[str], indent: int = 8) -> str:
    """An assignment of a call, on one line, on three, or one argument a line, as a formatter lays it out."""
    one = f"{target} = {function}({', '.join(arguments)})"
    if indent + len(one) <= WIDTH:
        return one
    inner = ", ".join(arguments)
    if indent + 4 + len(inner) <= WIDTH:
        return f"{target} = {function}(\n    {inner}\n)"
    return f"{target} = {function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


# --- what a baseline's file defines -----------------------------------------------------------------------------------


def constant(baseline: str, name: str) -> str:
    """A constant of a baseline's file, as it is written there."""
    return ast.get_source_segment(baseline_source(baseline), _defined(baseline, name)) or ""


def function(baseline: str, name: str, *, called: str = "") -> str:
    """A function of a baseline's file, there and here one text but for its layout; under another name if one is given.

    What it calls besides has to be taken in as well.
    """
    node, source = _defined(baseline, name), baseline_source(baseline)
    assert isinstance(node, ast.FunctionDef) and node.returns, name
    lines = source.splitlines()[node.body[1].lineno - 1 : node.end_lineno]
    body = [line if len(line) <= WIDTH else line.partition("  # ")[0] for line in lines]
    words = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    told = textwrap.fill(f'"""{words}', WIDTH - 3, initial_indent="    ", subsequent_indent="    ")
    end = '\n    """' if "\n" in told else '"""'
    return "\n".join([_head(called or name, node), told + end, *body])


def _head(name: str, node: ast.FunctionDef) -> str:
    """The first line of a function, or its lines, as a formatter lays them out."""
    inner, returned = ast.unparse(node.args), ast.unparse(node.returns) if node.returns else "None"
    inner = inner.replace("=", " = ")
    one = f"def {name}({inner}) -> {returned}:"
    if len(one) <= WIDTH:
        return one
    if 4 + len(inner) <= WIDTH:
        return f"def {name}(\n    {inner}\n) -> {returned}:"
    return f"def {name}(\n" + "".join(f"    {one},\n" for one in inner.split(", ")) + f") -> {returned}:"


def _defined(baseline: str, name: str) -> ast.stmt:
    """The statement of a baseline's file that defines a name."""
    for node in ast.parse(baseline_source(baseline)).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node
    raise AssertionError(f"{baseline} defines no {name}")

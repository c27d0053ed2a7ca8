"""From a genome to a complete candidate source: one module, only what it needs, formatted as a person would.

The code depends on the genome alone, the docstring on the motivation as well, so equal genomes have equal
content addresses. Rendering is text work: nothing is imported or executed.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from asiarc.core.genome import Genome
from asiarc.researcher.memories import RECURRENCES
from asiarc.researcher.parts import PARTS
from asiarc.researcher.sketch import WIDTH, Sketch

AXES: Mapping[str, Sequence[str]] = {
    "C": ("convolved channels",),
    "W": ("taps",),
    "P": ("paths",),
    "N": ("router inputs",),
    "R": ("rows of keys and values",),
    "F": ("rotary frequencies",),
}
"""What a letter of a shape suffix stands for where no part says otherwise."""


def handed_over(state: Mapping[str, str]) -> str:
    """The return statement: the output and the state."""
    entries = [f'"{name}": {value}' for name, value in state.items()]
    one = f"return y_BTD, {{{', '.join(entries)}}}"
    if 8 + len(one) <= WIDTH:
        return one
    return "return y_BTD, {\n" + "".join(f"    {entry},\n" for entry in entries) + "}"


def state_told(state: Mapping[str, str]) -> str:
    """The docstring of `forward`: what the state holds."""
    words = textwrap.fill(f'"""The state holds: {", ".join(state)}.', WIDTH - 8 - 3)
    return words + ('\n"""' if "\n" in words else '"""')


def indented(lines: Iterable[str]) -> str:
    """Statements inside a method."""
    return textwrap.indent("\n".join(lines), " " * 8)


def imports(sketch: Sketch, body: str) -> str:
    """The import block: only what the body uses."""
    lines = ["from __future__ import annotations", ""]
    if "math." in body:
        lines += ["import math", ""]
    if "torch." in body:
        lines.append("import torch")
    lines += ["from einops import rearrange", "from torch import Tensor, nn"]
    if sketch.functions:
        lines.append(f"from torch.nn.functional import {', '.join(sorted(sketch.functions))}")
    lines.append("")
    lines += [f"from asiarc.kernels.{name} import {name}" for name in sorted(sketch.kernels)]
    return "\n".join(lines)


def fill(text: str) -> str:
    """Paragraphs wrapped to the line width with room for the opening quotes, safe inside a docstring."""
    safe = text.replace("\\", "\\\\").replace('"""', "'''")
    return "\n\n".join(
        textwrap.fill(paragraph, WIDTH - 3, break_long_words=False, break_on_hyphens=False)
        for paragraph in safe.strip().split("\n\n")
    )


def legend(body: str, axes: Mapping[str, Sequence[str]]) -> str:
    """The shape suffixes that the body uses; `axes` is what its parts say of theirs."""
    told = {**AXES, **axes}
    optional = [f"{letter} {' or '.join(text)}" for letter, text in told.items() if _uses_axis(body, letter)]
    fixed = ["B batch", "T time", "D width", "H heads", "K key and V value width of a head (K == V == D / H)"]
    return f"Axes: {', '.join(fixed + optional)}."


def _uses_axis(body: str, letter: str) -> bool:
    return re.search(rf"[a-z]_[A-Z0-9]*{letter}[A-Z0-9]*\b", body) is not None


def render(genome: Genome, title: str = "", motivation: str = "") -> str:
    """The candidate's source: the code is the genome's, the docstring also holds title and motivation."""
    sketch = Sketch()
    for write in PARTS:
        write(genome, sketch)
    if "position" not in sketch.state:
        sketch.forward.insert(0, "state = state or {}")
    sketch.forward.append(handed_over(sketch.state))
    sizes = ["self.num_heads = num_heads"]
    sizes += ["head_dim = d_model // num_heads"] * any("head_dim" in line for line in sketch.init)
    recurrence = RECURRENCES[genome.memory]
    parts = [f'class Mixer(nn.Module):\n    """{recurrence}, read by q_t."""\n']
    parts.append("    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:")
    parts.append(indented(["super().__init__()", *sizes, *sketch.init]) + "\n")
    parts.append("    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:")
    parts.append(indented([state_told(sketch.state), *sketch.forward]))
    constants = "\n".join(["State = dict[str, Tensor]", *dict.fromkeys(sketch.constants)])
    blocks = [constants, *(helper.strip("\n") for helper in sketch.helpers), "\n".join(parts)]
    body = "\n\n\n".join(blocks) + "\n"
    doc = fill("\n\n".join(text for text in (title, motivation, legend(body, sketch.axes)) if text))
    return f'"""{doc}\n"""\n\n{imports(sketch, body)}\n\n{body}'

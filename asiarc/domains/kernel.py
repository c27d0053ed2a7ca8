"""The domain of kernels: what evolves is the file of an operator's kernel, a trial is a time beside the shipped one.

A candidate is a source that defines a function named as the operator, with its tensors as arguments, and `RUNS`, the
torch operators that it runs on; it may import torch, math, einops and `asiarc.kernels.chunked`. The grammar writes one
from the shipped algebra: another chunk length, another size of slabs, forms that are algebraically equal. What is
rewritten and what rests on it stands in the candidate's file, all else is imported from the shipped module.

No kernel is trained, so that its campaigns are of a kind of their own (`asiarc.campaign.kernels`) and `DOMAINS`, which
lists what models are made of, does not name this domain.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from asiarc.core.digest import digest
from asiarc.core.errors import BudgetExhaustedError
from asiarc.core.proposal import Context, Origin, Proposal, Researcher
from asiarc.core.reach import installed
from asiarc.core.seeds import rng_of

OPERATORS = {"delta_rule": ("q", "k", "v", "beta"), "gated_delta_rule": ("q", "k", "v", "g", "beta")}
"""Those that the shipped algebra computes as it stands, with their tensors but for the state."""
RESEARCHERS = ("grammar", "random", "open")
SHIPPED = "shipped"  # what every choice is where nothing is rewritten
DRAWS = 500  # before a researcher gives up
ONE_NODE = {"traced", "traced_backward"}  # registered by name, once a process: never written out again
Genome = dict[str, str]


@dataclass(frozen=True)
class Form:
    """What stands in the place of a definition of the shipped algebra, or of the one statement `old` in it."""

    definition: str
    new: str
    old: str = ""

    def put(self, node: ast.stmt) -> ast.stmt:
        """The definition in this form."""
        if not self.old:
            return ast.parse(self.new).body[0]
        exchange = _Exchange(self.old, self.new)
        found: ast.stmt = exchange.visit(node)
        assert exchange.times == 1, f"{self.definition} has {self.old!r} {exchange.times} times"
        return found


class _Exchange(ast.NodeTransformer):
    """Puts one statement in the place of another."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new, self.times = ast.dump(ast.parse(old).body[0]), ast.parse(new).body, 0

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt) and ast.dump(node) == self.old:
            self.times += 1
            return self.new
        return self.generic_visit(node)


DOUBLING = '''\
def inverse(A_MCC):
    """(I + A)^-1 = (I - A)(I + A^2)(I + A^4)...: A is nilpotent."""
    power, s = A_MCC.tril(-1).neg_(), 2
    found = power + torch.eye(power.shape[-1], dtype=power.dtype, device=power.device)
    while s < power.shape[-1]:
        power = torch.bmm(power, power)
        found = torch.baddbmm(found, found, power)
        s *= 2
    return found
'''
HALVES = '''\
def inverse(A_MCC):
    """Of two halves that are inverted, the corner between them is -right A left; from width 1 upwards."""
    M, C, _ = A_MCC.shape
    A, s = A_MCC.contiguous(), 1
    found = torch.eye(C, dtype=A.dtype, device=A.device).repeat(M, 1, 1)
    while s < C:
        left, right, corner = blocks(found, s, 0, 0), blocks(found, s, 1, 1), blocks(A, s, 1, 0)
        blocks(found, s, 1, 0).copy_(-(right @ corner @ left))
        s *= 2
    return found
'''
FORMS: Mapping[str, Mapping[str, Form]] = {
    "slab": {power: Form("SLAB", f"SLAB = {power}") for power in ("2**16", "2**18")},
    "inverse": {"doubling": Form("inverse", DOUBLING), "halves": Form("inverse", HALVES)},
    "erasing": {
        "one product": Form(
            "forward",
            "w, y = torch.bmm(T_inv, torch.cat((times(p, gate.into), y), 2)).split((p.shape[2], y.shape[2]), 2)",
            "w, y = torch.bmm(T_inv, times(p, gate.into)), torch.bmm(T_inv, y)",
        )
    },
    "reading": {
        "state first": Form(
            "forward",
            "o = torch.bmm(times(q, gate.into), S[:-1].flatten(0, 1)).baddbmm_(X[0], y)",
            "o = torch.bmm(X[0], y).baddbmm_(times(q, gate.into), S[:-1].flatten(0, 1))",
        )
    },
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "chunk": (SHIPPED, "8", "16", "32", "64", "128"),
    **{name: (SHIPPED, *forms) for name, forms in FORMS.items()},
}
"""What may be chosen of a kernel; what is shipped comes first."""


def address_of(source: str) -> str:
    """What names a kernel's file: its program, comments and layout aside; decorators count, for they cost time."""
    try:
        return digest(ast.unparse(ast.parse(source)))
    except (SyntaxError, ValueError):  # the checks say what is wrong with it
        return digest(source)


def motivation(source: str) -> str:
    """What a file says of itself; empty where it says nothing, or is no Python."""
    try:
        return ast.get_docstring(ast.parse(source)) or ""
    except (SyntaxError, ValueError):
        return ""


# --- what is written --------------------------------------------------------------------------------------------------


def start(operator: str) -> str:
    """The shipped algebra, called as every candidate is: what a campaign starts from and is compared with."""
    return written(operator, dict.fromkeys(CHOICES, SHIPPED))


def written(operator: str, genome: Mapping[str, str]) -> str:
    """The file of a kernel with some choices."""
    tensors = OPERATORS[operator]
    given = ["q", "k", "v", "g" if "g" in tensors else "None", "beta", "q.shape[-1] ** -0.5", "initial_state"]
    given += [genome["chunk"]] if genome["chunk"] != SHIPPED else []
    forms = tuple(FORMS[name][choice] for name, choice in genome.items() if name in FORMS and choice != SHIPPED)
    return (
        f'"""The shipped chunked algebra; {in_words(genome)}."""\n\nfrom __future__ import annotations\n\n'
        f'{restated(forms)}\nRUNS = ("bmm",)\n\n\ndef {operator}({", ".join(tensors)}, initial_state):\n'
        f"    return chunked({', '.join(given)})\n"
    )


def in_words(genome: Mapping[str, str]) -> str:
    """What is chosen of a kernel that is not as shipped."""
    told = [f"{name} {choice}" for name, choice in genome.items() if choice != SHIPPED]
    return ", ".join(told) or "nothing of it rewritten"


@cache
def restated(forms: tuple[Form, ...]) -> str:
    """The algebra in some forms: what is rewritten and what rests on it is written out, the rest is imported."""
    code = installed()
    tree = ast.parse(code.text(code.kernels / "chunked.py"))
    definitions = {name: node for node in tree.body for name in _bound(node)}
    for form in forms:
        definitions[form.definition] = form.put(definitions[form.definition])
    uses = {name: _names(node) for name, node in definitions.items()}
    own = {form.definition for form in forms}
    while more := {name for name, used in uses.items() if used & own} - own - ONE_NODE:
        own |= more
    used = {"chunked"}.union(*(uses[name] for name in own))
    imports = [part for node in tree.body for part in _imported(node, used)]
    shipped = sorted(used & definitions.keys() - own)
    imports += [f"from asiarc.kernels.chunked import {', '.join(shipped)}"] if shipped else []
    return "\n".join(imports + [f"\n\n{ast.unparse(node)}" for name, node in definitions.items() if name in own]) + "\n"


def _bound(node: ast.stmt) -> list[str]:
    """The names that a definition binds; none for other statements."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(node: ast.stmt) -> set[str]:
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}


def _imported(node: ast.stmt, used: set[str]) -> Iterator[str]:
    """An import as far as it is used."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "module", "") == "__future__":
        return
    names = [alias for alias in node.names if (alias.asname or alias.name) in used]
    if names:
        origin = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
        yield f"{origin}{ast.unparse(ast.Import(names))}"


# --- who proposes -----------------------------------------------------------------------------------------------------


def mutate(genome: Genome, rng: random.Random, moves: int = 1) -> Genome:
    """Other choices in so many places."""
    names = rng.sample([*CHOICES], moves)
    return genome | {name: rng.choice([one for one in CHOICES[name] if one != genome[name]]) for name in names}


def draw(rng: random.Random) -> Genome:
    """Every choice drawn."""
    return {name: rng.choice(choices) for name, choices in CHOICES.items()}


@dataclass(frozen=True)
class KernelGrammar:
    """Other choices than the parent's; where `is_random`, the control arm, drawn whatever was learned before."""

    operator: str
    is_random: bool = False

    def propose(self, context: Context) -> Proposal:
        """A new kernel; raises `BudgetExhaustedError` when `DRAWS` draws in a row were known already."""
        rng = rng_of(context.seed, "kernel", context.index)
        parent = context.parent.genome or dict.fromkeys(CHOICES, SHIPPED)
        for turn in range(DRAWS):
            genome = draw(rng) if self.is_random else mutate(parent, rng, min(len(CHOICES), 1 + turn // 20))
            source = written(self.operator, genome)
            if address_of(source) not in context.known | {context.parent.address}:
                return self._proposal(genome, source, context)
        raise BudgetExhaustedError(
            f"nothing new in {DRAWS} draws beside {len(context.known)} known kernels; end the campaign here, or let "
            "people and agents propose: open=True"
        )

    def _proposal(self, genome: Genome, source: str, context: Context) -> Proposal:
        how = "Drawn at random: the control that a search has to beat." if self.is_random else ""
        return Proposal(
            source=source,
            name=f"{self.operator}_{address_of(source)[:6]}",
            motivation=f"{how or f'From {context.parent.name}:'} {in_words(genome)}.",
            origins=tuple(Origin(element=f"{n} {c}", kind="original") for n, c in genome.items() if c != SHIPPED),
            parents=() if self.is_random else (context.parent.address,),
            genome=genome,
            predicted="faster",
        )


def researcher(name: str, operator: str) -> Researcher:
    """The offline researchers of kernels by name."""
    return KernelGrammar(operator, is_random=name == "random")

"""The paper's five headline designs, rebuilt as candidate files from their descriptions; names are the file stems.

Two have released programs (ContentSharpRouter, FusionGatedFIRNet), three have none and are built from the paper's text
and their nearest released relatives (arXiv 2507.18074, section 4.2, Table 1); each docstring says what was inferred. A
file as it stands is the *faithful* form: it computes what the original computes, also where that leaves a mechanism
without effect. `REPAIRS` names the constants that give such a mechanism its effect: the *repaired* form. A design that
is missing there has nothing to repair. Reading one imports no torch.

What no form has: schedules over the number of forward calls (evaluation advances them too, and the statelessness gate
rejects them; each is held at a constant), and chunk arithmetic of their own (the kernels compute the same recurrence).
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from asiarc.core.errors import CandidateError, unknown_name

HEADLINE_NAMES: tuple[str, ...] = (
    "path_gate_fusion_net",
    "content_sharp_router",
    "fusion_gated_fir_net",
    "hier_gate_net",
    "ada_multi_path_gate_net",
)
"""The five, in the order of the paper's Table 1."""

REPAIRS: dict[str, dict[str, Any]] = {
    "path_gate_fusion_net": {"GATE_AFTER_NORM": True},
    "content_sharp_router": {"SPARE_SLOTS": False},
    "fusion_gated_fir_net": {"RETENTION": "token"},
    "ada_multi_path_gate_net": {"ENTROPY": 0.02},
}
"""Which constants of a design turn its faithful form into its repaired one."""


def headline_source(name: str, **constants: Any) -> str:
    """The source of a design, with some of its module constants set to other values.

    Raises `CandidateError` where no design has the name, or the design has no such constant.
    """
    if name not in HEADLINE_NAMES:
        raise CandidateError(unknown_name("headline design", name, HEADLINE_NAMES))
    source = (resources.files(__package__) / f"{name}.py").read_text(encoding="utf-8")
    for constant, value in constants.items():
        source, found = re.subn(rf"^{constant} = .*$", f"{constant} = {value!r}", source, flags=re.MULTILINE)
        if found != 1:
            known = re.findall(r"^([A-Z_]+) = ", source, flags=re.MULTILINE)
            raise CandidateError(unknown_name(f"constant of {name}", constant, known))
    return source


def headline_forms() -> dict[str, str]:
    """Every form by name: ``hier_gate_net``, ``content_sharp_router``, ``content_sharp_router_repaired``, and so on."""
    forms = {}
    for name in HEADLINE_NAMES:
        forms[name] = headline_source(name)
        if name in REPAIRS:
            forms[f"{name}_repaired"] = headline_source(name, **REPAIRS[name])
    return forms

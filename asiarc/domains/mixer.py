"""The domain of mixers: what evolves is a program, which fills the candidate's slots of a model."""

from __future__ import annotations

from importlib import import_module

from asiarc.core.proposal import Researcher
from asiarc.domains import Domain, Setting

RESEARCHERS = {
    "grammar": "asiarc.researcher.grammar:GrammarResearcher",
    "random": "asiarc.researcher.grammar:RandomResearcher",
}


def researcher(name: str, setting: Setting) -> Researcher:
    """The offline researchers; a language model is asked by the loop."""
    module, _, attribute = RESEARCHERS[name].partition(":")
    found: Researcher = getattr(import_module(module), attribute)()
    return found


MIXER = Domain(
    researchers=(*RESEARCHERS, "llm", "open"),
    novelty=("syntax", "behaviour", "motivation"),
    resources=("state_bytes", "flops", "parameters", "time"),
    researcher=researcher,
)

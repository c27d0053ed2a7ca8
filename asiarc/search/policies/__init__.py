"""The policies by name: one small module each."""

from __future__ import annotations

from collections.abc import Callable

from asiarc.search.policies.bayes import Thompson, UpperBound
from asiarc.search.policies.controls import BestOfN, RandomSearch
from asiarc.search.policies.elites import MapElites
from asiarc.search.policies.halving import Asha, SuccessiveHalving
from asiarc.search.policies.paper import PaperPolicy
from asiarc.search.protocol import Policy

POLICIES: dict[str, Callable[[], Policy]] = {
    "ucb": UpperBound,
    "thompson": Thompson,
    "halving": SuccessiveHalving,
    "asha": Asha,
    "map_elites": MapElites,
    "paper": PaperPolicy,
    "random": RandomSearch,
    "best_of_n": BestOfN,
}

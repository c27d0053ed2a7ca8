"""A laboratory for campaigns of kernels: its clock and its gates are made up."""

from __future__ import annotations

import math
from collections import Counter

from asiarc import Budget, KernelCampaign, by_tier
from asiarc.core.seeds import rng_of
from asiarc.domains.kernel import address_of, motivation
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.speed import NotMeasuredError
from asiarc.speed.cases import measured_case
from asiarc.speed.contest import Compared
from asiarc.speed.paired import Ratio

TIER = "quick"
CASE = measured_case("delta_rule", KERNELS["delta_rule"])
MINE = '"""{idea}"""\nRUNS = ("bmm",)\n\n\ndef delta_rule(q, k, v, beta, initial_state):\n    return {body}\n'


class Laboratory:
    """A clock and gates. What says one of the `worth` texts of itself takes that share of the time, all else as long as
    ours, within 1 %; what says "wrong" is turned away, "red" is wrong once it is timed. `loud` is why no time is taken.
    """

    def __init__(self, worth=None):
        self.worth, self.loud, self.examined, self.timed = worth or {}, "", [], Counter()
        self.breaks_at = None

    def gates(self, source, operator, seed):
        self.examined.append(address_of(source))
        found = {"accuracy": ["o is off by 1e-2 at B=1"]} if motivation(source) == "wrong" else {}
        return ("rejected" if found else "admitted"), {"findings": found}

    def measure(self, source, operator):
        address = address_of(source)
        if self.loud:
            raise NotMeasuredError(f"not measured: {self.loud}")
        if self.timed.total() == self.breaks_at:
            raise KeyboardInterrupt
        self.timed[address] += 1
        if motivation(source) == "red":
            return Compared(CASE, Ratio.nothing("red"), "here: errors above 1e-5: o 1e-1")
        noise = rng_of("clock", address, self.timed[address]).uniform(-0.01, 0.01)
        ratio = math.exp(noise) * min(
            (share for text, share in self.worth.items() if text in motivation(source)), default=1.0
        )
        return Compared(CASE, Ratio(ratio, 0.99 * ratio, 1.01 * ratio, 16, "ok"))


def asked(**changes):
    budget = by_tier(quick=Budget(candidates=6, minutes=5))
    return KernelCampaign(
        **{"operator": "delta_rule", "explore": 3, "verify": 3, "confirm": 4, "budget": budget} | changes
    )

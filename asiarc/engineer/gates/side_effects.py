"""A candidate leaves the world as it was: torch, the interpreter, and what it is given."""

from __future__ import annotations

import torch

from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.pristine import Pristine
from asiarc.engineer.gates.subject import Subject, leaves, run


class SideEffects(Gate):
    """No torch function is replaced, no global setting changes, neither input nor state is written to.

    Looked at around loading, construction, forward and backward, and once more by `admit` when all gates have
    run. Cannot see effects outside the interpreter: those the sandbox prevents.
    """

    name = "side_effects"
    cost = Cost.FORWARD

    def check(self, subject: Subject) -> Finding | None:
        """What differs afterwards."""
        pristine = Pristine()
        for train, tokens in ((True, 40), (False, 40), (False, 1)):
            mixer = subject.make(train=train)
            x_BTD = subject.inputs(2, tokens, "side effects")
            kept_BTD = x_BTD.clone()
            y_BTD, state = run(mixer, x_BTD)
            held = [leaf.clone() for leaf in leaves(state)]
            run(mixer, subject.inputs(2, 3, "side effects"), state)
            if train:
                y_BTD.sum().backward()
            if not torch.equal(x_BTD, kept_BTD):
                return self.finds("writes to its input; clone it first", example={"batch": 2, "tokens": tokens})
            if not all(torch.equal(now, then) for now, then in zip(leaves(state), held, strict=True)):
                return self.finds("writes to the state it was given; return a new one", example={"tokens": tokens})
        return self.altered(pristine)

    def altered(self, pristine: Pristine) -> Finding | None:
        """A finding when torch or the interpreter is no longer as it was."""
        names = pristine.altered()
        if not names:
            return None
        return self.finds("changes torch or the interpreter for everyone: " + ", ".join(names[:5]))

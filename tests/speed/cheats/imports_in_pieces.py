# caught by: imports
# hack: calls the reference or a library
"""The same through a module that torch happens to hold, by a name in pieces."""

import torch

RUNS = ("bmm",)


def gated_delta_rule(q, k, v, g, beta, initial_state):
    module = torch.importlib.import_module("asiarc.ker" + "nels.gated_delta" + "_rule")
    return module.gated_delta_rule(q, k, v, g, beta, initial_state=initial_state)

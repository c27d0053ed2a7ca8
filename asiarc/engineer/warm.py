"""What a warm worker imports once: no trial pays for it, and an edit to a kernel does not reach a running session."""

import importlib

from asiarc.kernels.operators import OPERATORS

MODULES = (
    "asiarc.engineer.gates",
    "asiarc.engineer.gates.measure",
    "asiarc.engineer.scoring",
    "asiarc.engineer.trainer",
    "asiarc.engineer.trial",
    "asiarc.models.backbone",
    "asiarc.tasks.corpus",
    "asiarc.tasks.lm_eval_config",
    "asiarc.tasks.task",
    "datasets.packaged_modules.json.json",
    "einops._torch_specific",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "lm_eval.tasks",
    "scipy.io",
    "threadpoolctl",
    "torch._dynamo",  # the first step of an optimiser asks for it
    "torch.utils.flop_counter",
)

for _name in (*MODULES, *(f"asiarc.kernels.{operator}" for operator in OPERATORS)):
    importlib.import_module(_name)

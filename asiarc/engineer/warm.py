"""What a warm worker imports once: no trial pays for it, and an edit to a kernel does not reach a running session."""

import importlib
import pkgutil

import asiarc.engineer.gates
import asiarc.engineer.scoring
import asiarc.engineer.trainer
import asiarc.engineer.trial
import asiarc.kernels
import asiarc.models.backbone
import asiarc.tasks.task

for _module in pkgutil.iter_modules(asiarc.kernels.__path__):
    if _module.ispkg:
        importlib.import_module(f"asiarc.kernels.{_module.name}")

"""A trial's training as a job that ends where it is told to; imported in the sandbox through PYTHONPATH."""

import hashlib
import itertools
import os

from asiarc.engineer import trainer, trial
from asiarc.engineer.checkpoint import TrainingProgress


def train(payload, checkpoints=None):
    """Train, and say in a few digits what came of it; die when a step's checkpoint was handed out, or half of it."""
    if payload.get("memory_bytes"):
        trainer.memory_of = lambda device: payload["memory_bytes"]
    if "die_at" in payload:
        checkpoints.save = _deadly(checkpoints.save, payload["die_at"], payload["is_torn"])
    with trial.denormals_flushed():
        tensors, told = trial._train(payload, TrainingProgress(checkpoints))
    return {"began": checkpoints.step if checkpoints else 0, "digest": digest_of(tensors), "told": told}


def digest_of(tensors):
    """The bits of named tensors."""
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        hashed.update(name.encode() + tensors[name].detach().numpy().tobytes())
    return hashed.hexdigest()


def _deadly(save, die_at, is_torn):
    def saves(step, size, parts):
        if step == die_at:
            save(step, size, itertools.islice(parts, 3) if is_torn else parts)
            os.kill(os.getpid(), 9)
        save(step, size, parts)

    return saves

"""A module class named as ``module:Class``, and a model that was exported as a folder, examined like any program.

A class is built by introspection (`program.construct`) or by an adapter: a function ``(class, width, heads) -> module``
whose forward maps [B, T, D] to [B, T, D], or to a tuple that begins with that and ends with what to go on from. A model
maps token ids to logits, and keeps the weights that it was saved with.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.audit.program import construct
from asiarc.audit.released import Payload, row_of, row_of_maker
from asiarc.audit.specimen import Specimen
from asiarc.core.errors import CandidateError, nearest

COPIED = 20_000_000  # parameters up to which a model is made anew for each call; a larger one is asked as it stands


def examine(payload: Payload) -> Payload:
    """A class (in the sandbox only): takes `target`, `adapter` (or None) and `path` to import from.

    Gives the row, or `unusable` with what is wrong with the names.
    """
    sys.path.insert(0, payload["path"])
    try:
        found = resolved(payload["target"])
        build = resolved(payload["adapter"]) if payload["adapter"] else construct
    except CandidateError as error:
        return {"unusable": str(error)}

    def make(widened: torch.dtype | None, width: int, heads: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module: nn.Module = build(found, width, heads)
        return module.eval()

    return row_of_maker(make)


def resolved(target: str) -> Any:
    """What ``module:name`` names; `CandidateError` with the nearest valid choice where there is none."""
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise CandidateError(f"cannot import {module_name} for {target}: {error}") from error
    if not hasattr(module, name):
        names = [n for n, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)]
        close = nearest(name, names)
        choice = (
            f"; the nearest name in it is {module_name}:{close}" if close else f"; it has {', '.join(sorted(names))}"
        )
        raise CandidateError(f"{module_name} has no {name}{choice}")
    return getattr(module, name)


def examine_exported(payload: Payload) -> Payload:
    """A model's folder (in the sandbox only): takes `folder` with config.json and safetensors."""
    folder = Path(payload["folder"])
    load = partial(_load, folder)
    vocabulary = json.loads((folder / "config.json").read_text()).get("vocab_size", 256)
    row, _ = row_of(
        (_model(load, dtype, vocabulary) for dtype in (torch.float64, torch.float32)),
        (_model(load, dtype, vocabulary) for dtype in (torch.float32, torch.bfloat16)),
    )
    return {**row, "parameters": sum(p.numel() for p in load().parameters())}


def _load(folder: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM, dynamic_module_utils

    from asiarc.models.backbone import AsiarcForCausalLM

    options = {"local_files_only": True, "use_safetensors": True}
    if json.loads((folder / "config.json").read_text()).get("mixer_source"):
        loaded: nn.Module = AsiarcForCausalLM.from_pretrained(folder, **options)  # which saved it
    else:
        dynamic_module_utils.HF_MODULES_CACHE = str(Path.cwd() / "modules")  # the job's own folder can be written
        loaded = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **options)
    return loaded.eval()


def _model(load: partial[nn.Module], dtype: torch.dtype, vocabulary: int) -> Specimen:
    kept: list[nn.Module] = []

    def maker() -> nn.Module:
        if not kept:
            kept.append(load().to(dtype))
        small = sum(p.numel() for p in kept[0].parameters()) <= COPIED
        return copy.deepcopy(kept[0]) if small else kept[0]

    def draw(batch: int, tokens: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(1, vocabulary, (batch, tokens, 1), generator=generator)

    return Specimen(maker, draw, dtype, vocabulary=vocabulary)

"""What runs in the sandbox: the admission of a candidate, and one trial. Plain data in, plain data out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from asiarc.core.bought import gpu_flops_per_s
from asiarc.core.outcome import DivergedError
from asiarc.core.pattern import CANDIDATE
from asiarc.core.recipe import TrialRecipe
from asiarc.engineer.checkpoint import TrainingProgress
from asiarc.engineer.dialogue import Reading, Tokens, answer_all
from asiarc.engineer.gates import admit
from asiarc.engineer.gates.again import examine, inputs_of
from asiarc.engineer.gates.measure import measure
from asiarc.engineer.trainer import memory_of
from asiarc.engineer.trainer import train as training
from asiarc.execution.job import KEPT
from asiarc.models.backbone import (
    AsiarcForCausalLM,
    MixerCache,
    SizeMismatchError,
    build,
    matched_hidden,
    mixer_parameters,
)
from asiarc.models.memory import Passes, passes_of
from asiarc.models.sizes import total_parameters
from asiarc.tasks import get_task

if TYPE_CHECKING:
    from asiarc.execution.line import Line
    from asiarc.execution.shelf import Checkpoints

Payload = dict[str, Any]
SEED_BYTES = 200
PRODUCT, PRODUCTS = 768, 12  # width of the matrices whose product shows what a core can do, and how many are made


def admission(payload: Payload) -> Payload:
    """Run the gates on a candidate and measure it.

    Takes source, seed, recipe, exempt, max_examples, limits (measured quantity -> largest value allowed);
    gives findings, and measures when admitted.
    """
    recipe = TrialRecipe(**payload["recipe"])
    start = time.process_time()
    verdict = admit(
        payload["source"],
        d_model=recipe.d_model,
        num_heads=recipe.num_heads,
        seed=payload["seed"],
        max_examples=payload["max_examples"],
        exempt=frozenset(payload["exempt"]),
    )
    measures = asdict(measure(payload["source"], recipe.d_model, recipe.num_heads)) if verdict.admitted else None
    return {**verdict.as_dict(), "measures": measures, "cpu_s": time.process_time() - start}


def device(payload: Payload) -> Payload:
    """Whether a job finds a GPU, and what its device can do at most, FLOP/s; None for a GPU that is not listed.

    Takes device. No candidate is in it.
    """
    cuda = torch.cuda.is_available()
    if payload["device"] == "cpu":
        return {"cuda": cuda, "flops_per_s": core_flops_per_s()}
    return {"cuda": cuda, "flops_per_s": gpu_flops_per_s(torch.cuda.get_device_name()) if cuda else None}


def core_flops_per_s() -> float:
    """What a core does at most, as a matrix product in float32 shows: the best of some by CPU-seconds."""
    a = torch.ones(PRODUCT, PRODUCT)
    spent_s = []
    for _ in range(PRODUCTS):
        start = time.process_time()
        a @ a
        spent_s.append(time.process_time() - start)
    return 2 * PRODUCT**3 / min(spent_s)


def train(payload: Payload, checkpoints: Checkpoints | None = None) -> Payload:
    """Train one candidate with one seed on one task, and keep what was trained (`KEPT`); the trial's first process.

    Takes source, task, recipe, seed, match_source (the candidate whose size the model is brought to, or None), device,
    and with a pattern the sources of its `mixers` by name.
    What is kept are the parameters alone, and beside them the curve, on which no decision rests; or how the training
    ended instead, as `diverged` or `size` with a reason.
    """
    with denormals_flushed():
        tensors, told = _train(payload, TrainingProgress(checkpoints))
    save_file(tensors, KEPT, {"told": json.dumps(told)})
    return {}


def answer(payload: Payload, line: Line) -> Payload:
    """Tell the referee what was kept, then examine the trained model and read what it is given; the second process.

    What is told is told before the candidate's code is loaded: nothing of it can be the candidate's word. The model is
    built anew and given the kept parameters, so what training left anywhere else is not there.
    """
    recipe = recipe_of(payload)
    with safe_open(KEPT, "pt") as kept:
        tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 - it is no dict
        told = json.loads(kept.metadata()["told"])
    parameters = sum(t.numel() for t in tensors.values())
    passes = passes_of(recipe, parameters, memory_of(torch.device(payload["device"])))
    told |= {"parameters": parameters, "target": _target(payload)}
    told |= {"passes": asdict(passes)} if passes != Passes(recipe.batch_size) else {}
    line.send(json.dumps(told).encode())
    if "ended" not in told:
        seed = line.receive(SEED_BYTES).decode()
        with denormals_flushed():
            model = rebuilt(payload, recipe, tensors)
            line.send(json.dumps(_examined(payload, recipe, model, seed, passes.micro_batch)).encode())
            answer_all(line, reader(model.eval()))
    return {}


def _train(payload: Payload, progress: TrainingProgress) -> tuple[dict[str, torch.Tensor], Payload]:
    recipe = recipe_of(payload)
    task = get_task(payload["task"], recipe.tokenizer)
    try:
        model = _built(payload, recipe).to(payload["device"])
        curve = training(model, task, recipe, payload["seed"], progress)
    except SizeMismatchError as error:
        return {}, {"ended": "size", "reason": str(error)}
    except DivergedError as error:
        return {}, {"ended": "diverged", "reason": str(error)}
    trained = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    return trained, {"curve": [list(row) for row in curve.rows]}


def recipe_of(payload: Payload) -> TrialRecipe:
    """A trial's recipe, its blocks filled as its source says where that is a pattern."""
    return TrialRecipe(**payload["recipe"]).filled_by(payload["source"])


def _mixers(payload: Payload) -> dict[str, str]:
    return payload.get("mixers", {})


def _built(payload: Payload, recipe: TrialRecipe) -> AsiarcForCausalLM:
    """The trial's model before training, its MLPs as wide as the size that is matched asks for."""
    source, mixers, hidden = payload["source"], _mixers(payload), round(recipe.mlp_ratio * recipe.d_model)
    if (target := _target(payload)) is not None:
        hidden = matched_hidden(mixer_parameters(source, recipe, mixers), recipe, target)
    return build(source, recipe, payload["seed"], hidden=hidden, mixers=mixers)


def _target(payload: Payload) -> int | None:
    """The number of parameters that the model is brought to; None where none is asked for, or no MLP could bring it."""
    source, recipe = payload["match_source"], TrialRecipe(**payload["recipe"])
    hidden = round(recipe.mlp_ratio * recipe.d_model)
    if source is None or not any(block.hidden(hidden) for block in recipe_of(payload).blocks):
        return None
    recipe = recipe.filled_by(source)
    return total_parameters(mixer_parameters(source, recipe, _mixers(payload)), recipe, hidden)


def rebuilt(payload: Payload, recipe: TrialRecipe, tensors: dict[str, torch.Tensor]) -> AsiarcForCausalLM:
    """The trial's model as it was before training, with the parameters that were kept."""
    model = _built(payload, recipe)
    fresh = dict(model.named_parameters())
    if {name: p.shape for name, p in fresh.items()} != {name: t.shape for name, t in tensors.items()}:
        raise ValueError("the model has other parameters when it is built again than it had when it was trained")
    with torch.no_grad():
        for name, parameter in fresh.items():
            parameter.copy_(tensors[name])
    return model.to(payload["device"])


def _examined(payload: Payload, recipe: TrialRecipe, model: AsiarcForCausalLM, seed: str, rows: int) -> Payload:
    """What the gates find in the trained mixers, and sizes: state_bytes a sequence, flops_per_token forward.

    The mixers are given what they were trained on: the rows of one pass of a step, on the trial's device.
    """
    task = get_task(payload["task"], recipe.tokenizer)
    batch = task.batch("train", rows, "examined", seed, seq_len=recipe.seq_len)
    inputs = inputs_of(model.eval(), torch.from_numpy(batch.inputs_BT).to(payload["device"]))
    found = examine(model.mixers, inputs, seed=seed)
    sources, hidden = {CANDIDATE: payload["source"], **_mixers(payload)}, model.config.intermediate_size
    names = [block.mixer for block in recipe.blocks if block.mixer]
    measured = {name: measure(sources[name], recipe.d_model, recipe.num_heads) for name in dict.fromkeys(names)}
    units = sum(block.hidden(hidden) for block in recipe.blocks)
    dense = 3 * recipe.d_model * units + recipe.vocab_size * recipe.d_model
    return {
        "rejected": found and (found.gate, found.reason),
        "hidden": hidden,
        "state_bytes": sum(measured[name].state_bytes for name in names),
        "flops_per_token": sum(measured[name].flops_per_token for name in names) + 2 * dense,
    }


def reader(model: AsiarcForCausalLM) -> Callable[[Reading, Tokens], NDArray[np.float32]]:
    """What reads tokens with a model, and remembers what it read."""
    device, cache = next(model.parameters()).device, MixerCache(0)

    def read(reading: Reading, ids_RT: Tokens) -> NDArray[np.float32]:
        nonlocal cache
        whole = reading == "whole"
        if reading == "open":
            cache = MixerCache(model.config.num_hidden_layers)
        read_RT = torch.from_numpy(ids_RT).to(device)
        with torch.no_grad():
            logits = model(read_RT, past_key_values=None if whole else cache, logits_to_keep=0 if whole else 1).logits
        return (logits if whole else logits[:, -1]).float().cpu().numpy()

    return read


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Decayed states go denormal, and denormals are slow; the mode is the thread's, and a caller here has its own."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)

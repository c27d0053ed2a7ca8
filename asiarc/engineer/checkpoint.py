"""A training's checkpoint: all that its next step depends on, so that a training that was killed ends in the same bits.

That are the parameters, buffers, AdamW's moments and counts, the states of torch's generators, and `TrainingState`; the
data need nothing, since the batch of step n depends on (task, seed, n) only, also where a text is a stream. It is a
safetensors file, which is read without running anything, with `TrainingState` as JSON in its metadata. A candidate's
code ran in the process that wrote it: it is trusted as far as the parameters that a trial keeps are, and is evidence of
nothing.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from asiarc.execution.shelf import Checkpoints


class CheckpointError(Exception):
    """A file is no checkpoint of this training."""


@dataclass
class TrainingState:
    """How far a training is: steps taken, the first one's loss in nats, the curve's rows so far."""

    step: int = 0
    first_loss: float = math.inf
    rows: list[tuple[int, float, float]] = field(default_factory=list)


class TrainingProgress:
    """What a training asks once at its start and tells after each step; without `checkpoints` it keeps nothing."""

    def __init__(self, checkpoints: Checkpoints | None = None) -> None:
        self.checkpoints = checkpoints
        self.parameters: dict[str, Tensor] = {}  # as they are between steps: FSDP2 shows others while it computes

    def resumed(self, model: nn.Module, optimiser: Optimizer) -> TrainingState:
        """Where a training goes on, with the model and the optimiser brought there in place: at its start where nothing
        was saved, or nothing that can be read."""
        self.parameters = dict(model.named_parameters())
        found = self.checkpoints
        if found is None or found.file is None:
            return TrainingState()
        try:
            standing = restore(str(found.file), found.step, model, self.parameters, optimiser)
        except (CheckpointError, SafetensorError, OSError):
            standing = TrainingState()
        found.starts(standing.step)
        return standing

    def mark(self, model: nn.Module, optimiser: Optimizer, standing: TrainingState) -> None:
        """A step was taken: save where the training stands, if it is time."""
        if self.checkpoints is not None and self.checkpoints.is_due:
            tensors = tensors_of(model, self.parameters, optimiser.state)
            size, parts = written(tensors, {"standing": json.dumps(asdict(standing))})
            self.checkpoints.save(standing.step, size, parts)


def tensors_of(
    model: nn.Module, parameters: Mapping[str, Tensor], moments: Mapping[Tensor, Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """What a step reads and changes, by name; the tensors themselves, and of sharded ones this process's part."""
    found = {f"parameter {name}": parameter for name, parameter in parameters.items()}
    found |= {f"buffer {name}": buffer for name, buffer in model.named_buffers()}
    for name, parameter in parameters.items():
        found |= {f"{kind} {name}": tensor for kind, tensor in moments.get(parameter, {}).items()}
    return {name: _local(tensor.detach()) for name, tensor in found.items()} | _generators(parameters)


def _local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that FSDP2 shards; any other is its own."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _generators(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The states of the generators that a mixer may draw from in training."""
    device = next(iter(parameters.values())).device
    on_gpu = {"random cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"random cpu": torch.get_rng_state()} | on_gpu


def written(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[int, Iterator[Any]]:
    """A safetensors file of the tensors' bytes: its size, and its parts, which take no more memory than one tensor."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "U8", "shape": [tensor.nbytes], "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    opening = struct.pack("<Q", len(text)) + text

    def parts() -> Iterator[Any]:
        yield opening
        for tensor in tensors.values():
            yield _as_bytes(tensor).numpy().data

    return len(opening) + end, parts()


def _as_bytes(tensor: Tensor) -> Tensor:
    return tensor.cpu().contiguous().flatten().view(torch.uint8)


def restore(
    file: str, step: int, model: nn.Module, parameters: Mapping[str, Tensor], optimiser: Optimizer
) -> TrainingState:
    """Bring a model that was just built, and its optimiser, to where `file`, saved after `step` steps, stands.

    Raises `CheckpointError`, `SafetensorError` or `OSError` where the file is no checkpoint of theirs; nothing is
    changed then.
    """
    with safe_open(file, "pt") as saved:
        standing = _standing((saved.metadata() or {}).get("standing", ""), step)
        sizes = {name: saved.get_slice(name).get_shape() for name in saved.keys()}  # noqa: SIM118 - it is no dict
        moments = {p: _moments(p) for name, p in parameters.items() if f"step {name}" in sizes}
        places = tensors_of(model, parameters, moments)
        if sizes != {name: [place.nbytes] for name, place in places.items()}:
            raise CheckpointError("it is of another model")
        _set_generators({name: saved.get_tensor(name) for name in _generators(parameters)}, parameters)
        for name, place in places.items():
            _fill(place, saved.get_tensor(name))
    optimiser.state.update(moments)
    return standing


def _standing(text: str, step: int) -> TrainingState:
    try:
        found = TrainingState(**json.loads(text))
        found.rows = [(int(at), float(loss), float(bits)) for at, loss, bits in found.rows]
        is_it = found.step == step and math.isfinite(found.first_loss)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"it does not say where it stands: {error}") from error
    if not is_it:
        raise CheckpointError(f"it is of step {found.step}, and is called one of step {step}")
    return found


def _moments(parameter: Tensor) -> dict[str, Tensor]:
    """AdamW's state of a parameter, as it makes it at the first step."""
    zeros = {kind: torch.zeros_like(parameter) for kind in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), device=parameter.device), **zeros}


def _fill(place: Tensor, bytes_N: Tensor) -> None:
    if not torch.equal(_as_bytes(place), bytes_N):  # what is the same already may be a view that cannot be written
        place.copy_(bytes_N.clone().view(place.dtype).view(place.shape))


def _set_generators(states: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    try:
        torch.set_rng_state(states["random cpu"])
        if "random cuda" in states:
            torch.cuda.set_rng_state(states["random cuda"], next(iter(parameters.values())).device)
    except RuntimeError as error:
        raise CheckpointError(f"a generator does not take its state: {error}") from error

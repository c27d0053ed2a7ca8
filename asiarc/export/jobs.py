"""What runs for an export in the sandbox, and who listens outside: trained parameters come out, nothing else does.

Two jobs. In the first a trial is trained as it was and its model handed over as numbers; in the second the finished
folder is loaded as anybody loads it, and read to the trial's referee.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asiarc.core.errors import ExecutionError
from asiarc.core.loading import executed

if TYPE_CHECKING:

    from asiarc.execution.line import Line

Payload = dict[str, Any]
AUTO = "AutoModelForCausalLM"
_TOLD_BYTES = 1 << 20


def hand_over(payload: Payload, line: Line) -> Payload:
    """Send how the training ended, and the whole model: its parameters and its buffers (in the sandbox)."""
    from safetensors import safe_open
    from safetensors.torch import save

    from asiarc.engineer.trial import rebuilt, recipe_of
    from asiarc.execution.job import KEPT

    with safe_open(KEPT, "pt") as kept:
        tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 - it is no dict
        told = json.loads(kept.metadata()["told"])
    line.send(json.dumps(told).encode())
    if "ended" not in told:
        model = rebuilt(payload, recipe_of(payload), tensors).cpu()
        shared = set(model._tied_weights_keys)
        line.send(save({n: t.contiguous() for n, t in model.state_dict().items() if n not in shared}))
    return {}


def keep(secret: Payload, line: Line) -> Payload:
    """Write the model's numbers to a file, after looking at them (outside the sandbox).

    Takes `file`, and `most_bytes` of it; gives `ended` and `reason`, or `tensors` and `parameters`. Raises
    `ExecutionError` for what is no model's numbers.
    """
    from safetensors.torch import load, save_file

    told = json.loads(line.receive(_TOLD_BYTES))
    if "ended" in told:
        return {"ended": str(told["ended"]), "reason": str(told.get("reason"))}
    tensors = load(line.receive(secret["most_bytes"]))
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ExecutionError(f"the trained model holds what is no number: {', '.join(broken[:3])}")
    save_file(tensors, secret["file"], {"format": "pt"})
    Path(secret["file"]).chmod(0o644)
    return {"tensors": len(tensors), "parameters": sum(tensor.numel() for tensor in tensors.values())}


def nothing(payload: Payload) -> Payload:
    """The first half of a job that only reads: it keeps nothing, and says so."""
    from safetensors.torch import save_file

    from asiarc.execution.job import KEPT

    save_file({}, KEPT)
    return {}


def answer(payload: Payload, line: Line) -> Payload:
    """Load a finished folder and read what a trial's referee gives it (in the sandbox)."""
    from asiarc.engineer.dialogue import answer_all
    from asiarc.engineer.trial import SEED_BYTES, denormals_flushed, reader

    folder = Path(payload["folder"])
    module, name = json.loads((folder / "config.json").read_text())["auto_map"][AUTO].split(".")
    model_class = getattr(executed(folder / f"{module}.py", module), name)
    model = model_class.from_pretrained(folder, local_files_only=True).to(payload["device"]).eval()
    parameters = sum(p.numel() for p in model.parameters())
    line.send(json.dumps({"parameters": parameters, "target": None}).encode())
    line.receive(SEED_BYTES)
    sizes = {"hidden": model.config.intermediate_size, "state_bytes": 0, "flops_per_token": 0}
    line.send(json.dumps({"rejected": None, **sizes}).encode())
    with denormals_flushed():
        answer_all(line, reader(model))
    return {}

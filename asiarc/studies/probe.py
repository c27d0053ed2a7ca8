"""Looks into a trained mixer, in the sandbox: how its gates weigh the paths, what training moved, how far it reaches.

Unusual: nothing of a trial is stored but its numbers, so the model is trained once more (the same seed gives the same
model) by a source that also keeps the gates it computes, `weights_BTHP` by the convention of the candidate files.

Axes: B batch, T time, H heads, P paths.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from asiarc.core.recipe import TrialRecipe
    from asiarc.models.backbone import AsiarcForCausalLM
    from asiarc.tasks import Task

DEAD = 0.01  # a path whose mean share of a head's weight is smaller carries nothing
FARTHER = 4  # a synthetic task with a length is read again at this multiple of it
USED = re.compile(r"^( +)(o_BTHV = \(weights_BTHP\[)", re.MULTILINE)


def watched(source: str) -> str:
    """The source with the gates kept on the module where it uses them; unchanged where it has none."""
    return USED.sub(r"\1self.seen_BTHP = weights_BTHP.detach()\n\1\2", source)


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Train as `asiarc.engineer.trial.run` does and look inside.

    Takes its payload and `hidden`, the MLP's width there. Gives, where there are gates, `entropy` (of a head's
    normalised weights over log P: 1 is even, 0 is one path), `least` (the mean share of the least used path) and
    `dead` (the fraction of heads' paths whose share is under 1 %), `moved` (how far each parameter went, as a root
    mean square), and `farther`, the accuracy at four times the trained length, where the task has a length.
    """
    import torch

    from asiarc.engineer.trainer import train
    from asiarc.engineer.trial import recipe_of
    from asiarc.models.backbone import build
    from asiarc.tasks import get_task

    torch.set_flush_denormal(True)  # as in a trial
    recipe = recipe_of(payload)
    task = get_task(payload["task"], recipe.tokenizer)
    source, mixers = watched(payload["source"]), payload.get("mixers")
    model = build(source, recipe, payload["seed"], hidden=payload["hidden"], mixers=mixers)
    model = model.to(payload["device"])
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train(model, task, recipe, payload["seed"])
    moved = {
        name: float((parameter.detach() - before[name]).square().mean().sqrt())
        for name, parameter in model.named_parameters()
        if ".mixer." in name
    }
    return {"moved": moved, **_gates(model, task, recipe), **_farther(model, task, recipe)}


def _gates(model: AsiarcForCausalLM, task: Task, recipe: TrialRecipe) -> dict[str, float]:
    import torch

    from asiarc.engineer.trainer import evaluate

    evaluate(model, task.batch("train", 2 * recipe.batch_size, "probe", seq_len=recipe.seq_len))
    kept = (getattr(layer.mixer, "seen_BTHP", None) for layer in model.layers)
    seen = [weights_BTHP.float() for weights_BTHP in kept if weights_BTHP is not None]
    return summary(torch.stack(seen)) if seen else {}


def summary(weights_LBTHP: Tensor) -> dict[str, float]:
    """`entropy`, `least` and `dead` of the gates of L layers, each head's weights normalised to one."""
    import math

    share_LBTHP = weights_LBTHP / weights_LBTHP.sum(-1, keepdim=True)
    entropy = -(share_LBTHP * share_LBTHP.clamp(min=1e-12).log()).sum(-1).mean()
    mean_LHP = share_LBTHP.mean((1, 2))
    return {
        "entropy": float(entropy) / math.log(share_LBTHP.shape[-1]),
        "least": float(mean_LHP.amin(-1).mean()),
        "dead": float((mean_LHP < DEAD).float().mean()),
    }


def _farther(model: AsiarcForCausalLM, task: Task, recipe: TrialRecipe) -> dict[str, float]:
    import torch

    from asiarc.tasks import IGNORE

    if task.kind == "text" or "length" not in task.settings:
        return {}
    batch = task.batch("confirmation", recipe.batch_size, "probe", seq_len=FARTHER * recipe.seq_len)
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        found_BT = model(torch.from_numpy(batch.inputs_BT).to(device)).logits.argmax(-1).cpu().numpy()
    asked_BT = batch.targets_BT != IGNORE
    return {"farther": float((found_BT == batch.targets_BT)[asked_BT].mean())}

"""What runs in the sandbox: the admission of a candidate, and one trial. Plain data in, plain data out."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from asiarc.core.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

Payload = dict[str, Any]


def admission(payload: Payload) -> Payload:
    """Run the gates on a candidate and measure it.

    Takes source, seed, recipe, exempt, max_examples, limits (measured quantity -> largest value allowed);
    gives findings, and measures when admitted.
    """
    from asiarc.engineer.gates import admit
    from asiarc.engineer.gates.measure import measure

    recipe = Recipe(**payload["recipe"])
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


def run(payload: Payload) -> Payload:
    """Train one candidate with one seed on one task and score it with lm-eval.

    Takes source, task, recipe, seed, match_source (the candidate whose size the model is brought to, or None),
    split, documents, items (the address of the scored items), device; gives metric, value, curve, items, tokens and the
    whole model's parameters, state_bytes (a sequence) and flops_per_token (forward), or `diverged` / `size` with a
    reason, or `absent` where this machine lacks the device.
    """
    import torch

    if payload["device"] == "cuda" and not torch.cuda.is_available():
        return {"absent": "the trial is for a GPU and torch finds none here; set ASIARC_DEVICE=cpu to train on the CPU"}
    torch.set_flush_denormal(True)  # decayed states go denormal, and denormals are slow
    try:
        return _trial(payload)
    finally:
        torch.set_flush_denormal(False)  # the mode is the thread's, and a caller in this process has its own


def _trial(payload: Payload) -> Payload:
    from asiarc.engineer.gates.measure import measure
    from asiarc.engineer.scoring import score
    from asiarc.engineer.trainer import DivergedError, train
    from asiarc.models.backbone import (
        SizeMismatchError,
        build,
        count_parameters,
        matched_hidden,
        mixer_parameters,
        total_parameters,
    )
    from asiarc.tasks import get_task

    recipe = Recipe(**payload["recipe"])
    task = get_task(payload["task"])
    hidden = round(recipe.mlp_ratio * recipe.d_model)
    if payload["match_source"] is not None and hidden:
        target = total_parameters(mixer_parameters(payload["match_source"], recipe), recipe, hidden)
        try:
            hidden = matched_hidden(mixer_parameters(payload["source"], recipe), recipe, target)
        except SizeMismatchError as error:
            return {"size": str(error)}
    model = build(payload["source"], recipe, payload["seed"], hidden=hidden).to(payload["device"])
    start = time.process_time()
    try:
        curve = train(model, task, recipe, payload["seed"])
        trained = time.process_time()
        documents = _windows(task.documents(payload["split"], payload["documents"], payload["items"]), recipe.seq_len)
        scored = score(model, [(task, documents)], max_length=recipe.seq_len)[0]
    except DivergedError as error:
        return {"diverged": str(error)}
    mixer = measure(payload["source"], recipe.d_model, recipe.num_heads)
    dense = 3 * recipe.d_model * hidden * recipe.num_layers + recipe.vocab_size * recipe.d_model
    return {
        "metric": scored.metric,
        "value": scored.value,
        "items": list(scored.items),
        "curve": [list(row) for row in curve.rows],
        "parameters": count_parameters(model),
        "hidden": hidden,
        "state_bytes": recipe.num_layers * mixer.state_bytes,
        "flops_per_token": recipe.num_layers * mixer.flops_per_token + 2 * dense,
        "tokens": recipe.tokens,
        "train_cpu_s": trained - start,
        "score_cpu_s": time.process_time() - trained,
    }


def _windows(documents: list[dict[str, Any]], seq_len: int) -> list[dict[str, Any]]:
    """Texts cut to the length in bytes that was trained, so that every scored window opens as the trained ones did.

    Left whole, lm-eval would roll over a text in windows that open in mid-sentence, which the model never saw: the
    score would measure that, and the more so the better a model fits its training.
    """
    cut = []
    for document in documents:
        if "text" in document:
            cut += [{**document, "text": piece} for piece in _pieces(document["text"].encode(), seq_len)]
        else:
            cut.append(document)
    return cut


def _pieces(text: bytes, size: int) -> Iterator[str]:
    """All of a text, at most `size` bytes at a time, cut between characters."""
    assert size >= 4, "the longest character has four bytes"
    while text:
        piece = text[:size].decode(errors="ignore")
        yield piece
        text = text[len(piece.encode()) :]

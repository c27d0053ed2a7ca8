"""Scoring: lm-eval's own `simple_evaluate` on a trained model, through its Hugging Face model class.

Our tasks come as configurations over documents that our generators and the corpus's held-out part make; lm-eval's own
tasks go the same way by name, ``lm_eval:arc_easy``, where their data can be loaded.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asiarc.core.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from asiarc.tasks import Task


@dataclass(frozen=True)
class Score:
    """A number that lm-eval gave, and what it gave for every item."""

    task: str
    metric: str
    value: float
    items: tuple[dict[str, Any], ...]


@cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Token id == byte value of the text in UTF-8; 0 is begin, end and padding."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    # No character but NUL has an entry and nothing merges, so every other one falls back to its bytes.
    vocabulary = {"\x00": 0} | {f"<0x{byte:02X}>": byte for byte in range(1, 256)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="\x00", eos_token="\x00", pad_token="\x00")


def language_model(model: PreTrainedModel, max_length: int, batch_size: int = 32) -> Any:
    """lm-eval's view of a model of ours: every context opens with BOS, as every trained sequence did.

    Raises `DivergedError` when the model answers with what is not a number.
    """
    import torch
    from lm_eval.models.huggingface import HFLM

    from asiarc.engineer.trainer import DivergedError

    class FromBos(HFLM):
        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            context_T, continuation_T = super()._encode_pair(context, continuation)
            return [self.prefix_token_id, *context_T], continuation_T

        def _model_call(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            logits_BTV = super()._model_call(*args, **kwargs)
            if not torch.isfinite(logits_BTV).all():
                raise DivergedError("diverged: a logit is not a number when the trained model is scored")
            return logits_BTV

    return FromBos(
        pretrained=model,
        tokenizer=byte_tokenizer(),
        backend="causal",
        device=str(model.device),
        max_length=max_length,
        batch_size=batch_size,
    )


def score(
    model: PreTrainedModel, tasks: Sequence[tuple[Task, list[dict[str, Any]]]], *, max_length: int
) -> list[Score]:
    """Score a trained model on each task's documents."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    model.eval()
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        configs = []
        for task, documents in tasks:
            data = Path(folder) / f"{task.name.replace(':', '_').replace('/', '_')}.jsonl"
            data.write_text("".join(json.dumps(document) + "\n" for document in documents))
            config = task.lm_eval_config(str(data))
            config["dataset_kwargs"]["cache_dir"] = folder  # the default folder was fixed when datasets was imported
            configs.append(config)
        results = simple_evaluate(
            model=language_model(model, max_length),
            tasks=configs,
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
            task_manager=TaskManager(include_defaults=False),
        )
        for (task, _), config in zip(tasks, configs, strict=True):
            scores.append(_read(results, config["task"], task))
    return scores


def score_named(
    model: PreTrainedModel, names: Sequence[str], *, max_length: int, limit: int | None = None
) -> dict[str, Any]:
    """Score on lm-eval's own tasks by name; needs their data, hence a network or a filled cache.

    Raises `TaskError` where a task is not known or its data cannot be loaded.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    try:
        results = simple_evaluate(
            model=language_model(model, max_length),
            tasks=list(names),
            bootstrap_iters=0,
            limit=limit,
            log_samples=True,
            task_manager=TaskManager(),
        )
    except (KeyError, ValueError, OSError, ConnectionError) as error:
        raise TaskError(
            f"lm-eval cannot run {', '.join(names)} here: {error}. Its data comes over the network"
        ) from error
    return dict(results["results"])


def _read(results: dict[str, Any], name: str, task: Task) -> Score:
    row = results["results"][name]
    metric = {"bits_per_byte": "bits_per_byte", "accuracy": "acc"}[task.metric]
    value = float(row[f"{metric},none"])
    items = tuple(
        {"document": sample["doc_id"], "value": _plain(sample[metric])}
        for sample in sorted(results["samples"][name], key=lambda s: s["doc_id"])
    )
    return Score(task.name, task.metric, value, items)


def _plain(value: Any) -> Any:
    """A per-item result as plain numbers; rolling likelihoods are pairs (log-likelihood, bytes)."""
    return [float(v) for v in value] if isinstance(value, (tuple, list)) else float(value)

"""Scoring: lm-eval's own `simple_evaluate` on whatever answers as one of its language models.

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
from asiarc.tasks.tokenizer import END, tokenizer_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lm_eval.api.model import LM
    from transformers import PreTrainedTokenizerFast

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


def for_transformers(name: str) -> PreTrainedTokenizerFast:
    """A recipe's tokenizer as Hugging Face and lm-eval take it."""
    from transformers import PreTrainedTokenizerFast

    pairs = tokenizer_of(name).pairs
    if pairs is None:
        return byte_tokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=pairs, bos_token=END, eos_token=END, pad_token=END)


def score_documents(lm: LM, tasks: Sequence[tuple[Task, list[dict[str, Any]]]]) -> list[Score]:
    """Score a language model, as lm-eval sees it, on each task's documents."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

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
            model=lm,
            tasks=configs,
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
            task_manager=TaskManager(include_defaults=False),
        )
        for (task, _), config in zip(tasks, configs, strict=True):
            scores.append(_read(results, config["task"], task))
    return scores


def score_named(lm: LM, names: Sequence[str], *, limit: int | None = None) -> dict[str, Any]:
    """Score on lm-eval's own tasks by name; needs their data, hence a network or a filled cache.

    Raises `TaskError` where a task is not known or its data cannot be loaded.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    try:
        results = simple_evaluate(
            model=lm, tasks=list(names), bootstrap_iters=0, limit=limit, log_samples=True, task_manager=TaskManager()
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


def windows(documents: list[dict[str, Any]], seq_len: int) -> list[dict[str, Any]]:
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

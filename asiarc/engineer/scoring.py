"""Scoring: lm-eval's own `evaluate` on whatever answers as one of its language models.

Where lm-eval is not installed (a machine that trains for another one), `score_documents` asks the same questions and
computes what it would.

Our tasks come as configurations over documents that our generators and the corpus's held-out part make; lm-eval's own
tasks go the same way by name, ``lm_eval:arc_easy``, where their data can be loaded.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


@cache
def has_lm_eval() -> bool:
    """Whether lm-eval is installed; does not import it."""
    return importlib.util.find_spec("lm_eval") is not None


def score_documents(lm: LM, tasks: Sequence[tuple[Task, list[dict[str, Any]]]]) -> list[Score]:
    """Score a language model, as lm-eval sees it, on each task's documents."""
    if not has_lm_eval():
        return [score_plainly(lm, task, documents) for task, documents in tasks]
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        configs = []
        for task, documents in tasks:
            data = Path(folder) / f"{task.name.replace(':', '_').replace('/', '_')}.jsonl"
            data.write_text("".join(json.dumps(document) + "\n" for document in documents))
            config = task.lm_eval_config(str(data))
            config["dataset_kwargs"]["cache_dir"] = folder  # the default folder was fixed when datasets was imported
            configs.append(config)
        # not `simple_evaluate`, which lists this machine's packages each time: a CPU-second
        loaded = TaskManager(include_defaults=False).load(configs)
        results = evaluate(lm, loaded, bootstrap_iters=0, log_samples=True, verbosity="ERROR")
        for (task, _), config in zip(tasks, configs, strict=True):
            scores.append(_read(results, config["task"], task))
    return scores


class PlainRequest(NamedTuple):
    """A request as a language model of lm-eval's takes it."""

    args: tuple[str, ...]


def score_plainly(lm: Any, task: Task, documents: list[dict[str, Any]]) -> Score:
    """What lm-eval computes of one task's documents, without it: bits a byte over all texts, or the share right."""
    values = {"rolling": _of_texts, "choice": _of_choices, "cloze": _of_targets}[task.style](lm, documents)
    if task.style == "rolling":
        logs, sizes = zip(*values, strict=True)
        value = -sum(logs) / sum(sizes) / math.log(2)
    else:
        value = sum(values) / len(values)
    items = tuple({"document": place, "value": _plain(one)} for place, one in enumerate(values))
    return Score(task.name, task.metric, value, items)


def _of_texts(lm: Any, documents: list[dict[str, Any]]) -> list[Any]:
    texts = [document["text"] for document in documents]
    logs = lm.loglikelihood_rolling([PlainRequest((text,)) for text in texts])
    return [(log, len(text.encode())) for log, text in zip(logs, texts, strict=True)]


def _of_choices(lm: Any, documents: list[dict[str, Any]]) -> list[Any]:
    """Right where the answer is the likeliest of the choices, the first among equals."""
    found = iter(lm.answers([(d["context"], choice) for d in documents for choice in d["choices"]]))
    logs = [[next(found)[0] for _ in document["choices"]] for document in documents]
    return [float(log.index(max(log)) == d["answer"]) for log, d in zip(logs, documents, strict=True)]


def _of_targets(lm: Any, documents: list[dict[str, Any]]) -> list[Any]:
    """Right where every token of the target is the model's own first choice."""
    return [float(first) for _, first in lm.answers([(d["context"], d["target"]) for d in documents])]


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

"""lm-eval's numbers against the same numbers computed by hand from the model's own logits.

Every sequence opens with BOS, as in training; by hand each is fed alone, without padding or batching.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.errors import TaskError
from asiarc.core.outcome import DivergedError
from asiarc.engineer.scoring import byte_tokenizer, score_named, score_plainly, windows
from asiarc.engineer.trainer import batch_loss, evaluate
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task
from asiarc.tasks.task import Batch

from .here import score, streamed

SOURCES = ("gated_delta_net", "softmax_attention")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


@pytest.fixture(scope="module")
def models(tiny):
    """Untrained, but with logits apart enough that no argmax is a tie."""
    built = {}
    for name in SOURCES:
        model = build(baseline_source(name), tiny, "scoring", hidden=8).eval()
        with torch.no_grad():
            model.norm.weight.mul_(3.0)
        built[name] = model
    return built


def log_probabilities(model, context, continuation):
    """log p of each continuation byte after BOS and the context, and whether each is the model's first choice."""
    tokens = torch.tensor([[0, *context.encode(), *continuation.encode()]])
    with torch.no_grad():
        log_p_TV = torch.log_softmax(model(tokens).logits[0].double(), dim=-1)
    targets = tokens[0, -len(continuation.encode()) :]
    log_p_CV = log_p_TV[-len(targets) - 1 : -1]
    return log_p_CV.gather(1, targets[:, None])[:, 0], log_p_CV.argmax(-1) == targets


def all_bytes_of(text):
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)


@pytest.mark.parametrize("name", SOURCES)
def test_text_bits_per_byte_is_that_of_the_same_windows_by_hand(models, tiny, text_name, name):
    model, task = models[name], get_task(text_name)
    documents = windows(task.documents("validation", 6, "by hand"), tiny.seq_len)
    assert any(len(d["text"].encode()) != len(d["text"]) for d in documents)
    scored = score(model, [(task, documents)], max_length=tiny.seq_len)[0]
    nats = [-float(log_probabilities(model, "", d["text"])[0].sum()) for d in documents]
    lengths = [len(d["text"].encode()) for d in documents]
    assert scored.metric == "bits_per_byte"
    assert scored.value == pytest.approx(sum(nats) / sum(lengths) / math.log(2), rel=1e-5)
    assert [item["document"] for item in scored.items] == list(range(len(documents)))
    values = [item["value"] for item in scored.items]
    assert [v[1] for v in values] == lengths
    assert [-v[0] for v in values] == pytest.approx(nats, rel=1e-4)


def test_text_score_is_the_trainer_s_own_loss(models, tiny, text_name):
    model, task = models["gated_delta_net"], get_task(text_name)
    batch = task.batch("validation", 5, "own", seq_len=tiny.seq_len)
    texts = [bytes(row.tolist()).decode(errors="ignore") for row in batch.targets_BT]
    whole = [i for i, t in enumerate(texts) if len(t.encode()) == tiny.seq_len]
    assert whole
    same = Batch(batch.inputs_BT[whole], batch.targets_BT[whole])
    scored = score(model, [(task, [{"text": texts[i]} for i in whole])], max_length=tiny.seq_len)[0]
    assert scored.value == pytest.approx(evaluate(model, same), rel=1e-5)
    assert scored.value == pytest.approx(batch_loss(model, same).item() / math.log(2), rel=1e-5)


@pytest.mark.parametrize("name", SOURCES)
def test_multiple_choice_is_the_argmax_by_hand(models, name):
    model, task = models[name], get_task("overwrite")
    documents = task.documents("validation", 20, "by hand")
    scored = score(model, [(task, documents)], max_length=task.seq_len)[0]
    right = []
    for document in documents:
        sums = [log_probabilities(model, document["context"], c)[0].sum() for c in document["choices"]]
        right.append(float(int(torch.stack(sums).argmax()) == document["answer"]))
    assert scored.metric == "accuracy"
    assert [item["value"] for item in scored.items] == right
    assert [item["document"] for item in scored.items] == list(range(20))
    assert scored.value == pytest.approx(sum(right) / 20)


@pytest.mark.parametrize("name", SOURCES)
def test_cloze_is_right_when_every_byte_is_the_first_choice(models, name):
    """Half of the targets are replaced by what the model says, so that both answers occur."""
    model, task = models[name], get_task("fuzzy_recall")
    documents = task.documents("validation", 16, "by hand")
    for document in documents[::2]:
        document["target"] = greedy(model, document["context"], len(document["target"]))
    scored = score(model, [(task, documents)], max_length=task.seq_len)[0]
    right = [float(log_probabilities(model, d["context"], d["target"])[1].all()) for d in documents]
    assert [item["value"] for item in scored.items] == right
    assert scored.value == pytest.approx(sum(right) / 16)
    assert 0 < scored.value < 1


@pytest.mark.parametrize("name", ["text", "overwrite", "fuzzy_recall"])
def test_without_lm_eval_the_same_is_asked_and_computed(models, tiny, text_name, name):
    model, task = models["gated_delta_net"], get_task(text_name if name == "text" else name)
    length = tiny.seq_len if name == "text" else task.seq_len
    documents = windows(task.documents("validation", 8, "plain"), length)
    for document in documents[::2]:
        if name == "fuzzy_recall":
            document["target"] = greedy(model, document["context"], len(document["target"]))
    with streamed(model, length) as lm:
        plain = score_plainly(lm, task, documents)
    theirs = score(model, [(task, documents)], max_length=length)[0]
    assert (plain.task, plain.metric, plain.items) == (theirs.task, theirs.metric, theirs.items)
    assert plain.value == pytest.approx(theirs.value, abs=1e-8)


def greedy(model, context, count):
    said = ""
    for _ in range(count):
        with torch.no_grad():
            logits_V = model(torch.tensor([[0, *context.encode(), *said.encode()]])).logits[0, -1]
        said += chr(int(logits_V[33:127].argmax()) + 33)
    return said


def test_several_tasks_at_once_score_as_each_alone(models, tiny, text_name):
    model = models["gated_delta_net"]
    pairs = [(t := get_task(name), t.documents("validation", 3, "both")) for name in ("overwrite", "reset")]
    together = score(model, pairs, max_length=128)
    assert together == [score(model, [pair], max_length=128)[0] for pair in pairs]


@pytest.mark.parametrize("name", SOURCES)
def test_how_many_are_read_side_by_side_changes_nothing(models, name, monkeypatch):
    from lm_eval.api.instance import Instance

    task = get_task("fuzzy_recall")
    documents = task.documents("validation", 7, "batches")
    requests = [Instance("loglikelihood", d, (d["context"], d["target"]), i) for i, d in enumerate(documents)]
    rolling = [Instance("loglikelihood_rolling", d, (d["context"],), i) for i, d in enumerate(documents)]
    expected = [log_probabilities(models[name], d["context"], d["target"]) for d in documents]
    texts = [float(log_probabilities(models[name], "", d["context"])[0].sum()) for d in documents]
    for rows in (1, 3, 32):
        monkeypatch.setattr("asiarc.engineer.referee.ROWS", rows)
        with streamed(models[name], 128) as lm:
            answers = lm.loglikelihood(requests)
            assert [a[0] for a in answers] == pytest.approx([float(e[0].sum()) for e in expected], rel=1e-4)
            assert [a[1] for a in answers] == [bool(e[1].all()) for e in expected]
            assert lm.loglikelihood_rolling(rolling) == pytest.approx(texts, rel=1e-4)


def test_a_model_that_answers_with_no_number_is_no_score(models, tiny):
    model, task = (build(baseline_source("linear_attention"), tiny, "nan", hidden=8).eval(), get_task("overwrite"))
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    with pytest.raises(DivergedError, match="scored"):
        score(model, [(task, task.documents("validation", 2, "nan"))], max_length=task.seq_len)


ASCII = "".join(map(chr, range(128)))


@pytest.mark.parametrize("text", [ASCII, ASCII[::-1], "\n\n a\tb \r\n", "\x00\x00", "", "<0x41>", " . , 's n't"])
def test_ascii_tokens_are_its_bytes(text):
    tokenizer = byte_tokenizer()
    tokens = tokenizer.encode(text)
    assert tokens == list(text.encode())
    assert tokenizer.decode(tokens) == text


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_tokens_are_the_bytes_of_any_text(text):
    tokenizer = byte_tokenizer()
    tokens = tokenizer.encode(text)
    assert tokens == list(text.encode())
    assert tokenizer.decode(tokens) == text


def test_special_tokens():
    tokenizer = byte_tokenizer()
    assert len(tokenizer) == 256
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    assert tokenizer(["ab", "c"], padding=True)["input_ids"] == [[97, 98], [99, 0]]


@given(st.lists(st.text(max_size=40), max_size=4), st.integers(4, 24))
def test_windows_lose_no_byte(texts, size):
    documents = [{"text": text, "section": str(i)} for i, text in enumerate(texts)]
    cut = windows(documents, size)
    for document in documents:
        pieces = [w["text"] for w in cut if w["section"] == document["section"]]
        assert "".join(pieces) == document["text"]
        assert all(0 < len(p.encode()) <= size for p in pieces)
        assert all(len(p.encode()) > size - 4 for p in pieces[:-1])
    assert [w["section"] for w in cut] == sorted((w["section"] for w in cut), key=int)


def test_documents_without_text_pass_uncut():
    documents = get_task("overwrite").documents("validation", 3, "uncut")
    assert windows(documents, 4) == documents


@pytest.mark.parametrize(("name", "why"), [("arc_easy", "Couldn't reach"), ("no_such_task", "not a registered task")])
def test_named_tasks_without_a_network_are_a_task_error(models, monkeypatch, name, why):
    """lm-eval's own files for ARC alone: reading all its 14,000 tasks takes longer than the rest of the tests."""
    import datasets.config
    import huggingface_hub.constants
    import lm_eval.tasks

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    arc = Path(lm_eval.tasks.__file__).parent / "arc"
    manager = lm_eval.tasks.TaskManager(include_path=str(arc), include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", lambda: manager)
    with streamed(models["gated_delta_net"], 128) as lm, pytest.raises(TaskError, match=f"{name} here: .*{why}"):
        score_named(lm, [name], limit=2)

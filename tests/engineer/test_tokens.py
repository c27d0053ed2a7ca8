"""Texts in tokens, scored: bits of all tokens over bytes of the text, whatever the tokens are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from asiarc.engineer import referee
from asiarc.engineer.referee import RejectedError, StreamedLM
from asiarc.engineer.scoring import for_transformers, score_documents, windows
from asiarc.models.backbone import build
from asiarc.tasks import get_task, opened, tokenizer
from asiarc.tasks.corpus import Corpus
from asiarc.tasks.tokenizer import END, Tokenizer, tokenizer_of

from .here import streamed
from .test_referee import LEAKS, Spy, mixer, verdict
from .test_trial import request


@pytest.fixture(scope="module", autouse=True)
def pairs_of_the_small_text(text_name):
    """Byte pairs are counted in the small text of these tests."""
    found = get_task(text_name).corpus
    small = Corpus("0" * 32, {"train": found.texts["train"][:20_000]}, {})
    text = small.texts["train"].tobytes().decode(errors="ignore").encode()
    small.texts["train"] = np.frombuffer(text, dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "docstring_corpus", lambda: small)
        yield


@pytest.fixture(scope="module")
def task(text_name):
    return get_task(text_name)


@pytest.fixture(scope="module")
def model(tiny):
    return build(mixer(), tiny, "tokens", hidden=8)


def value(model, documents, task, length, made):
    with streamed(model, length) as lm:
        lm.tokenizer = made
        return score_documents(lm, [(task, documents)])[0].value


@pytest.mark.parametrize("name", ["bytes", "bpe-300", "bpe-400"])
def test_who_knows_nothing_pays_for_every_token(tiny, text_name, name):
    """log2 V bits a token x tokens / bytes, both counted from the documents; coarser tokens are fewer and dearer."""
    asked = {"task": opened(text_name, Path(), build=True), "documents": 3, "match": None}
    recipe = tiny.at(tokenizer=name)
    request(recipe, **asked).opened.keep()
    spy = Spy(recipe.vocab_size)
    found = verdict(recipe, read=spy.read, **asked)
    documents = get_task(asked["task"], name).documents("validation", 3, "explore items")
    made = tokenizer_of(name)
    count = sum(len(made.encode(d["text"])) for d in documents)
    size = sum(len(d["text"].encode()) for d in documents)
    assert sum(item["value"][1] for item in found["items"]) == size
    assert found["value"] == pytest.approx(math.log2(recipe.vocab_size) * count / size, rel=1e-9)
    if name == "bytes":
        assert count == size and "read" not in found
    else:
        assert count < size and found["read"]["tokens"] == count and found["read"]["tokenizer"] == made.key
        assert found["read"]["bits_per_token"] == pytest.approx(math.log2(recipe.vocab_size), rel=1e-9)
        assert all(row[0] == made.bos for rows in spy.rows for row in rows), "every window opens as trained rows did"


def test_tokens_that_are_bytes_score_as_bytes(model, task, tiny):
    """The way of tokens, taken by bytes: the present value, to the last bit."""
    documents = windows(task.documents("validation", 5, "bytes"), tiny.seq_len)
    as_tokens = Tokenizer("bytes", "bytes", 0, tokenizer_of("bytes").encode_all, pairs=object())
    found = [value(model, documents, task, tiny.seq_len, made) for made in (tokenizer_of("bytes"), as_tokens)]
    assert found[0] == found[1]


def test_a_long_document_is_its_windows(model, task, tiny):
    """Each opens with BOS; together they are all tokens of the text and none twice."""
    text = "".join(chr(97 + i % 26) for i in range(3 * tiny.seq_len + 5))
    whole, cut = [{"text": text}], windows([{"text": text}], tiny.seq_len)
    found = [value(model, some, task, tiny.seq_len, tokenizer_of("bytes")) for some in (whole, cut)]
    assert len(cut) == 4 and found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_context_and_its_continuation_are_cut_as_in_one_text(tiny):
    made = tokenizer_of("bpe-400")
    lm = StreamedLM(Spy(400), 32, made)
    text = tokenizer.docstring_corpus().texts["train"].tobytes().decode()[:60]
    context, continuation = text[:40], text[40:]
    ids = lm._encode_pair(context, continuation)
    assert ids[0][0] == made.bos and made.pairs.decode([*ids[0][1:], *ids[1]]).startswith(context.rstrip())
    assert sum(map(len, ids)) - 1 == len(made.encode(text)), "no token is counted twice"


@pytest.mark.parametrize("leak", ["always", "by the mean of all"])
def test_of_a_large_vocabulary_some_distributions_are_kept_and_a_leak_is_seen(leak, task, tiny, monkeypatch):
    monkeypatch.setattr(referee, "SAMPLE_NUMBERS", referee.SAMPLE * 256 * 4)
    documents = [{"text": d["text"][:20]} for d in task.documents("validation", 10, "sample")]
    with streamed(build(mixer(*LEAKS[leak]), tiny, "leak", hidden=8), 32) as lm:
        score_documents(lm, [(task, documents)])
        assert len(lm.sample) == referee.SAMPLE and {len(found) for _, found in lm.sample} == {4}
        assert len({tuple(sorted(found)) for _, found in lm.sample}) > 1, "nobody knows beforehand which"
        with pytest.raises(RejectedError, match="read whole"):
            lm.compare()


def test_a_key_moves_with_the_tokenizer(tiny, text_name, monkeypatch):
    name = opened(text_name, Path(), build=True)

    def key(of):
        return request(tiny.at(tokenizer=of), task=name, match=None).key

    before = key("bpe-300")
    assert len({before, key("bpe-301"), key("gpt2"), key("bytes")}) == 4
    other = Corpus("1" * 32, tokenizer.docstring_corpus().texts, {})
    monkeypatch.setattr(tokenizer, "docstring_corpus", lambda: other)
    assert key("bpe-300") != before, "another corpus, other pairs under the same name"


def test_documents_of_ones_own_are_read_with_the_tokenizer(text_name, tmp_path):
    from asiarc.tasks.documents import keep_documents
    from asiarc.tasks.rendering import Rendered

    documents = [{"context": f"{i} and {i} is ", "target": str(2 * i)} for i in range(60)]
    splits = {"training": documents[:20], "validation": documents[20:40], "test": documents[40:]}
    found = Rendered("sums", "cloze", "reported", None, splits)
    name = f"documents:{keep_documents(found, text_name)}"
    one, other = (get_task(name, made) for made in ("bytes", "bpe-300"))
    made = tokenizer_of("bpe-300")
    rows = other.batch("train", 3, "s", 0, seq_len=8).targets_BT
    assert all(made.pairs.decode(row.tolist()).split()[0].isdigit() for row in rows)
    assert one.identity != other.identity and one.documents("validation", 3) == other.documents("validation", 3)


def test_transformers_reads_the_same_tokens():
    made, theirs = tokenizer_of("bpe-300"), for_transformers("bpe-300")
    text = tokenizer.docstring_corpus().texts["train"].tobytes().decode()[:300]
    assert theirs.encode(text, add_special_tokens=False) == made.encode(text)
    assert theirs.bos_token_id == theirs.eos_token_id == theirs.pad_token_id == made.bos
    assert theirs.decode(made.encode(text)) == text and theirs.convert_ids_to_tokens(made.bos) == END

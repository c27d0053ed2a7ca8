"""Tokens: what makes them, the stream that a seed deals, what is kept of a text, and who may read what.

The reference of a stream is a list: every document once an epoch, in the order that the seed draws, BOS after each.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.errors import CampaignError, TaskError
from asiarc.core.recipe import MICRO, PAPER_20M, PAPER_340M, vocabulary
from asiarc.tasks import get_task, opened, own_text, read_with, stream, tokenizer
from asiarc.tasks.corpus import Corpus
from asiarc.tasks.keep import packed_folder, unpack_folder
from asiarc.tasks.stream import HELD_OUT, Page, Shard, Stream, keep_tokens
from asiarc.tasks.tokenizer import END, key_of, tokenizer_of

BPE = "bpe-300"
WORDS = [
    "river",
    "stone",
    "window",
    "garden",
    "música",
    "letter",
    "silver",
    "🙂",
    "morning",
    "engine",
    "castle",
    "<|endoftext|>",
]


def paragraph(seed, words=30):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words).tolist())


@pytest.fixture(scope="module", autouse=True)
def small_shipped_corpus(tmp_path_factory):
    """Byte pairs are counted in a text of some words, so that no test waits for the real one."""
    train = np.frombuffer("\n\n".join(paragraph(i) for i in range(200)).encode(), dtype=np.uint8)
    corpus = Corpus("0" * 32, {"train": train}, {"train": [("all", 0, len(train))]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "docstring_corpus", lambda: corpus)
        patch.setenv("ASIARC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield corpus


def write_pages(folder, documents=90, files=2, group=20):
    """FineWeb-Edu's layout: `text` beside other columns, several row groups a file."""
    folder.mkdir()
    for number in range(files):
        texts = [paragraph([number, i], 5 + 40 * (i % 7)) for i in range(documents)]
        table = pa.table({"id": [str(i) for i in range(documents)], "text": texts, "score": [2.5] * documents})
        pq.write_table(table, folder / f"{number:03}_00000.parquet", row_group_size=group)
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write_pages(tmp_path_factory.mktemp("pages") / "web", documents=300, group=70)


def kept(folder, name=BPE):
    task = get_task(opened(f"text:{folder}", folder, build=True), name)
    task.keep()
    return task


# --- tokenizers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bytes", BPE])
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
@settings(max_examples=30)
def test_tokens_are_the_text_and_bos_is_none_of_them(name, text):
    made = tokenizer_of(name)
    ids = made.encode(text)
    back = bytes(ids).decode() if made.pairs is None else made.pairs.decode(ids)
    assert back == text and all(0 <= token < made.vocab_size for token in ids) and len(ids) <= len(text.encode())
    assert made.pairs is None or made.bos not in ids, "not even where a text spells it"


def test_the_same_text_gives_the_same_pairs_in_any_process(small_shipped_corpus):
    text = small_shipped_corpus.texts["train"].tobytes().decode()
    code = (
        "import sys; import numpy as np; from asiarc.tasks import tokenizer; from asiarc.tasks.corpus import Corpus\n"
        "text = np.frombuffer(sys.stdin.buffer.read(), np.uint8)\n"
        "tokenizer.docstring_corpus = lambda: Corpus('0' * 32, {'train': text}, {})\n"
        "import hashlib; print(hashlib.sha256(b''.join(tokenizer._trained(300).values())).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], input=text.encode(), capture_output=True, check=True)
    here = b"".join((tokenizer.folder_of(key_of(BPE)) / file).read_bytes() for file in ("vocab.json", "merges.txt"))
    assert tokenizer_of(BPE).vocab_size == 300
    assert done.stdout.decode().strip() == hashlib.sha256(here).hexdigest()


def test_another_corpus_or_size_is_another_tokenizer(small_shipped_corpus, monkeypatch):
    keys = {key_of(BPE), key_of("bpe-301"), key_of("gpt2"), key_of("bytes")}
    monkeypatch.setattr(tokenizer, "docstring_corpus", lambda: Corpus("1" * 32, small_shipped_corpus.texts, {}))
    assert len({*keys, key_of(BPE)}) == 5


@pytest.mark.parametrize("name", ["gpt-2", "bpe", "bpe-256", "bpe-65537", "bpe-1e4", "bpe--300", "Bytes", ""])
def test_a_name_that_is_none_is_said(name):
    for ask in (vocabulary, key_of, tokenizer_of):
        with pytest.raises(TaskError, match="Valid: bytes, gpt2, and bpe-N"):
            ask(name)


def test_gpt2_is_fetched_or_nothing(tmp_path, monkeypatch):
    """No other tokenizer takes its place; what is not OpenAI's file is refused; its key needs no file."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert key_of("gpt2").startswith("gpt2-")
    fetched = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *asked: fetched.append(asked) or refuse(OSError("no"))
    )
    with pytest.raises(TaskError, match="run again; without one, say another"):
        tokenizer_of("gpt2")
    assert [name for name, _ in fetched] == ["openai-community/gpt2", "gpt2"]
    (tmp_path / "wrong").write_text("{}")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(tmp_path / "wrong"))
    with pytest.raises(TaskError, match="is not GPT-2's as OpenAI published it"):
        tokenizer_of("gpt2")
    assert not (tmp_path / "tokenizers").exists()


def refuse(error):
    raise error


def test_gpt2s_files_make_gpt2s_tokens(tmp_path, monkeypatch):
    """The form of the two files, on a stand-in of twelve entries: spaces are part of words, `END` is an entry only."""
    entries = ["a", "b", "Ġ", "ab", "Ġab", END]
    files = {
        "vocab.json": json.dumps({e: i for i, e in enumerate(entries)}),
        "merges.txt": "#version: 0.2\na b\nĠ ab\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenizer, "GPT2", {n: hashlib.sha256(c.encode()).hexdigest() for n, c in files.items()})
    monkeypatch.setattr(tokenizer, "vocabulary", lambda _: len(entries))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(tmp_path / name))
    made = tokenizer_of("gpt2")
    assert made.bos == 5 and made.encode("ab ab b") == [3, 4, 2, 1]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: refuse(AssertionError("it is kept")))
    tokenizer._made.cache_clear()
    assert tokenizer_of("gpt2").key == made.key


def test_the_papers_recipes_have_the_papers_tokens():
    assert {(p.tokenizer, p.vocab_size) for p in (PAPER_20M, PAPER_340M)} == {("gpt2", 50_257)}
    assert (MICRO.tokenizer, MICRO.vocab_size) == ("bytes", 256)
    assert MICRO.at(tokenizer=BPE).vocab_size == 300 and MICRO.at(tokenizer=BPE, vocab_size=512).vocab_size == 512


# --- streams ----------------------------------------------------------------------------------------------------------

SIZES = st.lists(st.lists(st.lists(st.integers(1, 6), max_size=4), max_size=3), min_size=1, max_size=3)


def shards_of(sizes):
    """Shards of row groups of documents of these sizes, in which no token comes twice."""
    numbers, shards = itertools.count(1), []
    for name, groups in enumerate(sizes):
        documents = [size for group in groups for size in group]
        tokens_N = np.array([next(numbers) for _ in range(sum(documents))], dtype=np.uint16)
        starts_D, groups_G = (np.cumsum([0, *some]) for some in (documents, map(len, groups)))
        shards.append(Shard(str(name), tokens_N, starts_D, groups_G))
    return shards


@given(sizes=SIZES.filter(lambda all_: any(map(any, all_))), seed=st.integers(0, 3), data=st.data())
@settings(max_examples=60)
def test_a_stream_is_every_document_once_an_epoch_and_resumes_anywhere(sizes, seed, data):
    shards = shards_of(sizes)
    dealt = Stream(shards, seed)
    documents = {tuple(s.tokens_N[a:b]) for s in shards for a, b in itertools.pairwise(s.starts_D)}
    for epoch in range(2):
        tokens = [int(t) for t in dealt.read(epoch * dealt.tokens, dealt.tokens)]
        starts = sorted(tokens.index(document[0]) for document in documents)
        assert {tuple(tokens[a:b]) for a, b in itertools.pairwise([*starts, len(tokens)])} == documents
    token, length = data.draw(st.integers(0, 2 * dealt.tokens)), data.draw(st.integers(1, 9))
    position = json.loads(json.dumps(dealt.position(token)))
    assert dealt.token(position) == token
    resumed = list(itertools.islice(Stream(shards, seed).rows(length, position), 3))
    assert np.array_equal(np.concatenate(resumed), dealt.read(token, 3 * length)), "the continued stream is the resumed"


def test_another_seed_is_another_order_and_an_epoch_too():
    shards = shards_of([[[1] * 8] * 4] * 3)
    first, other = (Stream(shards, seed).read(0, 192).reshape(2, 96) for seed in (0, 1))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("change", [{"shard": "x"}, {"row_group": 9}, {"document": 9}, {"offset": 9}, {"epoch": -1}])
def test_a_place_that_is_not_there_is_said(change):
    dealt = Stream(shards_of([[[3, 2], [4]]]), 0)
    with pytest.raises(TaskError, match="the text has no place"):
        dealt.token(dealt.position(4) | change)


# --- what is kept of a text -------------------------------------------------------------------------------------------


def texts_of(folder):
    return [text for file in sorted(folder.iterdir()) for text in pq.read_table(file)["text"].to_pylist()]


@pytest.mark.parametrize("name", ["bytes", BPE])
def test_every_document_is_trained_or_held_out(pages, name):
    task = kept(pages, name)
    bos, shards = stream.opened(task.folder)
    made = tokenizer_of(name)
    decode = (lambda ids: bytes(ids.tolist()).decode()) if made.pairs is None else lambda ids: made.pairs.decode(ids)
    train = [
        decode(s.tokens_N[a : b - 1])
        for s in shards
        for a, b in itertools.pairwise(s.starts_D)
        if s.tokens_N[b - 1 : b] == bos
    ]
    held = {split: [text for _, text in stream.held_out(task.folder, split)] for split in HELD_OUT}
    assert sorted([*train, *held["validation"], *held["confirmation"]]) == sorted(texts_of(pages))
    assert not set(train) & {*held["validation"], *held["confirmation"]} and not set(held["validation"]) & {
        *held["confirmation"]
    }
    assert [len(s.groups_G) for s in shards] == [6, 6] and all(s.groups_G[-1] == len(s.starts_D) - 1 for s in shards)


def test_a_batch_is_rows_of_the_seeds_stream_and_of_nothing_else(pages):
    task = kept(pages)
    dealt = task.stream("seed")
    for step in (0, 3):
        batch = task.batch("train", 4, "seed", step, seq_len=16)
        rows = [dealt.read((4 * step + i) * 16, 16) for i in range(4)]
        assert np.array_equal(batch.targets_BT, rows) and (batch.inputs_BT[:, 0] == task.tokenizer.bos).all()
        assert np.array_equal(batch.inputs_BT[:, 1:], batch.targets_BT[:, :-1])
    whole = [task.batch("train", 2, "seed", step, seq_len=16).targets_BT for step in range(4)]
    assert np.array_equal(
        np.concatenate(whole),
        np.concatenate([task.batch("train", 4, "seed", s, seq_len=16).targets_BT for s in (0, 1)]),
    )


def test_documents_are_held_out_and_of_as_many_bytes(pages):
    task = kept(pages)
    documents = task.documents("validation", 3, "items")
    held = dict(stream.held_out(task.folder, "validation"))
    assert all(held[d["section"]].startswith(d["text"]) for d in documents)
    sizes = [len(d["text"].encode()) for d in documents]
    assert sum(sizes[:-1]) < 3 * 512 <= sum(sizes) or len(documents) == len(held)
    assert documents == task.documents("validation", 3, "items") != task.documents("validation", 3, "other")


def test_tokens_are_made_once_and_again_where_they_are_damaged(pages, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path))
    task = kept(pages)
    before = packed_folder(f"tokens/{task.folder.name}")
    capfd.readouterr()
    task.keep()
    assert not capfd.readouterr().err
    stream._whole.clear()
    stream._opened.cache_clear()
    with (task.folder / "00001" / "train.tokens").open("r+b") as file:
        file.write(b"\xff")
    kept(pages)
    assert "00001 is damaged" in capfd.readouterr().err
    assert packed_folder(f"tokens/{task.folder.name}") == before


def test_what_was_made_before_a_kill_is_not_made_again(tmp_path, monkeypatch):
    """The second shard fails at first; the first is not asked for again."""
    asked = []

    class Two:
        content_hash, shards, most_bytes, fails = "ab" * 16, ("one", "two"), None, True

        def documents(self, shard):
            asked.append(shard)
            if shard and self.fails:
                raise OSError("the disk is gone")
            yield 0, [Page(split, f"{shard}{split}", f"text {split}") for split in ("train", *HELD_OUT)]

    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path))
    text = Two()
    with pytest.raises(TaskError, match=r"the disk is gone|cannot keep text"):
        keep_tokens(text, tokenizer_of("bytes"))
    drafts = [*(tmp_path / "tokens").rglob("draft-*")]
    text.fails = False
    folder = keep_tokens(text, tokenizer_of("bytes"))
    assert not drafts and sorted(f.name for f in folder.iterdir()) == ["00000", "00001", "index.json"]
    records = [json.loads((folder / f"0000{i}" / "index.json").read_bytes()) for i in range(2)]
    assert [record["tokens"] for record in records] == [11, 11]


@given(most=st.integers(1, 400))
@settings(max_examples=10)
def test_no_more_text_is_taken_than_was_asked_for(most):
    documents = [(0, [Page("train", str(i), "x" * 50) for i in range(3)]), (1, [Page("train", "3", "y" * 50)])]
    taken = [page for _, some in stream._until(documents, most) for page in some]
    assert len(taken) == min(4, -(-most // 50))


def test_a_folder_without_texts_is_said(tmp_path):
    (tmp_path / "a").mkdir()
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a" / "0.parquet")
    with pytest.raises(TaskError, match=r"no column 'text' of strings.*it has: body"):
        opened(f"text:{tmp_path / 'a'}", tmp_path, build=True)
    (tmp_path / "a" / "0.parquet").write_bytes(b"PAR1 and no more of it")
    with pytest.raises(TaskError, match="is no parquet file"):
        opened(f"text:{tmp_path / 'a'}", tmp_path, build=True)
    few = kept_error(write_pages(tmp_path / "few", documents=3, files=1))
    assert "too little text" in few or "no text" in few


def kept_error(folder):
    with pytest.raises(TaskError) as told:
        kept(folder)
    return str(told.value)


def test_another_text_is_another_key_and_a_moved_one_is_not(pages, tmp_path):
    def key(folder):
        return opened(f"text:{folder}", tmp_path, build=True)

    moved = write_pages(tmp_path / "moved", documents=300, group=70)
    other = write_pages(tmp_path / "other", documents=299, group=70)
    assert key(pages) == key(moved) != key(other)
    assert key(pages).startswith("text:_pages-") and own_text(key(pages)) is None
    identities = {read_with(key(pages), name).identity for name in ("bytes", BPE, "bpe-301", "gpt2")}
    assert len({*identities, read_with(key(other), BPE).identity}) == 5


def test_fineweb_edu_is_read_file_by_file_as_far_as_asked(pages, tmp_path, monkeypatch):
    """The hub is a folder here: files are asked for in order, until there is enough text; later by no file at all."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path))
    asked = []

    def fetched(name):
        asked.append(name)
        found = pages / name.rpartition("/")[2]
        return found if found.exists() else None

    monkeypatch.setattr("asiarc.tasks.pages._fetched", fetched)
    from asiarc.tasks.pages import fineweb_edu_pages

    fineweb_edu_pages.cache_clear()
    task = get_task("fineweb-edu", BPE)
    task.keep()
    assert asked == [f"sample/10BT/{number:03}_00000.parquet" for number in range(3)], "there is no third"
    fineweb_edu_pages.cache_clear()
    again = get_task("fineweb-edu", BPE)
    assert again.identity == task.identity and len(again.batch("train", 2, "s", 1).inputs_BT) == 2 and len(asked) == 3
    fineweb_edu_pages.cache_clear()


# --- who may read what ------------------------------------------------------------------------------------------------


def test_tokens_travel_and_are_refused_where_they_arrive_otherwise(pages, tmp_path, monkeypatch):
    task = kept(pages)
    sent = {name: packed_folder(name) for name in task.travels}
    batch, documents = task.batch("train", 2, "s", 1), task.documents("validation", 2, "s")
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path))
    there = get_task(task.name, BPE)
    with pytest.raises(TaskError, match="are not kept"):
        there.batch("train", 2, "s", 1)
    for name, (content_hash, files) in sent.items():
        with pytest.raises(TaskError, match="did not arrive"):
            unpack_folder(name, content_hash, files | {"more": b""})
        unpack_folder(name, content_hash, files)
    assert np.array_equal(there.batch("train", 2, "s", 1).targets_BT, batch.targets_BT)
    assert there.documents("validation", 2, "s") == documents


def test_a_candidates_process_reads_training_tokens_and_nothing_held_out(pages):
    """By the patterns that the sandbox opens: every file of the kept tokens is on one side."""
    from pathlib import Path

    from asiarc.execution.local import _training_texts

    task = kept(pages)
    patterns = [pattern for pattern in _training_texts() if "/tokens/" in pattern]
    root = task.folder.parent.parent
    readable = {f for p in patterns for f in root.glob(Path(p).relative_to(root.resolve()).as_posix())}
    files = {file for file in task.folder.rglob("*") if file.is_file()}
    assert {file.name for file in files & readable} == {"index.json", "train.tokens", "train.ends"}
    assert {file.name for file in files - readable} == {"validation.json", "confirmation.json"}


def test_synthetic_tasks_are_bytes():
    with pytest.raises(TaskError, match="tokens of overwrite are bytes"):
        get_task("overwrite", BPE)
    assert read_with("overwrite", BPE).identity == get_task("overwrite").identity


def test_a_campaign_says_its_tokenizer_for_its_text_alone():
    from asiarc import Budget, Campaign, Recipe, Stage, by_tier
    from asiarc.loop.trials import planned_recipe

    def asked(name):
        return Campaign(
            start_from="delta_net",
            baselines=("delta_net",),
            explore=Stage(tasks=("text", "overwrite"), seeds=1),
            budget=by_tier(smoke=Budget(candidates=2, minutes=5)),
            recipe=Recipe(tokenizer=name),
        )

    plan = asked("bpe-512").plan("explore", "smoke")
    recipes = {task: planned_recipe(task, plan, 12) for task in ("text", "overwrite")}
    assert {t: (r.tokenizer, r.vocab_size) for t, r in recipes.items()} == {
        "text": ("bpe-512", 512),
        "overwrite": ("bytes", 256),
    }
    with pytest.raises(CampaignError, match="unknown tokenizer 'bpe-7'"):
        asked("bpe-7")

"""The corpus: what is prose, what repeats, which split gets it, and a cache that processes may race for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.errors import TaskError
from asiarc.tasks import BOS, SPLITS, get_task
from asiarc.tasks import corpus as corpus_module
from asiarc.tasks import prose as prose_module
from asiarc.tasks.corpus import _kept, docstring_corpus, holds, keep_text, kept_corpus, packed, path_corpus, unpack
from asiarc.tasks.prose import docstring_sections, prose_paragraphs, without_near_duplicates

WORDS = [
    *("river", "stone", "window", "garden", "music", "letter", "silver", "morning", "engine", "castle"),
    *("winter", "forest", "bridge", "candle", "mirror", "market", "doctor", "island", "summer", "pocket"),
    *("button", "ladder", "basket", "feather", "hammer", "kettle", "lantern", "meadow", "needle", "orchard"),
]


def sentence(seed, words=24):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words).tolist())


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def write_texts(folder, files=12, paragraphs=40):
    folder.mkdir()
    for i in range(files):
        texts = [sentence(1_000 * i + j, 60) for j in range(paragraphs)]
        (folder / f"{i:02}.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def elsewhere(code, **environment):
    """The output of ``code`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_prose_is_prose():
    text = """Short.

    The quick brown fox jumps over the lazy dog, then it runs back into the “old” forest — at night…

    Parameters
    ----------
    x : array_like, shape (n, m), optional, default=None, dtype=float64, (0 <= x[i, j] < 1), {'a', 'b'}.

    single_source_dijkstra_path_length, single_source_dijkstra_path, all_pairs_bellman_ford_path_length

    >>> print("the quick brown fox jumps over the lazy dog then it runs back into the forest")

    Die Füße des Fuchses laufen über die Wiese, und dann läuft er in den Wald zurück.

    Notes
    -----
    A heading that is underlined goes, the paragraph below it stays, and its
    line breaks become spaces in the text that a model reads.
    """
    assert prose_paragraphs(text) == [
        'The quick brown fox jumps over the lazy dog, then it runs back into the "old" forest - at night...',
        "A heading that is underlined goes, the paragraph below it stays, and its line breaks become spaces "
        "in the text that a model reads.",
    ]


def test_docstrings_of_a_package_are_read_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "planted"
    (package / "tests").mkdir(parents=True)
    text = {name: sentence(i) for i, name in enumerate(("module", "class", "method", "inner", "string", "test"))}
    (package / "__init__.py").write_text(
        f'"""{text["module"]}"""\nraise ImportError\nclass A:\n    """{text["class"]}"""\n'
        "    async def f(self):\n"
        f'        """{text["method"]}"""\n        def g():\n            """{text["inner"]}"""\n'
        f'        return """{text["string"]}"""\n',
        encoding="utf-8",
    )
    (package / "tests" / "test_it.py").write_text(f'"""{text["test"]}"""', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    expected = [text["module"], text["class"], text["method"], text["inner"]]
    assert list(docstring_sections(["planted"])) == [("planted/__init__.py", expected)]


def test_a_missing_package_is_named():
    with pytest.raises(TaskError, match=r"no_such_package is not installed.*text:/path"):
        docstring_corpus(("no_such_package",))


def test_planted_near_duplicates_go_wherever_they_are():
    original, other = sentence(1, 40), sentence(2, 40)
    words = original.split()
    one_word_changed = " ".join([*words[:20], "elsewhere", *words[21:]])
    punctuation = original.replace(" ", ", ").upper()
    contained = " ".join(words[5:25])
    longer = original + " " + sentence(3, 10)
    sections = [("a", [original, other]), ("b", [one_word_changed, punctuation]), ("c", [contained, longer, original])]
    kept = without_near_duplicates(sections)
    # The longest variant stays: it holds what all the others say.
    assert [(name, [p for p in paragraphs if p != other]) for name, paragraphs in kept] in (
        [("a", []), ("b", [punctuation])],
        [("a", []), ("c", [longer])],
    )
    assert ("a", [other]) in kept


def test_different_paragraphs_stay():
    sections = [(str(i), [sentence(10 * i + j) for j in range(5)]) for i in range(20)]
    assert without_near_duplicates(sections) == sections


def test_short_paragraphs_are_judged_by_exact_repetition_only():
    sections = [("a", ["Chapter I", "x y z"]), ("b", ["Chapter I", "Chapter II"])]
    assert without_near_duplicates(sections) == [("a", ["Chapter I", "x y z"]), ("b", ["Chapter II"])]


@given(st.lists(st.lists(st.lists(st.sampled_from(WORDS[:4]), max_size=12).map(" ".join), max_size=4), max_size=6))
@settings(max_examples=60, deadline=None)
def test_near_duplicates_by_brute_force(paragraphs_by_section):
    """With sets of word tuples instead of hashed arrays: the same paragraphs stay, once, in order."""
    sections = [(str(i), paragraphs) for i, paragraphs in enumerate(paragraphs_by_section)]
    texts = {text for _, paragraphs in sections for text in paragraphs}
    seen, kept = set(), set()
    for text in sorted(texts, key=lambda t: (-len(t), t)):
        words = text.split()
        own = [tuple(words[i : i + 5]) for i in range(len(words) - 4)]
        if sum(s in seen for s in own) <= 0.4 * len(own):
            seen.update(own)
            kept.add(text)
    expected, used = [], set()
    for name, paragraphs in sections:
        fresh = [t for t in dict.fromkeys(paragraphs) if t in kept and t not in used]
        used.update(fresh)
        if fresh:
            expected.append((name, fresh))
    assert without_near_duplicates(sections) == expected


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The prose of one real package, built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASIARC_CACHE", str(tmp_path_factory.mktemp("real")))
        return docstring_corpus(("networkx",))


def test_splits_share_no_section_and_no_paragraph(real):
    names = [name for split in SPLITS for name, _, _ in real.sections[split]]
    assert len(names) == len(set(names)) > 150
    paragraphs = {s: real.texts[s].tobytes().decode("ascii").strip().split("\n\n") for s in SPLITS}
    every = [p for split in SPLITS for p in paragraphs[split]]
    assert len(every) == len(set(every)) > 2_000
    sizes = {split: len(real.texts[split]) for split in SPLITS}
    total = sum(sizes.values())
    assert 0.8 < sizes["train"] / total < 0.9
    assert all(0.05 <= sizes[split] / total < 0.1 for split in SPLITS[1:])
    train = set().union(*map(shingles, paragraphs["train"]))
    for split in SPLITS[1:]:
        shared = [len(shingles(p) & train) / len(shingles(p)) for p in paragraphs[split]]
        assert np.mean(shared) < 0.1, f"{split} is mostly boilerplate of the training text"


def test_no_real_paragraph_repeats_longer_ones(real):
    every = [p for s in SPLITS for p in real.texts[s].tobytes().decode("ascii").strip().split("\n\n")]
    seen = set()
    for paragraph in sorted(every, key=lambda t: (-len(t), t)):
        own = shingles(paragraph)
        words = re.findall(r"\w+", paragraph.lower())
        repeated = sum(tuple(words[i : i + 5]) in seen for i in range(len(words) - 4))
        assert repeated <= 0.4 * (len(words) - 4)
        seen |= own


def test_sections_tile_their_split(real):
    for split in SPLITS:
        ends = 0
        for _, start, end in real.sections[split]:
            assert start == ends < end
            ends = end
        assert ends == len(real.texts[split])


def test_text_is_ascii_that_a_person_can_read(real):
    for text in real.texts.values():
        assert set(np.unique(text)) <= {10, *range(32, 127)}


def test_same_bytes_in_any_process_and_folder(tmp_path):
    code = (
        "from asiarc.tasks.corpus import docstring_corpus as c; a = c(('nltk',));"
        "print(a.content_hash, {s: len(t) for s, t in a.texts.items()})"
    )
    outputs = {elsewhere(code, ASIARC_CACHE=str(tmp_path / n), PYTHONHASHSEED=n).stdout for n in ("1", "2")}
    assert len(outputs) == 1


def test_two_processes_may_build_at_once_and_damage_is_repaired(tmp_path, own_cache):
    folder = write_texts(tmp_path / "texts")
    code = f"from asiarc.tasks import get_task; print(get_task('text:{folder}').content_hash)"
    command = [sys.executable, "-c", code]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    hashes = {racer.communicate()[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert len(hashes) == 1
    (kept,) = (own_cache / "corpora").iterdir()  # no drafts are left
    train = kept / "train.txt"
    whole = train.read_bytes()
    train.write_bytes(whole[:100] + b"?" + whole[101:])
    repaired = elsewhere(code)
    assert "damaged" in repaired.stderr
    assert {repaired.stdout} == hashes
    assert train.read_bytes() == whole
    (kept / "index.json").write_text("{}", encoding="utf-8")
    assert {elsewhere(code).stdout} == hashes
    train.unlink()
    assert {elsewhere(code).stdout} == hashes
    assert elsewhere(code).stderr == ""


def test_what_another_process_built_meanwhile_is_left_alone(tmp_path, monkeypatch):
    folder = write_texts(tmp_path / "texts")
    kept = _kept(keep_text(folder))
    (kept / "mark").touch()
    reads = iter([FileNotFoundError()])  # looked before the other process was done, builds after it

    def verified(path, real=corpus_module._verified):
        for error in reads:
            raise error
        return real(path)

    monkeypatch.setattr(corpus_module, "_verified", verified)
    assert path_corpus(str(folder)).content_hash == kept_corpus(kept.name.removeprefix("own-")).content_hash
    assert (kept / "mark").exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    folder = write_texts(tmp_path / "texts")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "file"))
    with pytest.raises(TaskError, match="ASIARC_CACHE"):
        path_corpus(str(folder))


def test_own_text_keeps_its_bytes(tmp_path):
    folder = write_texts(tmp_path / "texts")
    (folder / "greek.txt").write_text("μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος\n\n" * 2, encoding="utf-8")
    (folder / ".hidden").write_bytes(b"\xff\x00")
    task = get_task(f"text:{folder}")
    text = b"".join(task.corpus.texts[s].tobytes() for s in SPLITS).decode("utf-8")
    assert text.count("μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος") == 1
    assert sum(text.count(sentence(1_000 * i + j, 60)) for i in range(12) for j in range(40)) == 480
    assert task.identity == get_task(f"text:{folder}").identity != get_task("overwrite").identity


def test_one_long_line_is_text_too(tmp_path):
    (tmp_path / "line.txt").write_text(" ".join(sentence(i) for i in range(800)), encoding="utf-8")
    corpus = path_corpus(str(tmp_path / "line.txt"))
    assert all(len(corpus.texts[s]) > 4_000 for s in SPLITS)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"a\x00b", "NUL"), (b"too short", "too little text"), (b"", "too little text")],
)
def test_what_is_not_enough_text_is_refused(tmp_path, content, message):
    (tmp_path / "file.txt").write_bytes(content)
    with pytest.raises(TaskError, match=message):
        get_task(f"text:{tmp_path / 'file.txt'}").batch("train", 1, 0)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(TaskError, match="no file or folder"):
        get_task(f"text:{tmp_path / 'nowhere'}").batch("train", 1, 0)


def test_fineweb_edu_without_a_network_says_what_to_do():
    code = (
        "from asiarc.tasks import get_task; from asiarc.core.errors import TaskError\n"
        "try: get_task('fineweb-edu').batch('train', 1, 0)\n"
        "except TaskError as error: print(error)"
    )
    assert "With a network, run again" in elsewhere(code, HF_HUB_OFFLINE="1").stdout


def test_text_batches_are_windows_of_their_split(tmp_path):
    task = get_task(f"text:{write_texts(tmp_path / 'texts')}")
    for split in SPLITS:
        whole = task.corpus.texts[split].tobytes()
        batch = task.batch(split, 6, "windows", seq_len=200)
        assert batch.inputs_BT.shape == batch.targets_BT.shape == (6, 200)
        assert (batch.inputs_BT[:, 0] == BOS).all()
        assert (batch.inputs_BT[:, 1:] == batch.targets_BT[:, :-1]).all()
        assert all(bytes(row) in whole for row in batch.targets_BT.tolist())
    again = get_task(task.name).batch("train", 6, "windows", seq_len=200)
    assert (again.inputs_BT == task.batch("train", 6, "windows", seq_len=200).inputs_BT).all()
    assert (again.inputs_BT != task.batch("train", 6, "other", seq_len=200).inputs_BT).any()
    assert task.batch("train", 2, 0).inputs_BT.shape == (2, task.seq_len)
    with pytest.raises(TaskError, match="fewer than a window"):
        task.batch("validation", 1, 0, seq_len=10_000_000)


def test_text_documents_are_distinct_windows_inside_one_section(tmp_path):
    task = get_task(f"text:{write_texts(tmp_path / 'texts')}")
    documents = task.documents("validation", 20, "docs")
    assert documents == task.documents("validation", 20, "docs") != task.documents("validation", 20, "others")
    assert len({d["text"] for d in documents}) == 20
    spans = {name: (start, end) for name, start, end in task.corpus.sections["validation"]}
    for document in documents:
        start, end = spans[document["section"]]
        assert document["text"].encode() in task.corpus.texts["validation"][start:end].tobytes()
        assert len(document["text"]) == 512
    everything = task.documents("validation", 10**6, "all")
    assert len(everything) == sum((end - start) // 512 for start, end in spans.values())
    json.dumps(everything)


def test_what_is_read_at_length_comes_in_longer_documents(tmp_path):
    task = get_task(f"text:{write_texts(tmp_path / 'texts')}")
    assert task.read_length(128) == 128 == get_task("text").read_length(128)
    assert get_task("text:read-1024").read_length(128) == 1024 and get_task("text:read-1024").seq_len == 128
    task.settings = {"length": 128, "reads": 1024}
    assert {len(d["text"]) for d in task.documents("validation", 20, "long")} == {1024}


def test_the_default_corpus_names_real_packages():
    for package in prose_module.PACKAGES:
        assert prose_module._package_folder(package).is_dir()


def test_a_file_of_another_name_is_split_alike(tmp_path):
    text = "\n\n".join(file.read_text() for file in sorted(write_texts(tmp_path / "book").iterdir()))
    (tmp_path / "one.txt").write_text(text)
    (tmp_path / "another name.md").write_text(text)
    one, other = (path_corpus(str(tmp_path / name)) for name in ("one.txt", "another name.md"))
    assert one.content_hash == other.content_hash
    assert all(np.array_equal(one.texts[split], other.texts[split]) for split in SPLITS)


def test_a_text_that_travels_is_the_text_that_was_built(tmp_path, monkeypatch):
    key = keep_text(write_texts(tmp_path / "book"))
    here, (content_hash, files) = kept_corpus(key), packed(key)
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "another machine"))
    assert not holds(key, content_hash)
    unpack(key, content_hash, files)
    there = kept_corpus(key)
    assert holds(key, content_hash) and there.content_hash == here.content_hash and there.sections == here.sections
    assert all(np.array_equal(there.texts[split], here.texts[split]) for split in SPLITS)
    assert (tmp_path / "another machine" / "corpora" / f"own-{key}").stat().st_mode & 0o777 == 0o755


def test_a_text_that_arrives_otherwise_is_refused(tmp_path, monkeypatch):
    key = keep_text(write_texts(tmp_path / "book"))
    content_hash, files = packed(key)
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "another machine"))
    for name, content in files.items():
        wrong = (files | {name: content[:-1]}, {n: c for n, c in files.items() if n != name}, files | {"more": b""})
        for sent in wrong if name != "index.json" else wrong[1:]:
            with pytest.raises(TaskError, match="did not arrive"):
                unpack(key, content_hash, sent)
    with pytest.raises(TaskError, match="does not read back"):
        unpack(key, content_hash, files | {"index.json": files["index.json"].replace(b"validation", b"validatiom")})
    unpack(key, content_hash, files)
    assert holds(key, content_hash)


@pytest.mark.parametrize("whole", [True, False])
def test_a_text_of_the_same_key_and_another_hash_is_replaced(tmp_path, monkeypatch, whole):
    key, other = keep_text(write_texts(tmp_path / "book")), keep_text(write_texts(tmp_path / "other", files=20))
    (content_hash, files), (_, others) = packed(key), packed(other)
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "another machine"))
    folder = tmp_path / "another machine" / "corpora" / f"own-{key}"
    folder.mkdir(parents=True)
    for name, content in others.items():
        (folder / name).write_bytes(content if whole else content[:-1])
    assert not holds(key, content_hash)
    unpack(key, content_hash, files)
    assert kept_corpus(key).content_hash == content_hash


def test_a_text_that_arrives_twice_stays_where_it_is(tmp_path):
    key = keep_text(write_texts(tmp_path / "book"))
    folder = tmp_path / "cache" / "corpora" / f"own-{key}"
    before = folder.stat().st_ino
    unpack(key, *packed(key))
    assert folder.stat().st_ino == before, "another worker of the node may read it"


def test_what_is_not_kept_cannot_be_sent():
    with pytest.raises(TaskError, match="is not kept"):
        packed("book-0123456789abcdef")

"""Tasks of lm-eval's as YAML: rendered as lm-eval asks, dealt once, trained on what they bring, or refused."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from asiarc.core.errors import TaskError
from asiarc.core.seeds import rng_of
from asiarc.tasks import check_name, get_task, opened
from asiarc.tasks.catalogue import parse_name
from asiarc.tasks.keep import own_folder

CHOICE = """\
task: colours
dataset_path: json
dataset_kwargs: {data_files: {train: data/train.jsonl, test: data/test.jsonl}}
training_split: train
test_split: test
output_type: multiple_choice
description: "Which colour? "
doc_to_text: "{{thing}} is"
doc_to_choice: colours
doc_to_target: right
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ROLLING = """\
task: stories
dataset_path: json
dataset_kwargs: {data_files: {test: data/stories.json}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}!"
metric_list: [{metric: bits_per_byte}]
metadata: {role: decides}
"""
CLOZE = """\
task: last_words
dataset_path: json
dataset_kwargs: {data_files: {validation: data/words.jsonl, test: data/more.jsonl}}
validation_split: validation
test_split: test
output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' ' + text.split(' ')[-1]}}"
metric_list: [{metric: acc}]
metadata: {chance: 0.125}
"""
COLOURS = ["red", "green", "blue"]


def things(split, count):
    rng = rng_of("things", split)
    return [
        {"thing": f"{split} {number}", "colours": rng.sample(COLOURS, 3), "right": rng.randrange(3)}
        for number in range(count)
    ]


def sentences(split, count):
    return [{"text": f"{split} {number} is {COLOURS[number % 3]}"} for number in range(count)]


def paragraph(number):
    return " ".join("".join(rng_of(number, word).choices("abcdefgh", k=6)) for word in range(60))


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three YAMLs with their data beside them; the cache is empty."""
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    files = {
        "choice.yaml": CHOICE, "rolling.yaml": ROLLING, "cloze.yaml": CLOZE,
        "data/train.jsonl": lines(things("train", 40)), "data/test.jsonl": lines(things("test", 50)),
        "data/stories.json": json.dumps(sentences("story", 30)),
        "data/words.jsonl": lines(sentences("word", 20)), "data/more.jsonl": lines(sentences("more", 24)),
        "book.txt": "\n\n".join(map(paragraph, range(200))),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def made(folder, name, text="text:book.txt"):
    return get_task(opened(name, folder, build=True, text=text))


def test_choices_are_asked_as_lm_eval_asks_them(folder):
    mine = made(folder, "choice.yaml")
    assert (mine.metric, mine.style, mine.role, mine.kind, mine.held_out) == (
        "accuracy",
        "choice",
        "reported",
        "text",
        25,
    )
    asked = {d["context"]: d for split in ("validation", "confirmation") for d in mine.documents(split, 99, "items")}
    assert len(asked) == 50, "each is in one of the two"
    for row in things("test", 50):
        document = asked[f"Which colour? {row['thing']} is"]
        assert document["choices"] == [f" {colour}" for colour in row["colours"]]
        assert document["answer"] == row["right"]
    most = max(Counter(row["right"] for row in things("test", 50)).values()) / 50
    assert mine.chance == pytest.approx(max(1 / 3, most))


def test_our_documents_are_scored_as_lm_eval_scores_the_file(folder, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Opinion(LM):
        """Answers by the hash of what it is asked."""

        def loglikelihood(self, requests):
            return [(-rng_of(*request.args).random(), False) for request in requests]

        def loglikelihood_rolling(self, requests):
            return [-rng_of(*request.args).random() for request in requests]

        def generate_until(self, requests):
            raise NotImplementedError

    def accuracy(task):
        manager = TaskManager(include_defaults=False)
        found = simple_evaluate(
            model=Opinion(), tasks=[task], bootstrap_iters=0, log_samples=True, verbosity="ERROR", task_manager=manager
        )
        (samples,) = found["samples"].values()
        return [sample["acc"] for sample in samples]

    monkeypatch.chdir(folder)  # where lm-eval looks for the data
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    config = CHOICE.replace("training_split: train\n", "").replace("train: data/train.jsonl, ", "")
    (folder / "alone.yaml").write_text(config.replace("data_files", f"cache_dir: {folder / 'hf'}, data_files"))
    theirs = accuracy(str(folder / "alone.yaml"))
    mine, ours = made(folder, "choice.yaml"), []
    for split in ("validation", "confirmation"):
        (folder / "ours.jsonl").write_text(lines(mine.documents(split, 99, "items")))
        ours += accuracy(mine.lm_eval_config(str(folder / "ours.jsonl")) | {"task": f"ours_{split}"})
    assert len(theirs) == 50 and sorted(theirs) == sorted(ours) and 0 < sum(ours) < 50


def test_examples_are_trained_on_from_their_beginning(folder):
    mine = made(folder, "choice.yaml", text="")
    batch = mine.batch("train", 6, 0, seq_len=64)
    assert batch.inputs_BT.shape == (6, 64) and (batch.inputs_BT[:, 0] == 0).all()
    assert (batch.inputs_BT[:, 1:] == batch.targets_BT[:, :-1]).all()
    rows = [bytes(row.astype(np.uint8)).decode() for row in batch.targets_BT]
    assert all(row.startswith("Which colour? train ") and "\n\nWhich colour?" in row for row in rows)
    known = [f"Which colour? {row['thing']} is {row['colours'][row['right']]}\n\n" for row in things("train", 40)]
    assert all(any(row.startswith(example[:64]) for example in known) for row in rows)
    assert (mine.batch("train", 6, 0, seq_len=64).inputs_BT == batch.inputs_BT).all()
    assert (mine.batch("train", 6, 1, seq_len=64).inputs_BT != batch.inputs_BT).any()


def test_what_is_held_out_is_not_trained_on(folder):
    rows = things("train", 40)
    (folder / "data" / "test.jsonl").write_text(lines(things("test", 50) + rows[:5]), encoding="utf-8")
    mine = made(folder, "choice.yaml", text="")
    assert len(mine.record["train"]) == 35
    with pytest.raises(TaskError, match="no rows"):
        mine.batch("validation", 1, 0)
    opened_to_jobs = (own_folder(mine.key) / "open.json").read_text()
    assert "train 30 is" in opened_to_jobs and "test 3 is" not in opened_to_jobs


def test_without_a_training_split_the_campaigns_text_is_trained(folder):
    mine = made(folder, "rolling.yaml")
    book = get_task(opened("text:book.txt", folder, build=True))
    assert (mine.batch("train", 4, "seed", 0).inputs_BT == book.batch("train", 4, "seed", 0).inputs_BT).all()
    assert (mine.metric, mine.decides, mine.chance, mine.held_out) == ("bits_per_byte", True, None, 15)
    assert {d["text"] for d in mine.documents("validation", 99, 0)} < {
        f"{row['text']}!" for row in sentences("story", 30)
    }
    assert made(folder, "rolling.yaml", text="text").name != mine.name, "trained on another text it is another task"


def test_splits_of_lm_evals_own(folder):
    mine = made(folder, "cloze.yaml")
    assert mine.chance == 0.125 and mine.style == "cloze" and mine.held_out == 20
    (document,) = [d for d in mine.documents("confirmation", 99, 0) if d["context"] == "more 4 is"]
    assert document["target"] == " green"
    assert all(d["context"].startswith("word") for d in mine.documents("validation", 99, 0))


def test_the_key_is_what_is_asked(folder):
    before = opened("choice.yaml", folder, build=True, text="")
    (folder / "moved").mkdir()
    (folder / "moved" / "other.yml").write_text(
        "# a comment\n"
        + CHOICE.replace("data/test.jsonl", "../data/test.jsonl").replace("data/train.jsonl", "../data/train.jsonl")
    )
    assert opened("moved/other.yml", folder, build=True, text="") == before
    assert opened(before, folder / "elsewhere", build=True) == before and parse_name(before)[0] == "documents"
    (folder / "data" / "test.jsonl").write_text(lines(things("test", 49)), encoding="utf-8")
    assert opened("choice.yaml", folder, build=True, text="") != before


def test_documents_that_are_not_as_they_were_kept_score_nothing(folder):
    mine = made(folder, "choice.yaml")
    file = own_folder(mine.key) / "validation.json"
    file.write_text(file.read_text().replace('"answer": 0', '"answer": 1'))
    with pytest.raises(TaskError, match="run again the campaign that names its file"):
        mine.documents("validation", 9, 0)


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG = {  # what is told -> what is put in the place of what in CHOICE
    "read token by token for its likelihoods, and generates nothing": ("multiple_choice", "generate_until"),
    "unknown output_type 'multiple_chioce'.*Did you mean 'multiple_choice'": ("multiple_choice", "multiple_chioce"),
    "trials are scored without examples, write 0": ("output_type", "num_fewshot: 5\noutput_type"),
    "metric_list has f1; multiple_choice is scored by acc here": ("metric: acc,", "metric: f1,"),
    "unknown role 'decider'. Did you mean 'decides'": ("output_type", "metadata: {role: decider}\noutput_type"),
    "chance is 3": ("output_type", "metadata: {chance: 3}\noutput_type"),
    "which is no file; paths start at the YAML's folder": ("data/test.jsonl", "test.jsonl"),
    "the split 'tests' has no file": ("test_split: test", "test_split: tests"),
    "no group and no list": ("task: colours", "group: colours"),
    "is no YAML": ("task: colours", "task: [colours"),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_yaml_is_refused_when_it_is_read(folder, words):
    old, new = WRONG[words]
    assert CHOICE.count(old) == 1, old
    text = CHOICE.replace(old, new)
    if "f1" in new:
        text = text.replace("  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n", "")
    (folder / "choice.yaml").write_text(text)
    with pytest.raises(TaskError, match=rf"(?s)choice\.yaml.*{words}"):
        opened("choice.yaml", folder, build=False)
    assert not (folder / "cache").exists()


BUILT = {
    r"choice\.yaml: lm-eval cannot read it: UndefinedError: 'thing' is undefined": ('"thing"', '"thin"'),
    "which is no one of its 3 choices": ('"right": 0', '"right": 7'),
    "fewer than 8": ("\n", "\n"),
}


@pytest.mark.parametrize("words", BUILT)
def test_wrong_data_are_refused_before_anything_is_kept(folder, words):
    old, new = BUILT[words]
    data = folder / "data" / "test.jsonl"
    text = new.join(data.read_text().rsplit(old, -1 if "thing" in old else 1))
    data.write_text("\n".join(text.splitlines()[:12]) if old == new else text)
    with pytest.raises(TaskError, match=words):
        opened("choice.yaml", folder, build=True, text="")
    assert not (folder / "cache").exists()


def test_nothing_to_train_on(folder):
    with pytest.raises(TaskError, match="no text to train on: add 'text' to its tasks"):
        opened("rolling.yaml", folder, build=False, text="")


def test_a_task_that_lm_eval_brings_is_refused_where_its_data_are_not(folder, monkeypatch):
    import datasets.config

    check_name("lm_eval:lambada_openai")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "nothing")
    with pytest.raises(TaskError, match=r"lm_eval:lambada_openai: its data are not here.*Fetch them where"):
        opened("lm_eval:lambada_openai", folder, build=True, text="text:book.txt")
    with pytest.raises(TaskError, match=r"unknown task of lm-eval's 'lambada_opnai'\. Did you mean 'lambada_openai'"):
        opened("lm_eval:lambada_opnai", folder, build=True, text="text:book.txt")

"""The documents through lm-eval's own evaluator, offline, with models whose score is known beforehand."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from asiarc.tasks import get_task
from asiarc.tasks.catalogue import CATALOGUE
from asiarc.tasks.lm_eval_config import lm_eval_config

SCORED = ("overwrite", "reset", "parity", "fuzzy_recall", "memorisation", "text")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Every style of task, written to disk as the scorer writes it."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "text.txt").write_bytes(bytes(np.random.default_rng(0).integers(97, 123, 300_000).tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASIARC_CACHE", str(folder / "cache"))
        made = {}
        for name in SCORED:
            task = get_task(f"text:{folder / 'text.txt'}" if name == "text" else name)
            documents = task.documents("confirmation", 8, "lm-eval")
            file = folder / f"{name}.jsonl"
            file.write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
            made[name] = (documents, task.lm_eval_config(str(file)))
        return made


@pytest.fixture(scope="module")
def evaluated(tasks):
    """lm-eval's results with a model that knows every answer, and with one that always says void."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        from lm_eval import simple_evaluate
        from lm_eval.api.model import LM
        from lm_eval.tasks import TaskManager

        class Known(LM):
            """One bit a byte on text; elsewhere sure of what ``wanted`` gives for a context."""

            def __init__(self, wanted):
                super().__init__()
                self.wanted = wanted

            def loglikelihood(self, requests):
                pairs = [request.args for request in requests]
                return [(0.0, True) if self.wanted(c) == a else (-5.0, False) for c, a in pairs]

            def loglikelihood_rolling(self, requests):
                return [-math.log(2) * len(request.args[0].encode()) for request in requests]

            def generate_until(self, requests):
                raise AssertionError("no task of ours generates")

        targets = {d["context"]: d["target"] for documents, _ in tasks.values() for d in documents if "target" in d}
        manager = TaskManager(include_defaults=False)

        def score(wanted):
            return simple_evaluate(
                model=Known(wanted),
                tasks=[config for _, config in tasks.values()],
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
                verbosity="ERROR",
            )

        return score(targets.get), score(lambda context: "-")


def test_known_models_get_their_scores(tasks, evaluated):
    perfect, void = (e["results"] for e in evaluated)
    names = {name: config["task"] for name, (_, config) in tasks.items()}
    for name in SCORED[:-1]:
        assert perfect[names[name]]["acc,none"] == 1.0, name
        documents = tasks[name][0]
        expected = sum(d["target"] == "-" for d in documents) / len(documents)
        if "choices" not in documents[0] or "-" in documents[0]["choices"]:
            assert void[names[name]]["acc,none"] == expected, name
    assert perfect[names["text"]]["bits_per_byte,none"] == pytest.approx(1.0)


def test_every_context_reaches_the_model_unchanged(tasks, evaluated):
    """Per-item logs hold exactly our contexts and answers: no space, newline or example was added."""
    samples = evaluated[0]["samples"]
    for name in SCORED[:-1]:
        documents, config = tasks[name]
        for document, sample in zip(documents, samples[config["task"]], strict=True):
            seen = {tuple(arguments) for arguments in sample["arguments"]}
            answers = document.get("choices", [document["target"]])
            assert seen == {(document["context"], answer) for answer in answers}
    documents, config = tasks["text"]
    assert [s["arguments"][0][0] for s in samples[config["task"]]] == [d["text"] for d in documents]


def test_names_are_valid_and_distinct():
    names = [f"{name}:{level}" for name, entry in CATALOGUE.items() for level in entry.levels]
    configs = [lm_eval_config(name, "choice", "0", "/data.jsonl") for name in names]
    assert len({c["task"] for c in configs}) == len(names)
    assert all(c["task"].isidentifier() for c in configs)


def test_importing_the_room_is_cheap():
    code = (
        "import sys, asiarc.tasks as t; t.check_name('overwrite:hard'); t.TASK_NAMES\n"
        "assert not {'numpy', 'torch', 'lm_eval', 'datasets', 'yaml'} & set(sys.modules)\n"
        "t.get_task('overwrite').batch('train', 2, 0); t.get_task('text').training\n"
        "assert not {'torch', 'lm_eval', 'datasets', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

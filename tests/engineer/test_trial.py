"""One trial as plain data: what it returns, that it repeats, and how it ends for candidates that fail."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.archive.store import Archive
from asiarc.core.candidate import content_address
from asiarc.core.device import DEVICES
from asiarc.core.errors import ExecutionError
from asiarc.core.recipe import MICRO, TrialRecipe
from asiarc.engineer import trial
from asiarc.engineer.trainer import train
from asiarc.engineer.workshop import ADMIT_LIMITS, LOSSES, Request, Workshop, admit_limits
from asiarc.execution import InlineExecutor, Limits, Result
from asiarc.models.backbone import build, count_parameters
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task, opened

from ..harness.fakes import A_MACHINE, asks_of_the_machine
from .here import score

OVERWRITE = "overwrite"

BROKEN = """
import math
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)
        self.calls = 0
        {init}

    def forward(self, x, state=None):
        self.calls += 1
        {act}
        return self.proj(x), state
"""


def broken(init="pass", act="pass"):
    return BROKEN.format(init=init, act=act)


@pytest.fixture(scope="module")
def recipe():
    return MICRO.at(d_model=16, num_layers=2, seq_len=get_task(OVERWRITE).seq_len, batch_size=4, steps=4, evaluations=2)


def request(recipe, source=None, **changes):
    source = source or baseline_source("gated_delta_net")
    delta_net = baseline_source("delta_net")
    plain = Request(
        address=content_address(source),
        source=source,
        task=OVERWRITE,
        stage="explore",
        seed="0",
        recipe=recipe,
        match=(content_address(delta_net), delta_net),
        split="validation",
        documents=6,
    )
    return replace(plain, **changes)


def ran(request, executor=None):
    job = replace(request.job, limits=Limits(wall_s=300, cpu_s=120, memory_bytes=8 << 30))
    return (executor or InlineExecutor()).run([job])[0]


def value_of(result):
    assert result.status == "ok", result.reason
    return result.value


@pytest.fixture(scope="module")
def result(recipe):
    return ran(request(recipe))


# --- what a trial returns ---------------------------------------------------------------------------------------------


def test_a_trial_returns_plain_data(result, recipe):
    value = result.value
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["metric"] == "accuracy"
    assert [item["document"] for item in value["items"]] == list(range(6))
    assert value["value"] == pytest.approx(sum(item["value"] for item in value["items"]) / 6)
    assert [row[0] for row in value["curve"]] == [2, 4]
    assert all(value[name] > 0 for name in ("parameters", "state_bytes", "flops_per_token"))


def test_sizes_of_the_whole_model(result, recipe):
    """Two layers of gated delta memory: H x K x V floats each, and three inputs of the short convolution."""
    d, value = recipe.d_model, result.value
    model = build(baseline_source("gated_delta_net"), recipe, "0", hidden=value["hidden"])
    assert value["parameters"] == count_parameters(model)
    reference = build(baseline_source("delta_net"), recipe, "0", hidden=round(recipe.mlp_ratio * d))
    assert value["parameters"] / count_parameters(reference) == pytest.approx(1.0, abs=0.02)
    held = 2 * 4 * (recipe.num_heads * (d // recipe.num_heads) ** 2 + 3 * 3 * d)
    assert held <= value["state_bytes"] <= held + 2 * 16, "a few bytes more for what it is called by"
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    assert 2 * 0.8 * weights < value["flops_per_token"] < 20 * weights


def test_a_trial_repeats(result, recipe):
    assert value_of(ran(request(recipe))) == value_of(result)


def test_a_trial_is_building_training_and_scoring_under_its_seed(result, recipe):
    """The same three steps by hand."""
    value = value_of(ran(request(recipe, seed="1", documents=24)))
    task = get_task(OVERWRITE)
    model = build(baseline_source("gated_delta_net"), recipe, "1", hidden=value["hidden"])
    curve = train(model, task, recipe, "1")
    assert value["curve"] == [list(row) for row in curve.rows] != result.value["curve"]
    documents = task.documents("validation", 24, "explore items")
    scored = score(model, [(task, documents)], max_length=recipe.seq_len)[0]
    assert value["items"] == list(scored.items) and value["value"] == scored.value
    assert 0 < scored.value < 1


def test_the_items_depend_on_the_stage_only(recipe):
    """Every candidate and seed of a stage answers the same questions; the next stage asks others."""
    task = get_task(OVERWRITE)
    asked = [
        task.documents(r.split, r.documents, r.job.secret["items"])
        for r in (
            request(recipe),
            request(recipe, seed="1"),
            request(recipe, baseline_source("gla")),
            request(recipe, stage="verify"),
        )
    ]
    assert asked[0] == asked[1] == asked[2] != asked[3]


def test_without_an_mlp_nothing_is_matched(recipe):
    value = value_of(ran(request(recipe.at(mlp_ratio=0.0))))
    assert value["hidden"] == 0


def test_without_a_reference_the_width_is_the_recipe_s_own(recipe):
    assert value_of(ran(request(recipe, match=None)))["hidden"] == round(recipe.mlp_ratio * recipe.d_model)


def test_a_text_trial_scores_windows_of_the_trained_length(recipe, text_name):
    text = request(recipe.at(seq_len=48), task=text_name, documents=3)
    value = value_of(ran(text))
    documents = get_task(text_name).documents("validation", 3, "explore items")
    assert value["metric"] == "bits_per_byte"
    assert sum(item["value"][1] for item in value["items"]) == sum(len(d["text"].encode()) for d in documents)
    assert max(item["value"][1] for item in value["items"]) <= 48
    assert 4 < value["value"] < 9


def test_behind_the_wall_the_same_numbers(result, recipe, text_name, walled):
    """A worker that has imported torch and lm-eval, for both kinds of task."""
    text = request(recipe.at(seq_len=48), task=text_name, documents=3)
    folder = Path(text_name.removeprefix("text:")).parent
    sentences = [f"{i} stones and {i * i} rivers are seen from window {i % 7}." * (1 + i % 3) for i in range(300)]
    (folder / "pages").mkdir()
    pq.write_table(pa.table({"text": sentences}), folder / "pages" / "000_00000.parquet", row_group_size=100)
    pages = request(recipe.at(seq_len=48), task=opened(f"text:{folder / 'pages'}", folder, build=True), documents=3)
    pages.opened.keep()
    assert value_of(ran(request(recipe), walled)) == value_of(result)
    assert value_of(ran(text, walled)) == value_of(ran(text))
    assert value_of(ran(pages, walled)) == value_of(ran(pages)), "tokens that were kept outside are read"


def test_a_trial_in_several_passes_says_so_and_is_examined_a_pass_at_a_time(result, recipe, monkeypatch):
    """Same numbers to rounding; the row holds how many rows a pass had, where that is not the whole batch."""
    examined = []
    rows_of = trial.inputs_of
    monkeypatch.setattr(trial, "inputs_of", lambda model, ids: examined.append(len(ids)) or rows_of(model, ids))
    parted = value_of(ran(request(recipe.at(micro_batch=3))))
    assert parted["passes"] == {"micro_batch": 3, "is_chunked": False, "is_checkpointed": False}
    assert examined == [3] and "passes" not in value_of(result)
    assert parted["value"] == pytest.approx(value_of(result)["value"], abs=0.2)


# --- how a trial ends -------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "store") as archive:
        archive.add_run("run", "campaign", "smoke", 0, {}, {})
        yield archive


class Answering:
    """An executor that runs nothing and answers what it is told to."""

    def __init__(self, *results):
        self.results = list(results)
        self.jobs = []

    def run(self, jobs, on_result=None):
        if asks_of_the_machine(jobs):
            return A_MACHINE
        self.jobs += jobs
        answers = [self.results.pop(0) for _ in jobs]
        for index, answer in enumerate(answers):
            if on_result:
                on_result(index, answer)
        return answers


def stored(archive, request, executor=None):
    archive.add_candidate(request.address, "name", request.source, "")
    trials = Workshop(archive, executor or InlineExecutor()).train("run", [request])
    assert trials == archive.trials("run") == [archive.trial(request.key)]
    return trials[0]


def test_a_scored_trial_is_stored_with_its_items(archive, result, recipe):
    asked = request(recipe)
    trial = stored(archive, asked)
    expected = value_of(result)
    assert str(trial.outcome) == "scored"
    assert (trial.metric, trial.value) == (expected["metric"], expected["value"])
    assert trial.curve == expected["curve"]
    assert archive.items(asked.key) == expected["items"]


@pytest.mark.parametrize(
    ("source", "kind", "gate", "reason"),
    [
        (broken(act="x = x * (math.nan if self.calls > 2 else 1)"), "crashed", "", "diverged at step 1"),
        (broken(act="x = x if self.training else x / 0"), "crashed", "", "diverged"),
        (broken("self.w = nn.Parameter(torch.zeros(300, 300))"), "rejected", "size match", "make it smaller"),
        (broken(act="raise ValueError('no such head')"), "crashed", "", "no such head"),
        (broken(act="x = x.view(-1)"), "crashed", "", ""),
        (broken("1 / 0"), "crashed", "", "ZeroDivisionError"),
        (broken(act="x = x[:, :-1]"), "crashed", "", ""),
        (broken(act="raise MemoryError"), "out_of_memory", "", ""),
        ("Mixer = 3", "crashed", "", "no class Mixer"),
    ],
    ids=["nan", "nan held out", "huge", "raises", "shape", "constructor", "drops a token", "memory", "no mixer"],
)
def test_failures_are_outcomes_without_numbers(archive, recipe, source, kind, gate, reason):
    trial = stored(archive, request(recipe, source))
    assert (trial.outcome.kind, trial.outcome.gate) == (kind, gate)
    assert reason in trial.outcome.reason
    assert trial.outcome.reason
    assert trial.value is trial.metric is None
    assert archive.items(trial.key) == []


@pytest.mark.parametrize("kind", ["timed_out", "out_of_memory", "crashed"])
def test_what_the_wall_says_is_stored_and_not_asked_again(archive, recipe, kind):
    executor = Answering(Result(kind, None, "so it was"))
    trial = stored(archive, request(recipe), executor)
    assert (trial.outcome.kind, trial.outcome.reason, trial.value) == (kind, "so it was", None)
    assert stored(archive, request(recipe), executor) == trial
    assert len(executor.jobs) == 1


def test_a_fault_of_the_machine_is_no_outcome_of_the_candidate(archive, recipe, result):
    executor = Answering(Result("infrastructure", None, "the worker died"), result)
    with pytest.raises(ExecutionError, match="the worker died"):
        stored(archive, request(recipe), executor)
    assert archive.trial(request(recipe).key).outcome.kind == "unscored"
    assert stored(archive, request(recipe), executor).value == result.value["value"]


def losing(times, *then):
    """The machine fails under a job so often."""
    return [*[Result("infrastructure", None, "the worker died")] * times, *then]


def test_a_job_that_takes_the_machine_with_it_every_time_is_recorded_at_last(archive, recipe):
    executor = Answering(*losing(LOSSES), Result("ok", {}))
    for _ in range(LOSSES - 1):
        with pytest.raises(ExecutionError, match="the worker died"):
            stored(archive, request(recipe), executor)
        assert archive.trial(request(recipe).key).outcome.kind == "unscored"
    trial = stored(archive, request(recipe), executor)
    assert trial.outcome.kind == "crashed" and trial.value is None
    said = "the machine failed under it 3 times in a row, and under no other job: the worker died"
    assert trial.outcome.reason == said
    assert executor.jobs[-1].function == "asiarc.execution.job:echo", "no candidate is in the job that decides"
    assert stored(archive, request(recipe), executor) == trial and len(executor.jobs) == LOSSES + 1


def test_where_the_machine_fails_under_every_job_no_candidate_is_blamed(archive, recipe, result):
    executor = Answering(*losing(4 * LOSSES))  # one job that decides for each that is lost once more
    for _ in range(LOSSES + 2):
        with pytest.raises(ExecutionError, match="the worker died"):
            stored(archive, request(recipe), executor)
    assert archive.trial(request(recipe).key).outcome.kind == "unscored"
    assert stored(archive, request(recipe), Answering(result)).value == result.value["value"]
    assert archive.losses(request(recipe).key) == 0


@pytest.mark.parametrize("other", ["scored", "crashed"])
def test_only_losses_in_a_row_count(archive, recipe, result, other):
    """An ending of its own in between, as of a trial that a retry asks again, begins the count anew."""
    ending = result if other == "scored" else Result("crashed", None, "so it was")
    executor = Answering(*losing(LOSSES - 1), ending, *losing(LOSSES - 1), result)
    for ends in ("unscored", "unscored", other, "unscored", "unscored", "scored"):
        try:
            assert stored(archive, request(recipe), executor).outcome.kind == ends
        except ExecutionError:
            assert ends == "unscored"
        if ends != "unscored":
            archive.drop("uses", "trial = ?", request(recipe).key)
            archive.drop("trials", "key = ?", request(recipe).key)


def test_a_gate_that_takes_the_machine_with_it_is_bounded_as_well(archive, recipe):
    executor = Answering(*losing(LOSSES), Result("ok", {}))
    asked = request(recipe)
    archive.add_candidate(asked.address, "name", asked.source, "")
    kinds = [
        Workshop(archive, executor).admit({asked.address: asked.source}, recipe)[asked.address]["outcome"].kind
        for _ in range(LOSSES + 1)
    ]
    assert kinds == ["unscored"] * (LOSSES - 1) + ["crashed"] * 2


def test_a_device_that_is_not_there_fails_the_machine_and_not_the_candidate(archive, recipe, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked = request(recipe, device="cuda")
    with pytest.raises(ExecutionError, match="ASIARC_DEVICE=cpu"):
        stored(archive, asked, InlineExecutor())
    assert archive.trial(asked.key) is None


def test_equal_requests_are_run_once(archive, recipe, result):
    executor = Answering(result, result)
    requests = [request(recipe), request(recipe, seed="1"), request(recipe)]
    archive.add_candidate(requests[0].address, "name", requests[0].source, "")
    trials = Workshop(archive, executor).train("run", requests)
    assert len(executor.jobs) == 2
    assert [t.seed for t in trials] == ["0", "1", "0"]


# --- keys -------------------------------------------------------------------------------------------------------------

MOVES = {
    "address": st.sampled_from(["a" * 16, "b" * 16, "c" * 16]),
    "task": st.sampled_from(["overwrite", "overwrite:hard", "reset", "parity"]),
    "stage": st.sampled_from(["explore", "verify", "confirm"]),
    "seed": st.sampled_from(["0", "1", "0 0"]),
    "match": st.sampled_from([None, ("d" * 16, ""), ("e" * 16, "")]),
    "split": st.sampled_from(["validation", "confirmation"]),
    "documents": st.integers(1, 3),
    "device": st.sampled_from(DEVICES),
    "mixers": st.sampled_from([{}, {"a": "x = 1"}, {"b": "x = 1"}, {"a": "x = 2"}]),
}
OF_PROTOCOL = {
    "name": st.sampled_from(["micro", "other"]),
    **{f: st.integers(1, 3) for f in ("d_model", "num_layers", "num_heads", "seq_len", "batch_size", "steps")},
    **{f: st.sampled_from([0.0, 0.5, 0.25]) for f in ("mlp_ratio", "learning_rate", "warmup", "final_lr")},
    **{f: st.sampled_from([0.0, 0.5, 1.0]) for f in ("weight_decay", "clip")},
    **{f: st.integers(1, 3) for f in ("vocab_size", "evaluations")},
    "precision": st.sampled_from([None, "float32", "bfloat16"]),
    "tokenizer": st.just("bytes"),  # of synthetic tasks; a text's key moves with it (test_tokens)
    "micro_batch": st.sampled_from([None, 1, 2]),
    "compile": st.booleans(),
    "layers": st.sampled_from([("candidate",), ("candidate@0",), ("mlp@2",)]),
}


def drawn(data, names_and_choices):
    return {name: data.draw(choices, label=name) for name, choices in names_and_choices.items()}


def test_limits_grow_with_what_a_recipe_says():
    sizes = [MICRO.at(d_model=width, num_layers=layers) for width, layers in ((64, 2), (256, 4), (1024, 8))]
    allowed = [replace(request(MICRO), recipe=one).limits.cpu_s for one in sizes]
    assert allowed[0] < 2000 < allowed[1] < allowed[2], "a thousand tokens a second, fewer for a larger model"
    assert admit_limits(64) == admit_limits(256) == ADMIT_LIMITS
    assert admit_limits(512).cpu_s == 4 * ADMIT_LIMITS.cpu_s


def test_every_field_is_moved():
    assert OF_PROTOCOL.keys() == MICRO.at(layers=("candidate",)).as_dict().keys()
    assert MOVES.keys() | {"source", "recipe"} == {field.name for field in fields(Request)}


@pytest.mark.parametrize("name", [*MOVES, *OF_PROTOCOL])
@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_a_key_moves_with_any_field_and_with_nothing_else(name, data):
    first = Request(source="", recipe=TrialRecipe(**drawn(data, OF_PROTOCOL)), **drawn(data, MOVES))
    to = data.draw({**MOVES, **OF_PROTOCOL}[name], label="to")
    if name in MOVES:
        second = replace(first, **{name: to}, source="# a comment")
    else:
        second = replace(first, recipe=first.recipe.at(**{name: to}), source="# a comment")
    moved = to != getattr(first if name in MOVES else first.recipe, name)
    assert (second.key != first.key) == moved


def test_a_key_does_not_depend_on_the_process(recipe):
    """Nothing of this process (hash seed, order of imports) is in it."""
    asked = request(recipe)
    code = (
        "import json, sys; from asiarc.engineer.workshop import Request; from asiarc.core.recipe import TrialRecipe\n"
        "fields = json.load(sys.stdin); fields['recipe'] = TrialRecipe(**fields['recipe'])\n"
        "fields['match'] = tuple(fields['match']); print(Request(**fields).key, 'torch' in sys.modules)"
    )
    given_ = json.dumps({f.name: getattr(asked, f.name) for f in fields(Request)} | {"recipe": recipe.as_dict()})
    done = subprocess.run([sys.executable, "-c", code], input=given_, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [asked.key, "False"]

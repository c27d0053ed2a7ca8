"""Two processes that share a batch take the step of one with the whole batch; the ladder counts what it builds."""

import sys

import pytest
import torch

from asiarc.core.errors import TaskError
from asiarc.core.recipe import MICRO, PAPER_20M, PAPER_340M, RECIPES
from asiarc.core.seeds import rng_of
from asiarc.engineer.distributed import Share, main
from asiarc.engineer.trainer import train
from asiarc.execution import InlineExecutor, Job
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task
from tests.rigs.ladder import size_of, smoke_train

STEPS, ROWS, SEED = 6, 4, "0/verify/0"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text that no download and no installed package decides."""
    path = tmp_path_factory.mktemp("text") / "words.txt"
    rng = rng_of("words")
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 8))) for _ in range(400)]
    path.write_text("\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(600)))
    return f"text:{path}"


@pytest.fixture(scope="module")
def alone(text):
    """The curve of one process."""
    recipe = MICRO.at(steps=STEPS, batch_size=ROWS)
    model = build(baseline_source("gated_delta_net"), recipe, SEED, hidden=128)
    return [list(row) for row in train(model, get_task(text), recipe, SEED).rows]


def large(text):
    """A large trial as a job, at a small size; by its source, as a candidate comes."""
    return {
        "source": baseline_source("gated_delta_net"), "task": text, "seed": SEED, "recipe": "micro",
        "by": ["ddp", "fsdp2"], "processes": 2, "steps": STEPS, "batch_size": ROWS,
    }  # fmt: skip


def test_what_torchrun_says_of_a_failure_is_the_reason(monkeypatch):
    """In place of torchrun a program that fails: what it said last is told, as a crash of the job."""
    monkeypatch.setattr("asiarc.engineer.large._command", lambda *_: [sys.executable, "-c", "exit('no such recipe')"])
    [done] = InlineExecutor().run([Job("asiarc.engineer.large:launch", {})])
    assert done.status == "crashed" and "torchrun ended with 1: no such recipe" in done.reason


@pytest.fixture(scope="module")
def printed(text, alone):
    """The lines of JSON that two processes of a large trial print: the command's, and what they exchanged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setattr("asiarc.engineer.large.MODULE", "tests.engineer.exchanges")
        [done] = InlineExecutor().run([Job("asiarc.engineer.large:launch", large(text))])
    assert done.status == "ok", done.reason
    return done.value["rows"]


@pytest.fixture(scope="module")
def together(printed):
    """What the command prints, by the way in which the model was spread."""
    return {row["by"]: row for row in printed if "curve" in row}


@pytest.fixture(scope="module")
def exchanged(printed):
    """What two processes exchanged and the weights that they ended with, by way and kind of pass."""
    return {(row["by"], row["kind"]): row for row in printed if "kind" in row}


@pytest.mark.parametrize("by", ["ddp", "fsdp2"])
def test_two_processes_have_the_loss_curve_of_one(alone, together, by):
    """The seeds' own differences are a thousand times larger than what the order of additions does."""
    assert together[by]["processes"] == 2
    assert len(together[by]["curve"]) == MICRO.evaluations
    mine, theirs = torch.tensor(together[by]["curve"]), torch.tensor(alone)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0)
    assert theirs[0, 1] - theirs[-1, 1] > 0.5, "the curve must move for its equality to say anything"


@pytest.mark.parametrize("by", ["ddp", "fsdp2"])
def test_more_passes_exchange_no_more_gradients(exchanged, by):
    """Of two rows a process in one pass or two: as many exchanges of gradients, and the same step."""
    whole, parted, planted = (exchanged[by, kind] for kind in ("whole", "parted", "planted"))
    assert whole["passes"] == 1 and parted["passes"] == planted["passes"] == 2
    assert parted["exchanges"] == whole["exchanges"] > 0
    assert planted["exchanges"] > whole["exchanges"], "where nothing holds them back, they are seen"
    assert parted["weights"] == pytest.approx(whole["weights"], rel=1e-4, abs=1e-6)


def test_shares_are_the_batch_and_do_not_overlap(text):
    task = get_task(text)
    whole = task.batch("train", 6, SEED, 3, seq_len=32)
    shares = [Share(task, rank, 3).batch("train", 6, SEED, 3, seq_len=32) for rank in range(3)]
    rows = sorted(map(tuple, whole.inputs_BT.tolist()))
    assert sorted(tuple(row) for share in shares for row in share.inputs_BT.tolist()) == rows
    assert [share.targets_BT.shape for share in shares] == [(2, 32)] * 3


def test_what_cannot_be_dealt_evenly_is_refused(text):
    with pytest.raises(TaskError, match=r"5 rows of text.*2 processes"):
        Share(get_task(text), 0, 2).batch("train", 5, SEED, 0, seq_len=32)


def test_the_command_names_every_recipe():
    (choice,) = [parameter.type for parameter in main.params if parameter.name == "recipe"]
    assert set(choice.choices) == set(RECIPES)


# --- the ladder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["delta_net", "gated_delta_net", "mamba2"])
def test_what_is_counted_is_what_is_built(mixer):
    """At a size that is built here: parameters of the whole model, and bytes by hand."""
    source = baseline_source(mixer)
    size = size_of(source, MICRO)
    built, losses = smoke_train(source, MICRO, 2)
    assert built == size.parameters and len(losses) == 2
    assert (size.weight_bytes, size.training_bytes) == (4 * built, 16 * built)


def test_the_papers_sizes_are_what_it_calls_them():
    """20M and 340M parameters (arXiv 2507.18074, section 4.1), with DeltaNet's mixer."""
    source = baseline_source("delta_net")
    small, large = size_of(source, PAPER_20M), size_of(source, PAPER_340M)
    assert 17e6 < small.parameters < 23e6 and 320e6 < large.parameters < 380e6
    for size in (small, large):  # two FLOPs a weight and token, and the memory's own on top
        assert 2 * size.parameters * 0.9 < size.flops_per_token < 2 * size.parameters * 1.5

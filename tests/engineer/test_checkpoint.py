"""A training that is killed and gone on with ends in the same bits; what is no checkpoint of it changes nothing."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from asiarc.archive.store import Archive
from asiarc.core.errors import ExecutionError
from asiarc.core.outcome import DivergedError
from asiarc.engineer import checkpoint
from asiarc.engineer.checkpoint import TrainingProgress, TrainingState, tensors_of, written
from asiarc.engineer.trainer import optimiser_of, train
from asiarc.engineer.workshop import Workshop
from asiarc.execution import Job, Limits, shelf
from asiarc.execution.shelf import Keeper, Shelf
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.tasks import get_task
from tests.rigs import search_path

from .killed_jobs import digest_of
from .test_trial import OVERWRITE, request

STEPS = 42
REMEMBERS = '''
import torch
from torch import nn

class Mixer(nn.Module):
    """Draws in training, counts its calls in a buffer, and keeps a view that cannot be written."""

    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)
        self.unused = nn.Parameter(torch.zeros(3))
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.register_buffer("view", torch.ones(1).expand(4))

    def forward(self, x, state=None):
        if self.training:
            self.calls += 1
        return nn.functional.dropout(self.proj(x), 0.3, self.training) * (1 + self.calls / 50), state
'''


@pytest.fixture(scope="module")
def recipe(tiny):
    return tiny.at(seq_len=get_task(OVERWRITE).seq_len, steps=8, evaluations=4)


def shelf_in(folder, name="trial", most_bytes=1 << 24, every_s=0.0):
    return Shelf(str(folder / name), most_bytes, every_s)


def run(executor, recipe, source, shelf=None, **told):
    payload = {"source": source, "match_source": None, "task": OVERWRITE, "seed": "0", "device": "cpu"}
    limits = Limits(wall_s=300, cpu_s=120, memory_bytes=8 << 30)
    job = Job("killed_jobs:train", payload | {"recipe": recipe.as_dict()} | told, limits, shelf=shelf)
    return executor.run([job])[0]


# --- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kills", "told"),
    [(REMEMBERS, 20, {}), (baseline_source("gated_delta_net"), 3, {"memory_bytes": 1})],
    ids=["twenty kills", "in passes, activations computed again"],
)
def test_killed_at_random_steps_it_ends_in_the_same_bits(walled, recipe, tmp_path, source, kills, told):
    """Every other kill comes in the middle of handing a checkpoint out."""
    recipe = recipe.at(steps=STEPS)
    whole = run(walled, recipe, source, **told)
    assert whole.status == "ok", whole.reason
    shelf, began = shelf_in(tmp_path), 0
    for number, step in enumerate(sorted(random.Random(0).sample(range(1, STEPS), kills))):
        is_torn = number % 2 == 1
        killed = run(walled, recipe, source, shelf, die_at=step, is_torn=is_torn, **told)
        assert killed.status == "crashed" and "SIGKILL" in killed.reason
        assert not began or f"went on from step {began}" in killed.notes[0]
        began = step - is_torn
    last = run(walled, recipe, source, shelf, **told)
    assert last.value == {**whole.value, "began": began}, last.reason
    assert len(whole.value["told"]["curve"]) == recipe.evaluations
    assert last.cpu_s > whole.cpu_s / 2, "what the killed attempts took is in it"


@contextmanager
def ending_the_job_under(shelf):
    """Ends what watches a job, and the job with it, as soon as it has kept a checkpoint."""
    done = threading.Event()

    def watch():
        while not done.wait(0.002):
            if any(int(path.name.partition("-")[0]) > 2 for path in Path(shelf.folder).glob("*-*")):
                workers = [p for p in psutil.Process().children() if "asiarc.execution.zygote" in p.cmdline()]
                for supervisor in (child for worker in workers for child in worker.children() if child.children()):
                    supervisor.kill()
                return

    killer = threading.Thread(target=watch)
    killer.start()
    try:
        yield
    finally:
        done.set()
        killer.join()


def test_a_trial_that_the_machine_failed_under_goes_on_and_is_the_same_trial(walled, recipe, tmp_path, monkeypatch):
    asked, trials = request(recipe.at(steps=150)), []
    for every_s in (60.0, 0.0):
        monkeypatch.setattr(shelf, "EVERY_S", every_s)
        with Archive(tmp_path / str(every_s)) as archive:
            archive.add_run("run", "campaign", "smoke", 0, {}, {})
            archive.add_candidate(asked.address, "name", asked.source, "")
            shelves, shop = archive.folder.absolute() / "checkpoints", Workshop(archive, walled)
            if not every_s:
                with ending_the_job_under(asked.shelf(shelves)), pytest.raises(ExecutionError, match="nothing is lost"):
                    shop.train("run", [asked])
                assert list(shelves.iterdir()), "it is still asked for"
            trials += shop.train("run", [asked])
            assert not shelves.exists(), "a trial that is recorded leaves none"
    whole, resumed = trials
    assert str(whole.outcome) == "scored" and "notes" not in whole.details
    same = ("outcome", "value", "curve", "parameters", "state_bytes", "flops_per_token")
    assert [getattr(resumed, name) for name in same] == [getattr(whole, name) for name in same]
    assert len(resumed.details["notes"]) == 1 and resumed.details["notes"][0].startswith("went on from step ")


# --- here, without a kill ---------------------------------------------------------------------------------------------


class Ends(BaseException):
    """What nobody catches."""


class Until:
    """A task that ends the process's work when it is asked for a step's batch."""

    def __init__(self, step):
        self.step, self.task = step, get_task(OVERWRITE)

    def batch(self, split, count, *address, seq_len=None):
        if address[-1] == self.step:
            raise Ends
        return self.task.batch(split, count, *address, seq_len=seq_len)


def trained(recipe, shelf=None, until=None, source=REMEMBERS):
    """The bits and the curve of a training here, and what its keeper noted."""
    torch.manual_seed(5)
    model = build(source, recipe, "0", hidden=8)
    keeper = Keeper(shelf, shelf.opened()) if shelf else None
    try:
        rows = train(model, Until(until), recipe, "0", TrainingProgress(keeper.here() if keeper else None)).rows
    except (Ends, DivergedError):
        rows = None
    finally:
        if keeper:
            keeper.close()
    return digest_of(dict(model.named_parameters())), rows, keeper.notes if keeper else []


def test_to_save_changes_nothing(recipe, tmp_path):
    assert trained(recipe, shelf_in(tmp_path)) == trained(recipe)


def test_between_two_times_nothing_is_saved(recipe, tmp_path):
    trained(recipe, shelf_in(tmp_path, every_s=60.0))
    assert not list((tmp_path / "trial").iterdir())


def test_a_training_that_was_done_is_not_done_again(recipe, tmp_path):
    """It was killed after its last step and before it could hand on what it had trained."""
    whole = trained(recipe, shelf_in(tmp_path))
    assert trained(recipe, shelf_in(tmp_path), until=recipe.steps - 1)[:2] == whole[:2]


@pytest.mark.parametrize("forgets", ["exp_avg ", "exp_avg_sq ", "step ", "parameter ", "buffer ", "random ", "rows"])
def test_whatever_is_forgotten_shows_in_the_bits(recipe, tmp_path, monkeypatch, forgets):
    """Bugs planted in what is saved: the comparison above notices each."""
    whole = trained(recipe)
    shelf = shelf_in(tmp_path)
    trained(recipe, shelf, until=5)
    intact, fill, forgotten = checkpoint.tensors_of, checkpoint._fill, []

    def seen(*given):
        found = intact(*given)
        forgotten.extend(place for name, place in found.items() if name.startswith(forgets))
        return found

    monkeypatch.setattr(checkpoint, "tensors_of", seen)
    monkeypatch.setattr(checkpoint, "_fill", lambda place, b: any(place is f for f in forgotten) or fill(place, b))
    if forgets == "random ":
        monkeypatch.setattr(checkpoint, "_set_generators", lambda states, parameters: None)
    if forgets == "rows":
        standing = checkpoint._standing
        monkeypatch.setattr(checkpoint, "_standing", lambda text, step: replace(standing(text, step), rows=[]))
    assert trained(recipe, shelf)[:2] != whole[:2]


# --- what is no checkpoint of this training ---------------------------------------------------------------------------


def saved_file(folder, recipe, source=REMEMBERS, until=5):
    shelf = shelf_in(folder, "made")
    trained(recipe, shelf, until, source)
    return max((folder / "made").iterdir(), key=lambda path: int(path.name.partition("-")[0]))


def bent(file, **changes):
    """A checkpoint whose tensors, or whose standing, a cheat has changed; as safetensors of the same form."""
    tensors = load_file(file)
    standing = {"step": 5, "first_loss": 5.0, "rows": []}
    standing |= {name: value for name, value in changes.items() if name in (*standing, "more")}
    tensors |= {name: value for name, value in changes.items() if isinstance(value, torch.Tensor)}
    save_file(tensors, file, {"standing": json.dumps(standing)})


CHEATS = {
    "another mixer's": lambda file, recipe: file.write_bytes(
        saved_file(file.parent, recipe, baseline_source("gla")).read_bytes()
    ),
    "a rewound step": lambda file, recipe: bent(file, step=1),
    "a step of more": lambda file, recipe: bent(file, step=6),
    "no loss": lambda file, recipe: bent(file, first_loss=float("inf")),
    "no rows": lambda file, recipe: bent(file, rows=[["x"]]),
    "a field of its own": lambda file, recipe: bent(file, more=1),
    "a tensor of its own": lambda file, recipe: bent(file, extra=torch.zeros(3)),
    "a larger tensor": lambda file, recipe: bent(file, **{"parameter embed.weight": torch.zeros(9)}),
    "a broken generator": lambda file, recipe: bent(file, **{"random cpu": torch.full((5056,), 255).byte()}),
    "a pickle": lambda file, recipe: file.write_bytes(pickle.dumps({"step": 5}, protocol=4) * 40),
    "half of it": lambda file, recipe: file.write_bytes(file.read_bytes()[:-100]),
    "nothing": lambda file, recipe: file.write_bytes(b""),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_what_is_none_is_refused_and_changes_nothing(recipe, tmp_path, cheat):
    """Its hash may be right: a candidate's process wrote it."""
    file = saved_file(tmp_path, recipe)
    CHEATS[cheat](file, recipe)
    model = build(REMEMBERS, recipe, "0", hidden=8)
    optimiser = optimiser_of(model, recipe)
    torch.manual_seed(3)
    parameters = dict(model.named_parameters())
    before = digest_of(tensors_of(model, parameters, optimiser.state))
    told = []
    offered = Keeper(shelf_in(tmp_path), shelf_in(tmp_path).opened()).here()
    offered.file, offered.step, offered._send = file, 5, told.append
    assert TrainingProgress(offered).resumed(model, optimiser) == TrainingState()
    assert digest_of(tensors_of(model, parameters, optimiser.state)) == before and not optimiser.state
    assert told == [bytes(16)], "it says that it starts anew"


def test_a_refused_one_is_trained_from_the_start_and_told(recipe, tmp_path):
    whole, shelf = trained(recipe), shelf_in(tmp_path)
    keeper = Keeper(shelf, shelf.opened())
    keeper.here().save(3, 9, [b"no tensor"])
    keeper.close()
    again = trained(recipe, shelf)
    assert again[:2] == whole[:2]
    assert again[2][0].startswith("started anew after a checkpoint of step 3")
    assert again[2][1] == "a checkpoint was not kept: step 1 is not beyond step 3", "nor can it be used to rewind"


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_is_safetensors_and_is_written_a_tensor_at_a_time(tmp_path):
    tensors = {
        "a": torch.randn(5, 3).T,
        "b": torch.tensor(2.5),
        "c": torch.tensor([True, False, True]),
        "d": torch.randn(7, dtype=torch.complex64),
        "e": torch.zeros(0, 4),
        "f": torch.randn(4, 2).bfloat16(),
    }
    size, parts = written(tensors, {"standing": "{}"})
    parts = [bytes(part) for part in parts]
    assert sum(map(len, parts)) == size and len(parts) == 1 + len(tensors)
    (tmp_path / "it").write_bytes(b"".join(parts))
    found = load_file(tmp_path / "it")
    for name, tensor in tensors.items():
        assert torch.equal(found[name].clone().view(tensor.dtype).view(tensor.shape), tensor), name


# --- on several processes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    lines = REMEMBERS.splitlines()  # what DDP takes no model with: a parameter without gradient, a view as a buffer
    (folder / "mixer.py").write_text("\n".join(ln for ln in lines if "unused" not in ln and "expand" not in ln))
    here = Path(__file__).parent
    path = os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{search_path()}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, here / "on_two_processes.py", folder / "mixer.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=path, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "shown.json").read_text()), done.stderr


@pytest.mark.parametrize("by", ["ddp", "fsdp2"])
def test_two_processes_go_on_from_the_last_step_that_both_have(together, by):
    """The second's last checkpoint is torn, so the first steps back with it."""
    shown, said = together
    found = shown[by]
    assert found["killed"] == [None, None] and found["kept"] == ["3", "3", "4", "4"]
    assert found["resumed"] == found["whole"] and all(found["whole"])
    assert found["left"] == []
    assert said.count("went on from step 3") == 2

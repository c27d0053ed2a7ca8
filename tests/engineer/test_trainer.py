"""The training loop: its schedule and decay by hand, what it feeds every mixer, how it ends when it diverges."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.errors import ExecutionError
from asiarc.core.recipe import MICRO
from asiarc.engineer.trainer import DivergedError, add_gradients, batch_loss, evaluate, learning_rate_at, split, train
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.models.memory import Passes, peak_bytes
from asiarc.tasks import IGNORE, get_task
from asiarc.tasks.task import Batch

MIXER = """
import math
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)
        self.calls = 0

    def forward(self, x, state=None):
        self.calls += 1
        return {result}, state
"""
PLAIN = MIXER.format(result="self.proj(x)")


class Alphabet:
    """After each letter comes the next of the alphabet: learnable by the embedding and the MLP alone."""

    def __init__(self):
        self.asked = []

    def batch(self, split, count, *address, seq_len=None):
        self.asked.append((split, count, *address, seq_len))
        start = np.random.default_rng([count, *str(address).encode()]).integers(26, size=(count, 1))
        string_BT = 97 + (start + np.arange(seq_len)) % 26
        inputs_BT = np.concatenate([np.zeros((count, 1), dtype=np.int64), string_BT[:, :-1]], axis=1)
        targets_BT = string_BT.copy()
        targets_BT[:, 0] = IGNORE
        return Batch(inputs_BT, targets_BT)


def trained(tiny, source=PLAIN, task=None, seed="0", **changes):
    recipe = tiny.at(**changes)
    model = build(source, recipe, seed, hidden=8)
    return model, train(model, task or Alphabet(), recipe, seed)


# --- schedule ---------------------------------------------------------------------------------------------------------


def test_schedule_at_its_corners():
    recipe = MICRO.at(steps=100, warmup=0.1, learning_rate=1.0, final_lr=0.05)
    rates = [learning_rate_at(step, recipe) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx((1.0 + 0.05) / 2)
    assert learning_rate_at(100, recipe) == pytest.approx(0.05)
    assert 0.05 < rates[99] < 0.052


@given(steps=st.integers(1, 400), warmup=st.floats(0, 1), final_lr=st.floats(0, 1), peak=st.floats(1e-5, 1.0))
def test_schedule_rises_to_the_peak_then_falls_to_the_floor(steps, warmup, final_lr, peak):
    recipe = MICRO.at(steps=steps, warmup=warmup, final_lr=final_lr, learning_rate=peak)
    rates = np.array([learning_rate_at(step, recipe) for step in range(steps)])
    top = max(1, round(warmup * steps))
    slack = 1e-12 * peak
    assert np.all(rates > 0) or final_lr == 0
    assert rates.max() == pytest.approx(peak)
    assert np.all(np.diff(rates[:top]) >= -slack)
    assert np.all(np.diff(rates[top:]) <= slack)
    assert np.all(rates[top:] >= final_lr * peak - slack)


# --- optimiser --------------------------------------------------------------------------------------------------------


class Silent:
    """Nothing is scored in a way that moves anything: the loss has no gradient, so only decay changes weights."""

    def batch(self, split, count, *address, seq_len=None):
        return Batch(np.zeros((count, seq_len), dtype=np.int64), np.zeros((count, seq_len), dtype=np.int64))


def test_decay_on_matrices_only(tiny, monkeypatch):
    """With zero gradients AdamW multiplies each matrix by prod(1 - lr * decay) and leaves the rest."""
    monkeypatch.setattr(
        "asiarc.engineer.trainer.batch_loss", lambda model, *_, **__: sum(0.0 * p.sum() for p in model.parameters())
    )
    before = {n: p.detach().clone() for n, p in build(PLAIN, tiny, "0", hidden=8).named_parameters()}
    model, _ = trained(tiny, task=Silent(), weight_decay=0.3)
    factor = math.prod(1 - learning_rate_at(step, tiny) * 0.3 for step in range(tiny.steps))
    assert factor < 0.999
    kinds = set()
    for name, parameter in model.named_parameters():
        kinds.add(parameter.ndim)
        expected = before[name] * (factor if parameter.ndim >= 2 else 1.0)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-8)
    assert kinds == {1, 2}


def test_gradients_are_clipped_together(tiny, monkeypatch):
    """The optimiser sees gradients of a joint norm of at most `clip`, in the direction of the loss's own."""
    seen = []
    step = torch.optim.AdamW.step

    def spy(self, closure=None):
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        seen.append(torch.cat([g.flatten() for g in grads]).clone())
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    trained(tiny, clip=1e9)
    free = list(seen)
    seen.clear()
    trained(tiny, clip=0.01)
    assert max(float(g.norm()) for g in free) > 0.1
    assert all(float(g.norm()) <= 0.01 * (1 + 1e-4) for g in seen)
    torch.testing.assert_close(seen[0], free[0] * 0.01 / free[0].norm(), rtol=1e-3, atol=1e-8)


def test_the_optimiser_runs_at_the_schedule(tiny, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def spy(self, closure=None):
        rates.append([group["lr"] for group in self.param_groups])
        assert [group["betas"] for group in self.param_groups] == [(0.9, 0.95)] * 2
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    trained(tiny)
    assert rates == [[learning_rate_at(step, tiny)] * 2 for step in range(tiny.steps)]


def test_float32_on_a_cpu(tiny):
    model, _ = trained(tiny)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model(torch.zeros(1, 3, dtype=torch.long)).logits.dtype == torch.float32
    assert next(model.parameters()).device.type == "cpu"


# --- loss and curve ---------------------------------------------------------------------------------------------------


def test_the_recipe_says_the_precision_of_a_step(tiny):
    plain, same, coarse = (trained(tiny, precision=name) for name in (None, "float32", "bfloat16"))
    assert same[1].rows == plain[1].rows != coarse[1].rows
    assert coarse[1].rows[-1][2] == pytest.approx(plain[1].rows[-1][2], abs=0.1)
    assert {p.dtype for p in coarse[0].parameters()} == {torch.float32}, "weights are kept in float32"


def test_batch_loss_is_the_mean_over_scored_tokens_by_hand(tiny):
    model, batch = build(PLAIN, tiny, "0", hidden=8), Alphabet().batch("train", 3, "x", seq_len=7)
    with torch.no_grad():
        log_p_BTV = torch.log_softmax(model(torch.from_numpy(batch.inputs_BT)).logits.double(), -1)
    terms = [-float(log_p_BTV[b, t, target]) for (b, t), target in np.ndenumerate(batch.targets_BT) if target != IGNORE]
    assert len(terms) == 3 * 6
    assert batch_loss(model, batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert evaluate(model, batch) == pytest.approx(sum(terms) / len(terms) / math.log(2), rel=1e-5)
    assert model.training


def test_our_loss_is_the_model_s_own(tiny):
    """The shifted loss of Hugging Face's interface, on the text with its BOS."""
    model = build(baseline_source("delta_net"), tiny, "0", hidden=8)
    tokens_BT = torch.randint(1, 256, (3, 12), generator=torch.Generator().manual_seed(0))
    with_bos = torch.cat([torch.zeros(3, 1, dtype=torch.long), tokens_BT], dim=1)
    batch = Batch(with_bos[:, :-1].numpy(), tokens_BT.numpy())
    assert model(with_bos, labels=with_bos).loss.item() == pytest.approx(batch_loss(model, batch).item(), rel=1e-6)


def test_the_loss_falls_on_what_can_be_learned(tiny):
    """From about the eight bits of a byte to less than a tenth of one, on what was trained and on what was not."""
    held_out = Alphabet().batch("validation", 8, "other", seq_len=tiny.seq_len)
    before = evaluate(build(PLAIN, tiny, "0", hidden=8), held_out)
    model, curve = trained(tiny, steps=120, learning_rate=1e-2)
    assert before > 7.0
    assert curve.rows[-1][1] < 0.1
    assert curve.rows[-1][2] < 0.1
    assert evaluate(model, held_out) < 0.1


@pytest.mark.parametrize(
    ("steps", "evaluations", "marks"),
    [(6, 3, [2, 4, 6]), (6, 1, [6]), (6, 0, []), (10, 4, [2, 5, 8, 10]), (2, 5, [1, 2])],
)
def test_curve_rows_at_the_marks(tiny, steps, evaluations, marks):
    task = Alphabet()
    model, curve = trained(tiny, task=task, steps=steps, evaluations=evaluations)
    assert [row[0] for row in curve.rows] == marks
    if marks:
        held_out = task.batch("train", 2 * tiny.batch_size, "curve", seq_len=tiny.seq_len)
        assert curve.rows[-1][2] == pytest.approx(evaluate(model, held_out))


# --- passes -----------------------------------------------------------------------------------------------------------


class Uneven(Alphabet):
    """The alphabet; the first row is scored nowhere, and each other one in as many places as its number."""

    def batch(self, *args, **kwargs):
        whole = super().batch(*args, **kwargs)
        rows, length = whole.targets_BT.shape
        later_BT = np.arange(length) > np.arange(rows)[:, None] % length
        return Batch(whole.inputs_BT, np.where(later_BT, IGNORE, whole.targets_BT))


@pytest.mark.parametrize("mixer", ["gated_delta_net", "mamba2"])
@pytest.mark.parametrize("changes", [{"micro_batch": 1}, {"micro_batch": 4}, {"micro_batch": 3, "vocab_size": 300}])
def test_three_steps_in_passes_are_three_steps_of_the_whole(tiny, mixer, changes, monkeypatch):
    """Rows of unequal numbers of scored tokens, one with none; a last pass of fewer rows; whole logits or not."""
    sizes = dict(source=baseline_source(mixer), batch_size=7, steps=3, vocab_size=changes.get("vocab_size", 256))
    whole, curve = trained(tiny, task=Uneven(), **sizes)
    monkeypatch.setattr("asiarc.models.memory.LOGITS_BYTES", 0 if "vocab_size" in changes else 2**30)
    parted, same = trained(tiny, task=Uneven(), **sizes | changes)
    assert curve.passes.micro_batch == 7 and same.passes.micro_batch == changes["micro_batch"]
    assert same.passes.is_chunked == ("vocab_size" in changes)
    assert np.array(same.rows) == pytest.approx(np.array(curve.rows), rel=1e-5)
    for one, other in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_a_mean_of_means_would_be_another_step(tiny):
    """Planted: each pass by its own scored tokens. Far outside of what the test above allows."""
    batch, model = Uneven().batch("train", 7, "0", seq_len=tiny.seq_len), build(PLAIN, tiny, "0", hidden=8)
    right = add_gradients(model, batch, Passes(4), torch.float32, nullcontext)
    with torch.no_grad():
        wrong = np.mean([float(batch_loss(model, part)) for part in split(batch, 4)])
        assert right == pytest.approx(float(batch_loss(model, batch)), rel=1e-6)
    assert abs(wrong - right) > 1e-3


def test_in_one_pass_the_loss_is_torch_s_mean_to_the_bit(tiny):
    model, batch = build(PLAIN, tiny, "0", hidden=8), Uneven().batch("train", 7, "0", seq_len=tiny.seq_len)
    logits_BTV = model(torch.from_numpy(batch.inputs_BT)).logits
    mean = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), torch.from_numpy(batch.targets_BT).flatten())
    assert add_gradients(model, batch, Passes(7), torch.float32, nullcontext) == mean.item()
    mine = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    mean.backward()
    assert all(torch.equal(one, p.grad) for one, p in zip(mine, model.parameters(), strict=True))


@given(rows=st.integers(1, 9), count=st.integers(1, 9))
def test_parts_are_the_batch_in_order(rows, count):
    batch = Alphabet().batch("train", count, "0", seq_len=4)
    parts = list(split(batch, rows))
    assert [len(part.inputs_BT) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    for name in ("inputs_BT", "targets_BT"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(batch, name))


def test_a_small_memory_is_kept_to(tiny):
    """What is chosen is told, and the step stays the whole batch's."""
    model = build(PLAIN, tiny, "0", hidden=8)
    memory = peak_bytes(tiny, sum(p.numel() for p in model.parameters()), Passes(2))
    curve = train(model, Alphabet(), tiny, "0", memory_bytes=memory)
    assert curve.passes == Passes(2)
    assert np.array(curve.rows) == pytest.approx(np.array(trained(tiny)[1].rows), rel=1e-5)
    least = train(build(PLAIN, tiny, "0", hidden=8), Alphabet(), tiny, "0", memory_bytes=1)
    assert least.passes == Passes(1, is_checkpointed=True)
    assert np.array(least.rows) == pytest.approx(np.array(curve.rows), rel=1e-5)


def test_compiling_is_refused_in_words_where_nothing_can_be_compiled(tiny, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(ExecutionError, match=r"compile=True.*no compiler.*or leave compile out"):
        trained(tiny, compile=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_blocks_take_the_same_steps(tiny, monkeypatch):
    """Through the tracing of torch.compile alone: what makes machine code of it takes a compiler and many seconds."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    settings = dict(source=PLAIN.replace("self.calls += 1", "pass"), steps=2, evaluations=0)
    (plain, _), (model, _) = trained(tiny, **settings), trained(tiny, **settings, compile=True)
    assert all(layer._compiled_call_impl for layer in model.layers)
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


# --- common random numbers --------------------------------------------------------------------------------------------


def test_every_mixer_is_fed_the_same(tiny):
    """What is asked for depends on the seed and the step alone, not on the mixer, its size or its calls."""
    asked = []
    for source in (PLAIN, baseline_source("mamba2"), baseline_source("softmax_attention")):
        task = Alphabet()
        trained(tiny, source=source, task=task, seed="7")
        asked.append(task.asked)
    assert asked[0] == asked[1] == asked[2]
    steps = [("train", tiny.batch_size, "7", step, tiny.seq_len) for step in range(tiny.steps)]
    assert sorted(asked[0]) == sorted([*steps, ("train", 2 * tiny.batch_size, "curve", tiny.seq_len)])


def test_every_mixer_reads_the_same_bytes(tiny, text_name):
    """At the other end of the path: the token ids that reach the embedding."""
    read = []
    for source in (PLAIN, baseline_source("gla")):
        model = build(source, tiny, "3", hidden=8)
        seen = []
        model.embed.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].clone()))
        train(model, get_task(text_name), tiny, "3")
        read.append(seen)
    assert len(read[0]) == len(read[1]) == tiny.steps + tiny.evaluations
    assert all(torch.equal(a, b) for a, b in zip(*read, strict=True))
    assert not torch.equal(read[0][0], read[0][1])


def test_another_seed_reads_other_bytes(tiny, text_name):
    task = get_task(text_name)
    batches = [task.batch("train", 4, seed, 0, seq_len=32).inputs_BT for seed in ("0", "1")]
    assert not np.array_equal(*batches)


SCRIPT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
import json, torch
torch.set_num_threads(1)
from asiarc.engineer.trainer import train
from asiarc.models.backbone import build
from asiarc.models.baselines import baseline_source
from asiarc.core.recipe import MICRO
from asiarc.tasks import get_task
task = get_task("overwrite")
recipe = MICRO.at(d_model=16, num_layers=1, seq_len=task.seq_len, batch_size=4, steps=4, evaluations=2)
curve = train(build(baseline_source("gated_delta_net"), recipe, "0", hidden=8), task, recipe, "0")
assert not {blocked} & set(sys.modules)
print(json.dumps([[step, a.hex(), b.hex()] for step, a, b in curve.rows]))
"""


def in_a_clean_process(*blocked):
    code = textwrap.dedent(SCRIPT).replace("{blocked}", repr(set(blocked)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_another_process_trains_bit_for_bit_alike_without_lm_eval():
    """The trainer needs torch and transformers, so it runs on a machine without the scorer."""
    task = get_task("overwrite")
    recipe = MICRO.at(d_model=16, num_layers=1, seq_len=task.seq_len, batch_size=4, steps=4, evaluations=2)
    curve = train(build(baseline_source("gated_delta_net"), recipe, "0", hidden=8), task, recipe, "0")
    rows = in_a_clean_process("lm_eval", "datasets")
    assert rows == [[step, a.hex(), b.hex()] for step, a, b in curve.rows]
    assert [row[0] for row in rows] == [2, 4]


def test_the_trainer_needs_no_declaration():
    in_a_clean_process("lm_eval", "pydantic")


# --- divergence -------------------------------------------------------------------------------------------------------

NOT_A_NUMBER = "self.proj(x) * (math.nan if {when} else 1.0)"


def test_not_a_number_in_training(tiny):
    source = MIXER.format(result=NOT_A_NUMBER.format(when="self.calls > 1"))
    with pytest.raises(DivergedError, match="step 1: training loss nan"):
        trained(tiny, source=source, evaluations=0)


def test_infinite_in_training(tiny):
    source = MIXER.format(result="self.proj(x) * (math.inf if self.calls > 1 else 1.0)")
    with pytest.raises(DivergedError, match="step 1"):
        trained(tiny, source=source, evaluations=0)


def test_not_a_number_held_out_only(tiny):
    source = MIXER.format(result=NOT_A_NUMBER.format(when="not self.training"))
    with pytest.raises(DivergedError, match="probe"):
        trained(tiny, source=source)


def test_a_gradient_that_is_not_a_number_in_the_last_step_does_not_pass(tiny):
    """The last loss is a number, the weights after it are not."""
    result = "self.proj(x) + (0.0 * (self.proj(x) * 0.0).abs().sqrt() if self.calls > 5 else 0.0)"
    with pytest.raises(DivergedError):
        trained(tiny, source=MIXER.format(result=result), evaluations=1)


def test_an_explosion(tiny):
    """A learning rate that no model survives."""
    with pytest.raises(DivergedError, match="at the start"):
        trained(tiny, steps=200, learning_rate=100.0, clip=1e9, evaluations=0)


@pytest.mark.parametrize(
    ("losses", "warmup", "ends_at"),
    [
        ((2.0, 2.0, 6.0, 2.0), 0.0, None),
        ((2.0, 2.0, 6.1, 2.0), 0.0, 2),
        ((2.0, 6.1, 2.0, 2.0), 0.25, None),
        ((2.0, 2.0, 6.1, 2.0), 0.25, 2),
        ((2.0, 2.0, 2.0, 6.1), 0.0, 3),
        ((2.0, 1.0, 5.0, 1.0), 0.0, None),
        ((2.0, math.nan, 2.0, 2.0), 0.5, 1),
        ((math.inf, 2.0, 2.0, 2.0), 0.5, 0),
    ],
)
def test_what_counts_as_divergence(tiny, monkeypatch, losses, warmup, ends_at):
    """Three times the first loss, after warm-up only; no number, at any step."""
    left = iter(losses)

    def scripted(model, *_, **__):
        return next(left) + sum(0.0 * p.sum() for p in model.parameters())

    monkeypatch.setattr("asiarc.engineer.trainer.batch_loss", scripted)
    settings = dict(steps=4, warmup=warmup, evaluations=0)
    if ends_at is None:
        trained(tiny, **settings)
    else:
        with pytest.raises(DivergedError, match=f"diverged at step {ends_at}:"):
            trained(tiny, **settings)

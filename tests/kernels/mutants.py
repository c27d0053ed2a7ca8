"""Bugs that linear-attention kernels have had in the wild, planted in ours; each must be killed by a property.

``python tests/kernels/mutants.py`` prints the table: class, planted bug, and the property that killed it (about a
minute). A mutant is a text change to a module, executed in the module's own namespace in this process and undone
afterwards; those of the GPU kernels are planted by `in_interpreter` in a process of their own (``--torch`` leaves them
out). Classes are numbered as in `CLASSES`; those that cannot exist in this code say why.
"""

# ruff: noqa: E501  a planted change is easiest to judge on one line

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["ASIARC_KERNEL_SHRINK"] = "0"
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import click
import pytest
import torch

from tests.kernels import test_contract, test_filters, test_recurrences
from tests.kernels.cases import GATED, OPERATORS
from tests.kernels.conftest import poisoned_allocations
from tests.rigs.cases import keep

GDN, KDA, SSD = OPERATORS[5], OPERATORS[6], OPERATORS[2]

CLASSES = {
    1: "wrong only for one tile size", 2: "wrong dk, dbeta in the WY backward", 3: "misaligned address, read out of bounds",
    4: "state pass not deterministic", 5: "output kernel not deterministic", 6: "compiler loses precision",
    7: "32-bit offset overflow", 8: "tail of a long sequence skipped", 9: "grid dimension overflow",
    10: "partial last chunk", 11: "prefix depends on the future's gates", 12: "unmasked load at odd widths",
    13: "exponent above zero overflows", 14: "clamped decay", 15: "NaN in half-precision training",
    16: "inverse explodes", 17: "rows left uninitialised", 18: "empty packed sequence", 19: "packed boundary",
    20: "boundaries cached or overwritten", 21: "segments differ from the whole", 22: "batch companions matter",
    23: "wrong layout", 24: "gate gradient cut off", 25: "state gradient wrong", 26: "initial state ignored",
    27: "convolution shorter than its filter", 28: "convolution weight gradient", 29: "strided inputs",
    30: "short path differs from long path", 31: "grouped heads", 32: "convolution options", 33: "decay overflow backward",
    34: "gate gradient under padding", 35: "width below the tile", 36: "state at a chunk boundary",
    37: "exp of minus the running sum", 38: "anchor in mid-chunk", 39: "NaN gradients behind a mask",
    40: "minus infinity minus minus infinity", 41: "K and V swapped", 42: "input changed in place",
    43: "gate in the wrong space", 44: "reference wrong", 45: "test invalid", 46: "interpreter differs from GPU",
}  # fmt: skip
NOT_APPLICABLE = {
    3: "aten checks bounds; on a GPU gpu_bench runs the kernels under memcheck",
    5: "in torch the same as 4, one thread of aten calls; on a GPU gpu_bench compares the bits of repeats",
    6: "no compiler in torch; compile_report compiles every configuration, gpu_bench holds each against float64",
    7: "aten computes offsets in 64 bits, and so do the GPU kernels for tokens and states",
    9: "no launch grid in torch; the GPU kernels use the one axis without a small limit",
    46: "the interpreter proves logic only; a device runs gpu_bench",
}


@dataclass(frozen=True)
class Mutant:
    classes: tuple[int, ...]
    what: str
    module: str
    old: str
    new: str

    def source(self) -> tuple[str, str]:
        path = inspect.getsourcefile(importlib.import_module(f"asiarc.kernels.{self.module}"))
        text = Path(path).read_text()
        assert text.count(self.old) >= 1, f"nothing to change for: {self.what}"
        return text, text.replace(self.old, self.new, 1)


M = Mutant
CHUNK, DOOR, CONV = "chunked", "contract", "short_convolution"
MUTANTS = (
    M((1,), "merging stops at width 16", CHUNK, "while s < C:", "while s < min(C, 8):"),
    M((2,), "sign of the erasing read", CHUNK, "reads.append(-dy)", "reads.append(dy)"),
    M((2,), "diagonal of the strict scores kept", CHUNK, "dX[1].diagonal(dim1=-2, dim2=-1).zero_()", "pass"),
    M((4,), "noise in the state pass", CHUNK, "    S[0] = state.view(BH, K, V)", "    S[0] = state.view(BH, K, V); y.mul_(1 + 1e-7 * torch.rand(()))"),
    M((8,), "last chunk not written", CHUNK, "to = to_BTHD.view(B, N, C, H, D)", "to, x = to_BTHD.view(B, N, C, H, D)[:, : max(N - 1, 1)], x[:, : max(N - 1, 1)]"),
    M((10, 34), "last chunk filled with ones", CHUNK, "-T % C)) if", "-T % C), value=1.0) if"),
    M((11, 38, 13, 33), "anchor at the block's end", CHUNK,
      "a[:, :, 1].exp(), b[:, :, 0].exp()", "(a[:, :, 1] - a[:, :, 1, -1:]).exp(), (b[:, :, 0] + a[:, :, 1, -1:]).exp()"),
    M((37, 13), "decay out of a token from differences of exponentials", CHUNK,
      "L_MCC[:, -1, :, None], into_MC1[:, -1:]", "into_MC1[:, -1:] / into_MC1, into_MC1[:, -1:]"),
    M((14,), "decay clamped", CHUNK, "else -200.0", "else -2.0"),
    M((15,), "computed in the input's precision", DOOR, "dtype = torch.float64 if name == \"reference\" else state_dtype", "dtype = q.dtype"),
    M((15,), "autocast reaches inside", CHUNK, "on = torch.is_autocast_enabled(device)", "on = False"),
    M((16,), "inverse cut to first order", CHUNK, "    return torch.linalg.solve", "    return identity - A_MCC.tril(-1)\n    return torch.linalg.solve"),
    M((17,), "ragged output left as allocated", CHUNK, "x, to = x.reshape(B, N * C, H, D)[:, :T], to_BTHD", "x, to = x.reshape(B, N * C, H, D)[:, : T - T % C], to_BTHD[:, : T - T % C]"),
    M((18,), "empty sequences counted as one token", DOOR, "if b > a else -1", "if b > a else 0"),
    M((19,), "padding repeats the last token", DOOR, "torch.where(inside, at, total)", "torch.where(inside, at, total - 1)"),
    M((19,), "packed outputs in order of length", DOOR, "torch.cat(outputs)[torch.argsort(torch.cat(tokens))]", "torch.cat(outputs)"),
    M((20,), "boundaries cached by identity", DOOR,
      "    bounds: list[int] = cu_seqlens.tolist()", "    CACHE = globals().setdefault('CACHE', {})\n    bounds = CACHE.setdefault(id(cu_seqlens), cu_seqlens.tolist())"),
    M((21, 36), "state between chunks not decayed", CHUNK, "decayed = before if over_ is None else torch.mul(before, over_, out=after)", "decayed = before"),
    M((21, 36), "runs of chunks not joined", CHUNK, "in starts[:-1][back] if reverse else starts[1:]", "in ()"),
    M((25,), "gradients of runs of chunks not joined", CHUNK, "starts[:-1][back] if reverse", "() if reverse"),
    M((22,), "last slab of the batch dropped", CHUNK, "for b in range(0, B, rows)]", "for b in range(0, max(B - rows, 1), rows)]"),
    M((22,), "state of the first sequence for all", CHUNK, "S[0] = state.view(BH, K, V)", "S[0] = state[:1].expand_as(state).reshape(BH, K, V)"),
    M((23,), "batch and heads swapped", CHUNK, "x_MCD.view(-1, B, H, x_MCD.shape[1], D).permute(1, 0, 3, 2, 4)", "x_MCD.view(-1, H, B, x_MCD.shape[1], D).permute(2, 0, 3, 1, 4)"),
    M((24,), "gates within a chunk cut off", CHUNK, "ends = torch.matmul(within, before)", "ends = torch.matmul(0 * within, before)"),
    M((24,), "gates between chunks cut off", CHUNK, "over = dS.mul_(S)", "over = 0 * dS.mul_(S)"),
    M((25,), "gradient of the final state dropped", CHUNK, "dS[-1] = dfinal.reshape(dS.shape[1:])", "dS[-1] = 0"),
    M((25,), "state gradient too large", CHUNK, "dS[0].view_as(dfinal)", "300 * dS[0].view_as(dfinal)"),
    M((26,), "initial state ignored", CHUNK, "S[0] = state.view(BH, K, V)", "S[0] = 0"),
    M((27,), "state holds inputs only", CONV, "inputs[:, x_BTD.shape[1] :].mT", "torch.nn.functional.pad(x_BTD, (0, 0, state_BDP.shape[2], 0))[:, x_BTD.shape[1] :].mT"),
    M((28,), "weight gradient of one sequence", CONV, "(some * dy[:, None]).sum((0, 2))", "(some[:1] * dy[:1, None]).sum((0, 2))"),
    M((29,), "strides taken for granted", CHUNK, "    x = x.unflatten(1, (-1, C))", "    x = x if T % C else x.as_strided(x.shape, (x[0].numel(), x[0, 0].numel(), D, 1))\n    x = x.unflatten(1, (-1, C))"),
    M((30,), "decoding forgets the scale", CHUNK, "return scale * (q.transpose", "return (q.transpose"),
    M((30,), "decoding decays after writing", CHUNK, ".exp() * state\n    y = v.transpose(1, 2)", ".exp() * state * 1.01\n    y = v.transpose(1, 2)"),
    M((31,), "heads tiled, not repeated", DOOR, "q.repeat_interleave(HV // H, dim=2)", "q.repeat(1, 1, HV // H, 1)"),
    M((32,), "bias after the activation", DOOR, "y = y if bias is None else y + bias.to(dtype)", "y = torch.nn.functional.silu(y) if activation else y; activation = None; y = y if bias is None else y + bias.to(dtype)"),
    M((12, 35), "narrow widths padded with whatever is there", CHUNK, "out=own)).view(-1, C, D)", "out=own)).view(-1, C, D).add_(0 if D > 3 else torch.empty(()))"),
    M((39, 40), "minus infinity meets itself", CHUNK, ".clamp(min=floor)", ""),
    M((40,), "running sum in float32", CHUNK, "cumsum(-1, dtype=torch.float64)", "cumsum(-1)"),
    M((41,), "K and V swapped in the state", CHUNK, "S[-1].view_as(state)", "S[-1].mT.reshape(state.shape)"),
    M((42,), "upstream gradient scaled in place", CHUNK, "    own = x.new_empty(x.shape)", "    own = x.mul_(factor)"),
    M((43,), "gate read as base two", CHUNK, "between.exp_()", "between.exp2_()"),
    M((43,), "growing state accepted", DOOR, "    if top > 0:", "    if top > 1e9:"),
    M((44,), "reference decays after reading", "definitions", "    return torch.stack(outputs, dim=1), state", "        state = state if decay is None else decay[:, t, ..., None] * state\n    return torch.stack(outputs, dim=1), state"),
    M((45,), "metric without local maxima", "accuracy", "return max(local, ", "return max(0.0, "),
)  # fmt: skip


def properties():
    """(name, call) in the order in which they are tried: cheap and deterministic ones first."""
    t = test_recurrences

    def per_operator(test, ops=(GDN, KDA, SSD)):
        return [(f"{test.__name__}[{op}]", lambda op=op: test(op=op)) for op in ops]

    yield (
        "test_the_metric_sees_one_wrong_tail...",
        test_contract.test_the_metric_sees_one_wrong_tail_that_a_global_ratio_forgives,
    )
    yield (
        "test_what_is_outside_the_contract_is_refused",
        lambda: test_contract.refused("g is positive", g=lambda x: torch.full_like(x["g"], 0.5)),
    )
    yield from per_operator(t.test_inputs_are_left_as_they_are)
    yield from per_operator(t.test_the_same_call_gives_the_same_bits)
    yield "test_strides_do_not_matter", lambda: t.test_strides_do_not_matter(GDN, 32)
    yield from per_operator(t.test_decoding_token_by_token_equals_the_whole)
    yield from per_operator(t.test_grouped_value_heads_repeat_the_key_heads)
    yield from per_operator(t.test_a_loss_on_one_output_only)
    yield from per_operator(t.test_sequences_worked_on_in_turn_equal_all_at_once, ())
    for op in (GDN, KDA):
        with pytest.MonkeyPatch.context() as patch:
            yield (
                f"test_sequences_worked_on_in_turn[{op}]",
                lambda op=op, patch=patch: t.test_sequences_worked_on_in_turn_equal_all_at_once(op, patch),
            )
    with pytest.MonkeyPatch.context() as patch:
        yield (
            f"test_states_summed_in_runs[{SSD}]",
            lambda: t.test_states_summed_in_runs_equal_one_after_the_other(SSD, patch),
        )
    for gate in ("moderate", "strong", "reset"):
        yield from (
            (
                f"test_any_gate_is_finite_and_exact[{op}, {gate}]",
                lambda op=op, gate=gate: t.test_any_gate_is_finite_and_exact_forward_and_backward(op, gate),
            )
            for op in GATED
        )
    yield from per_operator(t.test_precision_does_not_fade_behind_strong_decay)
    yield ("test_the_chunk_length_does_not_matter[64]", lambda: t.test_the_chunk_length_does_not_matter(GDN, 64))
    yield "test_boundaries_changed_in_place_are_read_again", t.test_boundaries_changed_in_place_are_read_again
    yield from (
        (
            f"test_half_precision[{op}]",
            lambda op=op: t.test_half_precision_costs_no_more_than_its_rounding(op, torch.bfloat16),
        )
        for op in (GDN,)
    )
    yield from per_operator(t.test_autocast_does_not_reach_inside)
    yield "test_bias_and_activation_against_torch", test_filters.test_bias_and_activation_against_torch
    yield (
        "test_gradcheck_also_where_the_sequence_is_shorter...",
        lambda: test_filters.test_gradcheck_also_where_the_sequence_is_shorter_than_the_filter(
            test_filters.short_convolution
        ),
    )
    yield from per_operator(t.test_two_definitions_agree, (GDN,))
    yield from per_operator(t.test_packed_sequences_equal_one_call_each, (GDN,))
    yield from per_operator(t.test_chunks_equal_the_recurrence_with_all_gradients)
    yield from per_operator(t.test_a_prefix_keeps_its_bits_whatever_follows_it)


FAILURES = (
    AssertionError,
    RuntimeError,
    ValueError,
    IndexError,
    TypeError,
    ArithmeticError,
    ExceptionGroup,
    pytest.fail.Exception,
)


def killer(mutant: Mutant) -> str | None:
    """The first property that fails with the mutant in place, or None."""
    module = importlib.import_module(f"asiarc.kernels.{mutant.module}")
    original, changed = mutant.source()
    before = dict(module.__dict__)
    exec(compile(changed, module.__file__, "exec"), module.__dict__)
    rebound = [rebind(old, new) for old, new in functions_of(before, module.__dict__)]
    try:
        for name, call in properties():
            try:
                call()
            except FAILURES:
                return name
        return None
    finally:
        for undo in rebound:
            undo()
        exec(compile(original, module.__file__, "exec"), module.__dict__)
        module.__dict__.update(before)


def functions_of(before, after):
    """Every function of a module, or of a class in it, as it was and as it is."""
    for name, new in list(after.items()):
        old = before.get(name)
        yield old, new
        if inspect.isclass(new) and inspect.isclass(old) and new is not old:
            yield from ((vars(old).get(method), value) for method, value in vars(new).items())


def rebind(old, new):
    """Give the function that others already imported the changed code; returns how to undo it."""
    if not (inspect.isfunction(old) and inspect.isfunction(new)) or old is new or old.__module__ != new.__module__:
        return lambda: None
    code = old.__code__
    if code.co_freevars or new.__code__.co_freevars:
        return lambda: None
    old.__code__ = new.__code__

    def undo():
        old.__code__ = code

    return undo


def in_the_interpreter() -> list[tuple[str, str, str]]:
    """Prints the rows of the GPU kernels' mutants; each with what should and what did become of it."""
    file = Path(__file__).parent / "in_interpreter.py"
    options = ("-v", "-k", "mutant", "-p", "no:cacheprovider", "-p", "no:xdist")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(file), *options],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = re.findall(r"is_caught\[([\d,]+): (.+?)\] (PASSED|FAILED)", done.stdout)
    assert rows, done.stdout + done.stderr
    for numbers, what, how in rows:
        killed = "killed by in_interpreter.check, outputs and every gradient" if how == "PASSED" else "SURVIVED"
        click.echo(f"{numbers:12s} {'GPU: ' + what:45s} {killed}")
    return [(f"GPU: {what}", "killed", "killed" if how == "PASSED" else "SURVIVED") for _, what, how in rows]


def main() -> int:
    torch.set_num_threads(1)
    gpu, cases = list[tuple[str, str, str]](), list[tuple[str, str, str]]()
    with poisoned_allocations():
        for _, call in properties():
            call()
        for mutant in MUTANTS:
            start = time.process_time()
            name = killer(mutant)
            cases.append((mutant.what, "killed", "SURVIVED" if name is None else "killed"))
            numbers = ",".join(map(str, mutant.classes))
            click.echo(
                f"{numbers:12s} {mutant.what:45s} {'SURVIVED' if name is None else 'killed by ' + name}  ({time.process_time() - start:.1f} s)"
            )
    if "--torch" not in sys.argv:
        if importlib.util.find_spec("triton") is None:
            click.echo("the GPU kernels' mutants are not planted: Triton is not installed")
        else:
            gpu = in_the_interpreter()
    named = next((Path(word.removeprefix("--cases=")) for word in sys.argv if word.startswith("--cases=")), None)
    cases += gpu
    keep(named, "mutants of the kernels killed by the properties", cases)
    survived = sum(found != "killed" for *_, found in cases)
    for number, reason in NOT_APPLICABLE.items():
        click.echo(f"{number:<12d} {CLASSES[number]:45s} not applicable: {reason}")
    missing = set(CLASSES) - set(NOT_APPLICABLE) - {n for m in MUTANTS for n in m.classes}
    click.echo(
        f"{len(MUTANTS)} mutants in torch and {len(gpu)} in the GPU kernels, {survived} survived; classes without a mutant: {sorted(missing) or 'none'}"
    )
    return int(bool(survived or missing))


if __name__ == "__main__":
    sys.exit(main())

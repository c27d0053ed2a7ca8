"""The questions: one a property, answered True (holds), False (broken) or None (could not be asked), with a reason.

Lengths, cuts and batches at which a module raises are passed over: not to run is another fault than to be wrong.
Cached decoding alone is broken where it raises, since there is nothing else to decode with.

B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.audit import PROPERTIES
from asiarc.audit.specimen import Specimen, UnanswerableError, read
from asiarc.engineer.gates.subject import relative_error
from asiarc.execution.attempt import Failure, attempt

Answer = tuple[bool | None, str]
Question = Callable[[Specimen], Answer]

# Total length -> cuts within chunks, at their edges, and far apart.
CUTS = {None: (1, 17, 32, 33, 64, 99), 160: (16, 96, 131), 272: (130, 260)}
PREFIXES = {None: (1, 2, 31, 32, 33, 64, 65), 272: (128, 200)}
PREFILLS = ((40, 30), (64, 3), (5, 6))  # tokens at once, then one by one
WHOLE_CHUNKS = ((64, 64),)  # where nothing else runs
HOLDS: Answer = (True, "")


def causal(specimen: Specimen) -> Answer:
    """New inputs from a cut on change no output before it."""
    asked = False
    for total, cuts in CUTS.items():
        tokens = total or specimen.tokens
        x, other = specimen.draw(2, tokens, 0), _loud(specimen.draw(2, tokens, 1))
        y = specimen.runs(x)
        for cut in cuts if y is not None else ():
            z = specimen.runs(torch.cat((x[:, :cut], other[:, cut:]), 1)) if cut < tokens else None
            if z is None:
                continue
            asked = True
            assert y is not None
            change = relative_error(z[:, :cut], y[:, :cut])
            if change > specimen.leak:
                position = int((z - y)[:, :cut].abs().amax((0, 2)).argmax())
                return False, (
                    f"new inputs from position {cut} of {tokens} on change the output at {position} "
                    f"(relative change {change:.1g})"
                )
    return HOLDS if asked else (None, "no two inputs of one length run")


def independent_of_total_length(specimen: Specimen) -> Answer:
    """The outputs of a prefix are those of the whole."""
    asked = False
    for total, lengths in PREFIXES.items():
        tokens = total or specimen.tokens
        x = specimen.draw(2, tokens, 0)
        y = specimen.runs(x)
        for length in lengths if y is not None else ():
            prefix = specimen.runs(x[:, :length])
            if prefix is None:
                continue
            asked = True
            assert y is not None
            error = relative_error(prefix, y[:, :length])
            if error > specimen.tolerance:
                what = f"the first {length} outputs differ when there are {tokens}"
                return False, f"{what} (relative error {error:.1g})"
    return HOLDS if asked else (None, f"no length beside {specimen.tokens} runs")


def stateless_in_eval(specimen: Specimen) -> Answer:
    """Same input, same output, after thirty other calls; nothing that has changed can change an output later."""
    specimen = replace(specimen, random=False)  # noise, too, is an output that changes from call to call
    x = specimen.draw(2, specimen.tokens, 0)
    module = specimen.make()
    y, before = specimen.run(x, module=module), _memory(module)
    start = specimen.new_caches()[0]
    attempt(lambda: specimen.call(specimen.draw(1, 20, 1), module=module, cache=start))
    for seed in range(1, 31):
        specimen.runs(specimen.draw(*((1, 20) if seed % 10 else (2, specimen.tokens)), seed), module=module)
    if not torch.equal(specimen.run(x, module=module), y):
        return False, "the same input gives another output after other calls"
    changed = {path: now for path, now in _memory(module).items() if _differs(before.get(path), now)}
    for calls in (1e2, 1e4, 1e6) if changed else ():
        for path, now in changed.items():
            _advance(module, path, before.get(path), now, calls)
        late = specimen.runs(x, module=module)
        if late is None or not torch.equal(late, y):
            what = ", ".join(sorted(changed))
            return False, f"{what} changes from call to call, and in time the output with it"
    return HOLDS


def batch_independent(specimen: Specimen, *, mask: bool = False) -> Answer:
    """A row gives the same alone, beside others and beside loud strangers; with `mask`, under a mask of ones."""
    x = specimen.draw(3, specimen.tokens, 0)
    strangers = _loud(specimen.draw(3, specimen.tokens, 1))

    def options(batch: int) -> dict[str, Tensor]:
        return {"mask": torch.ones(batch, specimen.tokens, dtype=torch.long)} if mask else {}

    whole = specimen.run(x, **options(3))
    asked = False
    beside = torch.cat((strangers[:1], x[1:2], strangers[2:]))
    others = ((0, "alone", x[:1]), (1, "beside other rows", beside), (2, "alone", x[2:]))
    for row, how, other in others:
        y = specimen.runs(other, **options(len(other)))
        if y is None:
            continue
        asked = True
        error = relative_error(y[1:2] if len(y) > 1 else y, whole[row : row + 1])
        if error > specimen.tolerance:
            what = f"row {row} gives another output {how} than in a batch of 3"
            return False, f"{what} (relative error {error:.1g})"
    return HOLDS if asked else (None, "no other batch runs")


def cached_decoding(specimen: Specimen) -> Answer:
    """Some tokens at once and the rest one by one, through the cache, equal one pass over all."""
    lengths = [both for both in PREFILLS if _runs_uncached(specimen, *both)] or [
        both for both in WHOLE_CHUNKS if _runs_uncached(specimen, *both)
    ]
    if not lengths:
        return None, "no length to decode runs without a cache"
    why = ""
    # One module for all calls, or a fresh one for each: to count calls is another fault.
    for kept, which in product((True, False), range(len(specimen.new_caches()))):
        failed = next(filter(None, (_wrong(specimen, *both, which, kept=kept) for both in lengths)), "")
        if not failed:
            return HOLDS
        why = why or failed
    return False, why


def _runs_uncached(specimen: Specimen, prefill: int, steps: int) -> bool:
    x = specimen.draw(2, prefill + steps, 0)
    return specimen.runs(x) is not None and specimen.runs(x[:, :prefill]) is not None


def _wrong(specimen: Specimen, prefill: int, steps: int, which: int, *, kept: bool) -> str:
    """How decoding differs; empty where it does not."""
    x = specimen.draw(2, prefill + steps, 0)
    expected = specimen.run(x)
    outputs: list[Tensor] = []

    def decode() -> None:
        module = specimen.make() if kept else None
        cache = specimen.new_caches()[which]
        for part in (x[:, :prefill], *x[:, prefill:].split(1, 1)):
            y, cache = specimen.call(part, module=module, cache=cache)
            outputs.append(y)

    _, failure = attempt(decode)
    if failure and failure.type == UnanswerableError.__name__:
        raise UnanswerableError(failure.message)
    if failure:
        return f"decoding after {prefill} tokens raises {failure}"
    error = relative_error(torch.cat(outputs, 1), expected)
    if error <= specimen.tolerance:
        return ""
    return f"after {prefill} tokens at once, {steps} one by one differ (relative error {error:.1g})"


def ask_all(specimen: Specimen) -> tuple[dict[str, bool | None], dict[str, str]]:
    """(answers, reasons where an answer is not True) to all questions but `float32`, which is about the type itself."""
    questions: dict[str, Question] = {
        "causal": causal,
        "independent_of_total_length": independent_of_total_length,
        "stateless_in_eval": stateless_in_eval,
        "batch_independent": batch_independent,
        "batch_independent_with_mask": partial(batch_independent, mask=True),
        "cached_decoding": cached_decoding,
    }
    answers: dict[str, bool | None] = {}
    reasons: dict[str, str] = {}
    for name, question in questions.items():
        found, failure = attempt(partial(question, specimen))
        answers[name], reason = (None, f"could not be asked: {failure}") if failure else found
        if reason:
            reasons[name] = reason
    assert set(answers) | {"float32"} == set(PROPERTIES)
    return answers, reasons


def dead_parameters(specimen: Specimen) -> list[str]:
    """Parameters that no gradient from the output reaches in training."""
    module = specimen.make().train()
    failure: Failure | None = None
    with specimen.running(), torch.enable_grad():
        for tokens in (1, specimen.tokens):
            _, failure = attempt(partial(_backward, module, specimen.draw(2, tokens, 0)))
        if failure:
            raise UnanswerableError(str(failure))
    named = module.named_parameters()
    return [name for name, p in named if p.requires_grad and (p.grad is None or not p.grad.any())]


def _backward(module: nn.Module, x: Tensor) -> None:
    y = read(module(x))[0]
    y.mul(torch.linspace(-1, 1, y.shape[-1], dtype=y.dtype)).sum().backward()


def _loud(x: Tensor) -> Tensor:
    return 3 * x if x.is_floating_point() else x


def _memory(module: nn.Module) -> dict[str, Any]:
    """Path -> what a module and those in it hold beside their parameters: buffers, tensors, plain numbers."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        held = {**part._buffers, **vars(part)}
        for key, value in held.items():
            if isinstance(value, Tensor):
                found[f"{name}.{key}"] = value.clone()
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                found[f"{name}.{key}"] = value
    return found


def _differs(before: Any, now: Any) -> bool:
    if isinstance(now, Tensor):
        return not (isinstance(before, Tensor) and before.shape == now.shape and torch.equal(before, now))
    return bool(before != now)


def _advance(module: nn.Module, path: str, before: Any, now: Any, calls: float) -> None:
    """Move what has changed as far as so many times the calls made so far would."""
    name, _, key = path.rpartition(".")
    if type(before) is not type(now) or (isinstance(now, Tensor) and before.shape != now.shape):
        return
    step = now - before if not isinstance(now, Tensor) else now.double() - before.double()
    late = now + calls * step
    part = module.get_submodule(name)
    if isinstance(now, Tensor):
        part.__setattr__(key, late.to(now.dtype))
    else:
        part.__setattr__(key, type(now)(late))

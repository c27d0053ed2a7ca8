"""The questions: one a property, answered True (holds), False (broken) or None (could not be asked), with a reason.

A property is the gate's of that name; what is asked here is some of its cases, one at a time. The audit is more lenient
than the contract, in this and in nothing else:

every property    one that raises at a case is passed over there: not to run is another fault than to be wrong
every property    asked in evaluation, in one type, and allowed the rounding of the narrowest type inside
every property    but stateless_in_eval: the module is made anew for each call, its random numbers held still
stateless_in_eval what is remembered is no fault where it will never change an output
batch_independent a row is not continued from its state, nor handed over in memory that is not contiguous;
 ..._with_mask    where the contract pads and gives no mask, the same again under a mask of ones
cached_decoding   three ways to decode, from whichever first cache and with whichever modules, fresh or kept, make it
                  right; whole chunks where no other length runs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from asiarc.audit import PROPERTIES
from asiarc.audit.specimen import Decoding, Specimen, UnanswerableError, read
from asiarc.engineer.gates.batch import BatchIndependence, RowCase
from asiarc.engineer.gates.causality import Causality, CutCase, PrefixCase, PrefixConsistency
from asiarc.engineer.gates.gate import PropertyGate, Violation
from asiarc.engineer.gates.gradients import without_gradient
from asiarc.engineer.gates.state import SplitCase, StateHandover
from asiarc.execution.attempt import Caught, attempt

Answer = tuple[bool | None, str]
Question = Callable[[Specimen], Answer]

# Total length -> cuts within chunks, at their edges, and far apart.
CUTS = {None: (1, 17, 32, 33, 64, 99), 160: (16, 96, 131), 272: (130, 260)}
PREFIXES = {None: (1, 2, 31, 32, 33, 64, 65), 272: (128, 200)}
PREFILLS = ((40, 30), (64, 3), (5, 6))  # tokens at once, then one by one
WHOLE_CHUNKS = ((64, 64),)  # where nothing else runs
HOLDS: Answer = (True, "")


def _ask(gate: PropertyGate[Any], specimen: Specimen, cases: Sequence[Any]) -> Answer:
    """Whether any of the cases that run breaks the gate's property."""
    first: Caught | None = None
    asked = False
    for case in cases:
        violation, failure = attempt(partial(gate.violation, specimen, case))
        if violation:
            return False, _words(violation)
        first, asked = first or failure, asked or failure is None
    return HOLDS if asked else (None, f"could not be asked: {first}")


def _words(violation: Violation) -> str:
    return f"{violation.reason} ({violation.expected} expected, found {violation.actual})"


def causal(specimen: Specimen) -> Answer:
    """New inputs from a cut on change no output before it."""
    places = [(total or specimen.tokens, cut) for total, cuts in CUTS.items() for cut in cuts]
    cases = [CutCase(tokens, cut, 2, False, False, "exact") for tokens, cut in places if cut < tokens]
    return _ask(Causality(), specimen, cases)


def independent_of_total_length(specimen: Specimen) -> Answer:
    """The outputs of a prefix are those of the whole."""
    lengths = [(total or specimen.tokens, tokens) for total, prefixes in PREFIXES.items() for tokens in prefixes]
    cases = [PrefixCase(tokens, total, 2, False) for total, tokens in lengths if tokens <= total]
    return _ask(PrefixConsistency(), specimen, cases)


def batch_independent(specimen: Specimen) -> Answer:
    """A row gives the same alone, beside others and beside loud strangers."""
    return _ask(BatchIndependence(), specimen, [RowCase(3, row, specimen.tokens, False) for row in range(3)])


def batch_independent_with_mask(specimen: Specimen) -> Answer:
    """The same, under a mask of ones."""
    return batch_independent(replace(specimen, masked=True))


def cached_decoding(specimen: Specimen) -> Answer:
    """Some tokens at once and the rest one by one, through the cache, equal one pass over all."""
    lengths = [both for both in PREFILLS if _runs_uncached(specimen, *both)] or [
        both for both in WHOLE_CHUNKS if _runs_uncached(specimen, *both)
    ]
    if not lengths:
        return None, "no length to decode runs without a cache"
    why = ""
    # One module for all calls, or a fresh one for each: to count calls is another fault.
    for kept, first in product((True, False), range(len(specimen.new_caches()))):
        way = replace(specimen, decoding=Decoding(kept, first))
        failed = next(filter(None, (_wrong(way, *both) for both in lengths)), "")
        if not failed:
            return HOLDS
        why = why or failed
    return False, why


def _runs_uncached(specimen: Specimen, prefill: int, steps: int) -> bool:
    x = specimen.draw(2, prefill + steps, 0)
    return specimen.runs(x) is not None and specimen.runs(x[:, :prefill]) is not None


def _wrong(specimen: Specimen, prefill: int, steps: int) -> str:
    """How decoding differs, or what it raises: there is nothing else to decode with. Empty where it does not differ."""
    case = SplitCase((prefill,) + (1,) * steps, 2, False, "exact")
    violation, failure = attempt(partial(StateHandover().violation, specimen, case))
    if failure and failure.type == UnanswerableError.__name__:
        raise UnanswerableError(failure.message)
    if failure:
        return f"decoding after {prefill} tokens raises {failure}"
    return f"after {prefill} tokens at once, {steps} one by one: {_words(violation)}" if violation else ""


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


QUESTIONS: dict[str, Question] = {
    question.__name__: question
    for question in (
        causal,
        independent_of_total_length,
        stateless_in_eval,
        batch_independent,
        batch_independent_with_mask,
        cached_decoding,
    )
}
assert {*QUESTIONS, "float32"} == set(PROPERTIES)


def ask_all(specimen: Specimen) -> tuple[dict[str, bool | None], dict[str, str]]:
    """(answers, reasons where an answer is not True) to all questions but `float32`, which is about the type itself."""
    answers: dict[str, bool | None] = {}
    reasons: dict[str, str] = {}
    for name, question in QUESTIONS.items():
        found, failure = attempt(partial(question, specimen))
        answers[name], reason = (None, f"could not be asked: {failure}") if failure else found
        if reason:
            reasons[name] = reason
    return answers, reasons


def dead_parameters(specimen: Specimen) -> list[str]:
    """Parameters that no gradient from the output reaches in training."""
    module = specimen.make().train()
    failure: Caught | None = None
    with specimen.running(), torch.enable_grad():
        for tokens in (1, specimen.tokens):
            x = specimen.fed(specimen.draw(2, tokens, 0))
            _, failure = attempt(partial(_backward, module, x))
        if failure:
            raise UnanswerableError(str(failure))
    return without_gradient(module)


def _backward(module: nn.Module, x: Tensor) -> None:
    y = read(module(x))[0]
    y.mul(torch.linspace(-1, 1, y.shape[-1], dtype=y.dtype)).sum().backward()


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

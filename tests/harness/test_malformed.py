"""Workers that answer nonsense: every answer becomes a recorded outcome, and the run completes."""

import json
import math
from collections import Counter
from dataclasses import asdict, replace

import pytest

from asiarc import Stage
from asiarc.archive.store import Archive
from asiarc.core.seeds import rng_of
from asiarc.engineer.returned import FINGERPRINT_NUMBERS, Admission, Fingerprint, Pace, Trial, checked
from asiarc.execution import Limits, Result
from asiarc.execution.judge import judge

from .fakes import Bench, FakeExecutor, answer, budget, candidate, constants_of, written

TRIALS, ADMISSIONS = 200, 40
NOTHINGS = [None, "ok", 3, [], [{}], object(), Exception("ok"), b"{}"]
NO_TEXTS = [*NOTHINGS, {}, 2.5, True, "\ud800"]
NO_NUMBERS = [*NOTHINGS, "2.5", {"value": 2.5}, math.nan, math.inf, -math.inf, 10**400, -(10**400), True, 2j]
NO_NUMBERS.remove(3)
NO_WHOLES = [*NO_NUMBERS, -1, 1.5, 2**63]
ENDINGS = [*NO_TEXTS, "scored", "unscored", "infrastructure", "rejected"]
FIELDS = {
    "status": [*(text for text in NO_TEXTS if text != "ok"), "fine", "OK", "scored"],
    "reason": [text for text in NO_TEXTS if not isinstance(text, str)],
    "wall_s": [*NO_NUMBERS, -1.0],
    "cpu_s": [*NO_NUMBERS, -1.0],
    "peak_memory_bytes": NO_WHOLES,
    "layers": [*NO_TEXTS, (None,), ("x", 1)],
    "parts_cpu_s": [*NO_NUMBERS, (None,), (1.0, math.nan), (-1.0,)],
}


def spoilt(result, rng, values):
    """An honest result with one thing wrong in it: a field, all of its value, or a part of that."""
    match rng.choice(["field", "nothing", "missing", "extra", *["part"] * 6]):
        case "field":
            name = rng.choice(list(FIELDS))
            return replace(result, **{name: rng.choice(FIELDS[name])})
        case "nothing":
            return rng.choice([*filter(None, NOTHINGS), *(replace(result, value=nothing) for nothing in NOTHINGS)])
        case "missing":
            kept = set(result.value) - {rng.choice(list(values))}
            return replace(result, value={name: result.value[name] for name in kept})
        case "extra":
            name = rng.choice(["absent", "", "\ud800", "\x1b[2J", "__proto__", 7])
            return replace(result, value=result.value | {name: rng.choice(["no GPU", 1, None])})
        case "part":
            name = rng.choice(list(values))
            return replace(result, value=result.value | {name: rng.choice(values[name])})


TRIAL = {
    "metric": [*NO_TEXTS, "loss", "", "bits_per_byte\0", "accuracy " * 10**5],
    "value": [*NO_NUMBERS, -1.0, 1e7],
    "items": [None, "items", {}, [None], [[]], [{"document": -1, "value": 1.0}], [{"document": 0, "value": math.nan}]],
    "parameters": NO_WHOLES,
    "hidden": NO_WHOLES,
    "state_bytes": [*NO_NUMBERS, -1.0, 1e300],
    "flops_per_token": [*NO_NUMBERS, -1.0, 1e300],
}
CURVES = [None, "curve", {}, [1], [[1, 2]], [[1, 2, 3, 4]], [["1", 2, 3]], [[1, math.nan, 2]]]
ADMISSION = {
    "admitted": [*NOTHINGS, 1, "yes", False],
    "findings": [None, {}, [None], [{}], [{"gate": "causality", "verdict": "rejected", "reason": "it looks ahead"}],
                 [{"gate": 3, "verdict": "passed"}], [{"gate": "shapes", "verdict": "maybe"}]],
    "measures": [*NOTHINGS, {}, {"parameters": 1}, {"parameters": -1, "state_bytes": 1, "flops_per_token": math.nan}],
}  # fmt: skip


def malformed(job):
    """What a broken worker makes of a job, for the candidates that say so."""
    stated = constants_of(job.payload["source"]) if "NAME = " in job.payload["source"] else {}
    kind = "TRIAL" if job.referee else "ADMISSION"
    if kind not in stated:
        return None
    result, rng = answer(job), rng_of("malformed", kind, stated[kind])
    if kind == "ADMISSION":
        return spoilt(result, rng, ADMISSION)
    if rng.random() < 0.1:
        ended = {"ended": rng.choice(ENDINGS), "reason": rng.choice(["why", "", None])}
        return replace(result, value=ended)
    if rng.random() < 0.1:
        return replace(result, value=result.value | {"curve": rng.choice(CURVES)})
    return spoilt(result, rng, TRIAL)


def test_every_answer_is_an_outcome_and_the_run_completes(tmp_path):
    sources = [candidate(f"t{i}", TRIAL=i) for i in range(TRIALS)]
    sources += [candidate(f"a{i}", ADMISSION=i) for i in range(ADMISSIONS)]
    sources += [candidate("honest", GAIN=0.3)]
    stages = dict(
        explore=Stage(tasks=("text",)), verify=Stage(tasks=("text",), seeds=2, top=1), confirm=None, novelty=()
    )
    bench = Bench(written(*sources, **stages), tmp_path, tier="smoke")
    bench.run(FakeExecutor(ends=malformed))
    ended = bench.results()
    assert ended.pop("honest")["outcome"].kind == "scored"
    assert {n: o for n, row in ended.items() if (o := row["outcome"]).kind != "crashed"} == {}
    assert len(ended) == TRIALS + ADMISSIONS
    reasons = {row["outcome"].reason for row in ended.values()}
    assert len(reasons) > 60
    assert all(len(reason) < 500 and reason.isprintable() for reason in reasons)

"""Workers that answer nonsense: every answer becomes a recorded outcome, and the run completes."""

import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from asiarc import Stage
from asiarc.audit import PROPERTIES
from asiarc.audit.table import audit_rows
from asiarc.audit.targets import Program
from asiarc.core.seeds import rng_of
from asiarc.engineer.returned import (
    FINGERPRINT_NUMBERS,
    AdmissionShape,
    FingerprintShape,
    PaceShape,
    TrialShape,
    checked,
)
from asiarc.execution import Job, Limits, LocalExecutor, Result
from asiarc.execution.judge import judge

from .fakes import Bench, FakeExecutor, answer, candidate, constants_of, written

EXECUTION = Path(__file__).parents[1] / "execution"
TRIALS, ADMISSIONS = 200, 40
PARTS = 5  # a run's time grows faster than the number of its candidates
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
    "parts_wall_s": [*NO_NUMBERS, (None,), (1.0, math.nan), (-1.0,)],
    "energy_j": [*filter(None, NO_NUMBERS), -1.0],
    "gpu_memory_bytes": [*filter(None, NO_WHOLES)],
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


@pytest.mark.parametrize("part", range(PARTS))
def test_every_answer_is_an_outcome_and_the_run_completes(tmp_path, part):
    sources = [candidate(f"t{i}", TRIAL=i) for i in range(part, TRIALS, PARTS)]
    sources += [candidate(f"a{i}", ADMISSION=i) for i in range(part, ADMISSIONS, PARTS)]
    sources += [candidate("honest", GAIN=0.3)]
    stages = dict(
        explore=Stage(tasks=("text",)), verify=Stage(tasks=("text",), seeds=2, top=1), confirm=None, novelty=()
    )
    bench = Bench(written(*sources, **stages), tmp_path, tier="smoke")
    bench.run(FakeExecutor(ends=malformed))
    ended = bench.results()
    assert ended.pop("honest")["outcome"].kind == "scored"
    assert {n: o for n, row in ended.items() if (o := row["outcome"]).kind != "crashed"} == {}
    assert len(ended) == (TRIALS + ADMISSIONS) / PARTS
    reasons = {row["outcome"].reason for row in ended.values()}
    assert len(reasons) > 60 / PARTS
    assert all(len(reason) < 500 and reason.isprintable() for reason in reasons)


SANDBOXED = [
    ("ends_by_signal", {"signal": 40}, "ended by signal 40"),
    ("ends_by_signal", {"signal": 64}, "ended by SIGRTMAX"),
    ("ends_by_signal", {"signal": 9}, "ended by SIGKILL"),
    ("prints_and_ends", {"text": "\x1b]0;owned\x07\x1b[2J\r\x9b31m", "code": 255}, "exit code 255"),
    ("prints_and_ends", {"text": "\udc80\ud800", "code": 0}, "no result"),
    ("raises_text", {"text": "\x1b[31m\u202e\x00" * 5000}, "ValueError: \N{REPLACEMENT CHARACTER}[31m"),
    ("echo", {"metric": "bits_per_byte", "value": "2.5"}, "value is a str, a valid number is asked for"),
    ("echo", {"absent": "no GPU here", "ended": "unscored"}, "ended is a str"),
    ("echo", {"value": 2**70}, "not plain JSON"),
    ("echo", {"value": "\udc80"}, "not plain JSON"),
]


def test_a_campaign_over_real_workers_completes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXECUTION)
    monkeypatch.setenv("PYTHONPATH", str(EXECUTION), prepend=os.pathsep)

    def in_the_sandbox(job):
        number = constants_of(job.payload["source"]).get("NUMBER") if "NAME = " in job.payload["source"] else None
        if number is None or not job.referee:
            return None
        function, payload, _ = SANDBOXED[number]
        return real.run([Job(f"sandbox_jobs:{function}", payload, Limits(wall_s=60, cpu_s=60))])[0]

    sources = [candidate(f"c{i}", NUMBER=i) for i in range(len(SANDBOXED))] + [candidate("honest", GAIN=0.3)]
    bench = Bench(written(*sources, explore=Stage(tasks=("text",)), verify=None, confirm=None), tmp_path, tier="smoke")
    with LocalExecutor(workers=1, preload=("sandbox_jobs",), readable=[EXECUTION]) as real:
        bench.run(FakeExecutor(ends=in_the_sandbox))
    ended = {name: row["outcome"] for name, row in bench.results().items()}
    assert ended.pop("honest").kind == "scored"
    for number, (_, _, said) in enumerate(SANDBOXED):
        outcome = ended[f"c{number}"]
        assert outcome.kind == "crashed" and said in outcome.reason
        assert outcome.reason.replace("\n", "").isprintable() and len(outcome.reason) <= 6100


ACCOUNT = {
    "signal": 0, "code": 0, "timed_out": False, "wall_s": 0.1, "cpu_s": 0.1, "peak_memory_bytes": 1, "tail": "",
    "kind": "V", "held": ["session"], "forged": False, "too_large": False,
}  # fmt: skip
IN_JSON = [None, True, 3, -1, 2**70, 1.5, "text", "\x1b[2J", [], [1], {}, {"a": 1}, "R", "F"]
NO_JSON = ["NaN", "-Infinity", "1e999", '"\\ud800"', "[" * 5000, "{", "", '"', "9" * 5000, "tru", "\\u0000"]


@pytest.mark.parametrize("part", ["account", "verdict"])
def test_two_hundred_malformed_accounts_are_results(part):
    """Whatever the line says, and whatever follows it: `judge` has an answer that the archive can keep."""
    for number in range(TRIALS):
        rng = rng_of("account", part, number)
        line = dict(ACCOUNT) if part == "account" else {"value": {"a": 1}, "failure": "", "cpu_s": 1.0}
        name = rng.choice([*line, "more"])
        text = json.dumps(line | {name: rng.choice(IN_JSON)})
        if rng.random() < 0.4:
            text = json.dumps(line | {name: "HERE"}).replace('"HERE"', rng.choice(NO_JSON))
        spoilt_line = text.encode()[: rng.choice([None, None, None, -1, 0, 5])] + rng.choice([b"", b"", b"\xff", b"\0"])
        lines = [b"null", spoilt_line] if part == "account" else [spoilt_line, json.dumps(ACCOUNT).encode()]
        after = rng.choice([b'{"value": 1.0}', b"", b"\xff\xfe", b'{"type": 3}', b"[]", b"{" * 9000])
        result = judge(b"\n".join([*lines, after]), Limits())
        assert result.status in ("ok", "crashed", "out_of_memory", "timed_out", "infrastructure")
        assert result.status == "ok" or result.value is None
        assert result.reason.isprintable() and len(result.reason) < 500
        json.dumps(asdict(result), allow_nan=False)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (TrialShape, {"ended": "rejected", "gate": "streaming", "reason": "it looks ahead"}),
        (TrialShape, {"ended": "diverged", "reason": "the loss is not a number", "curve": [], "parameters": 12}),
        (FingerprintShape, {"fingerprint": [0.5] * FINGERPRINT_NUMBERS}),
        (FingerprintShape, {"fingerprint": None}),
        (PaceShape, {"ratio": 1.5, "low": 1.0, "high": 2.0, "pairs": 10, "verdict": "slower", "reason": ""}),
        (PaceShape, {"ratio": None, "low": None, "high": None, "pairs": 0, "verdict": "not measured",
                     "reason": "noise"}),
        (AdmissionShape, {"admitted": False, "measures": None, "findings": [
            {"gate": "causality", "verdict": "rejected", "reason": "it looks ahead", "example": {"cuts": [1, 2]}}]}),
    ],
)  # fmt: skip
def test_what_is_returned_today_passes_as_it_is(shape, value):
    assert checked(Result("ok", value), shape) == Result("ok", value)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (FingerprintShape, {"fingerprint": [0.5] * (FINGERPRINT_NUMBERS - 1)}),
        (FingerprintShape, {"fingerprint": [1e9] * FINGERPRINT_NUMBERS}),
        (FingerprintShape, {"fingerprint": "0.5" * 16}),
        (FingerprintShape, {}),
        (PaceShape, {"ratio": None, "low": 2.0, "high": 2.0, "pairs": 10, "verdict": "slower"}),
        (PaceShape, {"ratio": 1.0, "low": -1.0, "high": 2.0, "pairs": 10, "verdict": "slower"}),
        (TrialShape, {"ended": "rejected", "reason": "no gate"}),
        (TrialShape, {"ended": "size", "reason": ""}),
    ],
)
def test_what_only_looks_like_it_is_a_crash(shape, value):
    result = checked(Result("ok", value), shape)
    assert (result.status, result.value) == ("crashed", None)
    assert result.reason.startswith(
        f"the result is not what a {shape.__name__.removesuffix('Shape').lower()} returns: "
    )


def test_quoted_text_is_shown_and_not_obeyed():
    finding = {"gate": "shapes", "verdict": "rejected", "reason": "\x1b[2Jraised \ud800\x07 in\n\tline 3"}
    result = checked(Result("ok", {"admitted": False, "findings": [finding], "measures": None}), AdmissionShape)
    mark = "\N{REPLACEMENT CHARACTER}"
    assert result.value["findings"][0]["reason"] == f"{mark}[2Jraised {mark}{mark} in\n\tline 3"


EXAMINED = {"properties": dict.fromkeys(PROPERTIES, True), "reasons": {}, "failure": ""}
NAMED = {"gate": "", "reason": "", "warnings": []}


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, {"properties": {}}, EXAMINED | {"properties": {"causal": True}}, EXAMINED | NAMED | {"gate": 3},
        EXAMINED | {"properties": dict.fromkeys(PROPERTIES, "yes")}, EXAMINED | NAMED | {"warnings": "none"},
        EXAMINED | {"dead_parameters": [1]}, EXAMINED | {"reasons": []}, EXAMINED | {"failure": None},
    ],
)  # fmt: skip
def test_a_malformed_examination_is_a_row_of_the_audit(value):
    program = Program(0, "mixer", "candidate", {"program": ""})
    examiner = FakeExecutor(ends=lambda _: Result("ok", value, cpu_s=1.0))
    (row,) = audit_rows([program], examiner)
    assert row["verdict"] == "rejected" and row["reason"].startswith("crashed: the ")
    examiner = FakeExecutor(ends=lambda _: Result("ok", EXAMINED | NAMED, cpu_s=1.0))
    assert audit_rows([program], examiner)[0]["verdict"] == "admitted"

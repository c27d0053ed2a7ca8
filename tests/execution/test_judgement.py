"""The parts that face what a hostile process may send, without a process: judgement, frames, the call filter."""

import ast
import dataclasses
import itertools
import json
import math
import signal
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.outcome import Outcome
from asiarc.core.plain import plain
from asiarc.execution import Limits, frames, seccomp
from asiarc.execution.attempt import Caught, attempt, raised_by
from asiarc.execution.judge import account_result

LIMITS = Limits(wall_s=2, cpu_s=3, result_bytes=1000)
CALM = {
    "signal": 0, "code": 0, "timed_out": False, "wall_s": 0.1, "cpu_s": 0.1, "peak_memory_bytes": 1, "tail": "",
    "kind": "V", "held": ["session"], "forged": False, "too_large": False,
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def judged(text, **account):
    return account_result(json.dumps(CALM | account).encode() + b"\n" + text, LIMITS)


@given(st.dictionaries(st.text("abc"), JSON, max_size=3))
def test_json_objects_pass_unchanged(value):
    result = judged(json.dumps(value).encode())
    if len(json.dumps(value)) <= LIMITS.result_bytes:
        assert result.status == "ok"
        assert result.value == value
    else:
        assert result.status == "crashed"


@given(st.binary(max_size=300), st.sampled_from(["V", "F", "R", "", "?"]))
def test_no_bytes_upset_the_judge(text, kind):
    result = judged(text, kind=kind)
    assert result.status in ("ok", "crashed", "out_of_memory")
    assert (result.value is None) == (result.status != "ok")
    json.dumps(dataclasses.asdict(result), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text",
    [
        b'{"x": NaN}', b'{"x": Infinity}', b'{"x": -Infinity}', b'{"x": 1e999}', b"[1]", b"1", b"null", b"", b"{",
        b'{"x": "\\ud800"}', b'{"x": "\\uDFFF"}', b'{"\\ud800": 1}', b'{"x": ' + b"9" * 5000 + b"}", b"\xff{}",
        b"[" * 900, b'{"x":1}{"y":2}',
    ],
)  # fmt: skip
def test_what_is_not_plain_json_is_a_crash(text):
    result = account_result(json.dumps(CALM).encode() + b"\n" + text, Limits(result_bytes=10**5))
    assert (result.status, result.value) == ("crashed", None)


@pytest.mark.parametrize(
    ("account", "status", "says"),
    [
        ({"timed_out": True, "signal": signal.SIGKILL}, "timed_out", "exceeded 2 s of wall time"),
        ({"signal": signal.SIGXCPU, "cpu_s": 3.0}, "timed_out", "exceeded 3 s of CPU time"),
        ({"signal": signal.SIGKILL, "cpu_s": 4.0}, "timed_out", "exceeded 3 s of CPU time"),
        ({"signal": signal.SIGKILL, "cpu_s": 0.1}, "crashed", "SIGKILL"),
        ({"signal": signal.SIGXCPU, "cpu_s": 0.1}, "crashed", "SIGXCPU"),
        ({"signal": signal.SIGABRT, "tail": "std::bad_alloc"}, "out_of_memory", "SIGABRT"),
        ({"forged": True}, "crashed", "forged"),
        ({"too_large": True}, "crashed", "larger than 1000 bytes"),
        ({"kind": "", "code": 3}, "crashed", "exit code 3 and no result"),
        ({"kind": "", "held": []}, "infrastructure", "did not start"),
    ],
)
def test_each_account_has_its_verdict(account, status, says):
    result = judged(b"{}", **account)
    assert result.status == status
    assert says in result.reason
    assert result.value is None


def test_a_broken_supervisor_is_our_fault():
    assert account_result(b'{"broken": "status 9"}\n', LIMITS).status == "infrastructure"


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(1, 30), min_size=1))
def test_messages_survive_any_cut(messages, cuts):
    stream, calls = bytearray(), itertools.count()

    def write_a_little(_, data):
        count = min(len(data), cuts[next(calls) % len(cuts)])
        stream.extend(data[:count])
        return count

    for message in messages:
        frames.send(-1, message, write=write_a_little)
    buffer, found = bytearray(), []
    for byte in bytes(stream):
        buffer.append(byte)
        while (message := frames.take(buffer)) is not None:
            found.append(message)
    assert found == messages
    assert not buffer


ROOT = Path(__file__).parents[2]


def catches_all(file):
    """The lines of a file that catch whatever is raised."""
    for node in ast.walk(ast.parse(file.read_text())):
        kinds = []
        if isinstance(node, ast.ExceptHandler):
            kinds = [node.type or ast.Name("BaseException")]
        elif isinstance(node, ast.Call) and "suppress" in ast.unparse(node.func):
            kinds = node.args
        if {getattr(n, "id", "") for kind in kinds for n in ast.walk(kind)} & {"Exception", "BaseException"}:
            yield f"{file.relative_to(ROOT)}:{node.lineno}"


def test_one_place_in_the_project_catches_everything():
    folders = ("asiarc", "kernels", "campaigns", "reproductions")
    files = [ROOT / "conftest.py", ROOT / "noxfile.py", *(f for name in folders for f in (ROOT / name).rglob("*.py"))]
    places = [place for file in files for place in catches_all(file)]
    assert [place.partition(":")[0] for place in places] == ["asiarc/execution/attempt.py"], places


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_whatever_is_raised_comes_back_as_it_was(error):
    def fail():
        raise error

    assert raised_by(fail) == (None, error)
    assert raised_by(lambda: 3) == (3, None)


def test_attempt_reports_a_value_or_a_failure():
    assert attempt(lambda: 3) == (3, None)
    value, failure = attempt(lambda: 1 / 0)
    assert value is None
    assert str(failure).startswith("ZeroDivisionError: division by zero (at test_judgement.py:")


@pytest.mark.parametrize(
    ("error", "out_of_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ValueError("out of memory"), False),
        (RuntimeError("shapes"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, out_of_memory):
    def fail():
        raise error

    assert attempt(fail)[1].out_of_memory is out_of_memory


def test_long_messages_are_cut():
    def fail():
        raise ValueError("x" * 10**6)

    assert len(str(attempt(fail)[1])) < 5000
    assert Caught("A").message == "(cannot be described)"


@given(st.text(st.characters(), max_size=80), st.integers(10, 60))
def test_plain_text_commands_nothing_and_stays_as_it_is(text, longest):
    shown = plain(text, longest)
    assert len(shown) <= longest
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert plain(shown, longest) == shown
    assert shown == text or len(text) > longest or not text.replace("\n", "").replace("\t", "").isprintable()


def test_an_outcome_shows_what_it_quotes():
    outcome = Outcome("rejected", "\x1b[2J\ud800 says\nso", "static\x07")
    mark = "\N{REPLACEMENT CHARACTER}"
    assert (outcome.reason, outcome.gate) == (f"{mark}[2J{mark} says\nso", f"static{mark}")


# ---------------------------------------------------------------- the filter, run by an interpreter of its own


def answer(program, number, *arguments, machine=0xC000003E):
    """What a BPF program says to a system call: a second, independent reading of its instructions."""
    data = struct.pack("IIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    at = accumulator = 0
    while True:
        code, if_true, if_false, k = struct.unpack_from("HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x06:
            return {0x7FFF0000: "allow", 0x50001: "EPERM", 0x50002: "ENOENT", 0x50026: "ENOSYS"}[k]
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            at += if_true if holds else if_false


@pytest.fixture
def on_x86(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.parametrize("processes", [0, 4])
def test_the_filter_decides_as_it_says(on_x86, processes):
    program = seccomp._filter(processes, pid=77)
    read, socket, ptrace, fork, clone, clone3, kill, prlimit = 0, 41, 101, 57, 56, 435, 62, 302
    free = processes > 0
    assert {answer(program, n) for n in (read, 9, 1, 3, 202, 231, 257)} == {"allow"}
    assert {answer(program, n) for n in (socket, ptrace, 165, 272, 321, 425, 319)} == {"EPERM"}
    assert answer(program, fork) == ("allow" if free else "ENOENT")
    assert answer(program, clone, 0x10000 | 0x100) == "allow", "threads"
    assert answer(program, clone, 17) == ("allow" if free else "ENOENT"), "processes"
    assert answer(program, clone, 0x10000000 | 17) == ("EPERM" if free else "ENOENT"), "processes in a new namespace"
    assert answer(program, clone3) == "ENOSYS", "its flags are out of sight"
    assert answer(program, kill, 77) == "allow"
    assert answer(program, kill, 1) == ("allow" if free else "EPERM")
    assert answer(program, kill, 2**32 - 1) == ("allow" if free else "EPERM"), "everybody"
    assert [answer(program, prlimit, pid) for pid in (0, 77, 1)] == ["allow", "allow", "EPERM"]
    assert answer(program, read, machine=0x40000003) == "EPERM", "32-bit calls"
    assert answer(program, 0x40000000 | read) == "EPERM", "x32 calls"


@pytest.mark.parametrize(
    ("call", "refused", "allowed"),
    [
        (72, [(3, 6), (3, 8), (3, 37), (3, 1024), (3, 1026), (3, 1031)], [(3, 1), (3, 4), (3, 1030)]),  # fcntl
        (16, [(1, 0x5412), (1, 0x8901), (1, 0x40086602), (1, 0x4611)], [(1, 0x5401), (1, 0x541B)]),  # ioctl
        (9, [(0, 0, 3, 0x40022)], [(0, 0, 3, 0x22)]),  # mmap of huge pages
        (257, [(0, 0, 0x101041), (0, 0, 0x1001)], [(0, 0, 0x80041)]),  # openat for synchronous writing
        (157, [(1,), (22,), (4,)], [(15,), (16,)]),  # prctl
        (121, [(1,)], [(0,), (77,)]),  # getpgid
    ],
)
def test_what_of_a_call_is_allowed(on_x86, call, refused, allowed):
    program = seccomp._filter(0, pid=77)
    assert {answer(program, call, *arguments) for arguments in refused} == {"EPERM"}
    assert {answer(program, call, *arguments) for arguments in allowed} == {"allow"}


def test_a_gpus_requests_pass_where_there_is_one_and_a_terminals_never(on_x86):
    program = seccomp._filter(0, pid=77, gpu=True)
    nvidia, uvm, kfd, terminal, file = 0xC020462A, 0x30000001, 0x80084B01, 0x5412, 0x40086602
    assert [answer(program, 16, 5, request) for request in (nvidia, uvm, kfd)] == ["allow"] * 3
    assert [answer(program, 16, 5, request) for request in (terminal, file)] == ["EPERM"] * 2


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_is_not_named_is_refused(monkeypatch, machine):
    """Nothing is allowed by being unheard of; calls younger than the table are said not to be there."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    program, architecture = seccomp._filter(0, 77), seccomp._AUDIT_ARCH[machine]
    named = set(seccomp._numbers(list(seccomp._AUDIT_ARCH).index(machine)).values())
    others = set(range(seccomp._UNKNOWN)) - named
    assert len(others) > 250 and len(named) > 100
    assert {answer(program, number, machine=architecture) for number in others} == {"EPERM"}
    assert {answer(program, number, machine=architecture) for number in (450, 600, 2**30 - 1)} == {"ENOSYS"}


def test_the_filter_knows_its_machines(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert answer(seccomp._filter(0, 1), 198, machine=0xC00000B7) == "EPERM"
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64"):
        seccomp._filter(0, 1)


def test_finite_only():
    assert judged(b'{"x": 1.5e308}').value == {"x": 1.5e308}
    assert math.isfinite(judged(b'{"x": 5e-324}').value["x"])

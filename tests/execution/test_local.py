"""`LocalExecutor`: what comes back, in which order, from whom, and what is left behind."""

import contextlib
import fcntl
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from asiarc.core.errors import ExecutionError
from asiarc.execution import InlineExecutor, Job, Limits, LocalExecutor, doctor
from asiarc.execution.layers import _KINDS, LAYERS, not_held
from asiarc.execution.local import gpus_of
from asiarc.tasks.documents import keep_documents
from asiarc.tasks.keep import own_folder
from asiarc.tasks.rendering import Rendered

HERE = Path(__file__).parent


def zygotes():
    children = psutil.Process().children()
    return [p for p in children if "asiarc.execution.zygote" in " ".join(p.cmdline())]


@pytest.fixture
def new_workers():
    """The workers that were started since the test began, as the machine lists them."""
    before = zygotes()
    return lambda: [p for p in zygotes() if p not in before]


def test_jobs_return_in_their_order(executor, job):
    results = executor.run([job("echo", {"i": i}) for i in range(7)])
    assert [r.value for r in results] == [{"i": i} for i in range(7)]
    assert {r.status for r in results} == {"ok"}
    assert all(r.reason == "" and r.wall_s > 0 and "rlimits" in r.layers for r in results)


def test_no_jobs_no_workers(job):
    with LocalExecutor(preload=()) as executor:
        assert executor.run([]) == []
        assert executor._pool == []


def test_results_are_delivered_as_they_come_in_the_calling_thread(executor, job, tmp_path):
    go, seen = tmp_path / "go", []

    def on_result(index, result):
        seen.append((index, threading.current_thread() is threading.main_thread()))
        if index == 1:  # job 0 was started before it and ends only now
            go.touch()

    with LocalExecutor(workers=2, preload=(), readable=[HERE, tmp_path]) as two:
        results = two.run([job("wait_for", {"path": str(go)}), job("echo", {"i": 1})], on_result)
    assert seen == [(1, True), (0, True)]
    assert [r.status for r in results] == ["ok", "ok"]


def test_an_error_of_the_caller_ends_the_run_and_the_jobs(job, tmp_path, new_workers):
    def on_result(index, result):
        raise OSError("disk full")

    with LocalExecutor(workers=2, preload=(), readable=[HERE, tmp_path]) as executor:
        with pytest.raises(OSError, match="disk full"):
            executor.run([job("wait_for", {"path": str(tmp_path / "never")}), job("echo")], on_result)
        assert new_workers() == []
        assert executor.run([job("echo", {"again": 1})])[0].value == {"again": 1}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_no_result(workers, job):
    with LocalExecutor(workers=workers, preload=(), readable=[HERE]) as executor:
        results = executor.run([job("allocate", {"bytes": 10 + i}) for i in range(6)])
        orders = executor.run([job("state_of_things")] * 6)
    assert [r.value for r in results] == [{"sum": sum(i * i for i in range(200_000))}] * 6
    assert len({tuple(r.value["order"]) for r in orders}) == 1, "the order of sets differs between workers"


def test_a_job_finds_nothing_of_the_job_before_it(job):
    with LocalExecutor(workers=1, preload=("sandbox_jobs",), readable=[HERE]) as executor:
        first, second = (r.value for r in executor.run([job("state_of_things")] * 2))
    assert (first["calls"], first["files"]) == (second["calls"], second["files"]) == (0, [])
    assert "LEFT" not in second["environment"]
    assert second["home"] == second["cwd"] != first["cwd"]


def test_keys_stay_outside(monkeypatch, job, new_workers):
    secrets = ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK")
    for name in secrets:
        monkeypatch.setenv(name, "sk-planted")
    with LocalExecutor(workers=1, preload=(), readable=[HERE]) as executor:
        seen = executor.run([job("state_of_things")])[0].value["environment"]
        zygote = new_workers()[0].environ()
    assert not set(secrets) & set(seen)
    assert "sk-planted" not in zygote.values()


def test_a_named_file_can_be_read(job, tmp_path):
    text = tmp_path / "text"
    text.write_text("words")
    with LocalExecutor(workers=1, preload=(), readable=[HERE, text]) as executor:
        assert executor.run([job("opens", {"path": str(text)})])[0].value == {"text": "words"}


def test_spending_is_measured(executor, job):
    small, large = executor.run([job("allocate", {"bytes": n}) for n in (10, 100 << 20)])
    assert 90 << 20 < large.peak_memory_bytes - small.peak_memory_bytes < 120 << 20
    assert large.cpu_s > 0


def test_an_error_of_the_family_keeps_its_words(executor, job):
    result = executor.run([job("fails_like_a_user")])[0]
    assert result.status == "crashed"
    assert result.reason.startswith("TaskError: unknown task 'txt'. Did you mean 'text'?")


def test_the_reason_shows_the_candidates_line(executor, job):
    source = "import json\nx = [1, 2]\njson.loads('{')\n"
    result = executor.run([job("runs_a_candidate", {"source": source})])[0]
    assert result.status == "crashed"
    assert result.reason.startswith("JSONDecodeError: Expecting property name")
    assert "(at line 3: json.loads('{'))" in result.reason


def test_what_is_not_there_is_our_fault(executor, job):
    for name in ("sandbox_jobs:missing", "no_such_module:run"):
        result = executor.run([Job(name, {})])[0]
        assert result.status == "infrastructure"
        assert name.split(":")[0] in result.reason


def test_workers_that_cannot_start_are_our_fault(job):
    delivered = []
    with LocalExecutor(workers=2, preload=("no_such_module",)) as executor:
        results = executor.run([job("echo")] * 3, lambda i, r: delivered.append(i))
    assert {r.status for r in results} == {"infrastructure"}
    assert "no_such_module" in results[0].reason
    assert sorted(delivered) == [0, 1, 2]


def test_a_job_whose_worker_dies_runs_again(job, tmp_path, new_workers):
    go = tmp_path / "go"

    def on_result(index, result):
        if index == 1:
            for worker in new_workers():
                worker.kill()
            go.touch()

    with LocalExecutor(workers=2, preload=(), readable=[HERE, tmp_path]) as executor:
        before = executor.run([job("echo")] * 2) and {p.pid for p in new_workers()}
        results = executor.run([job("wait_for", {"path": str(go)}), job("echo"), job("echo")], on_result)
        assert {r.status for r in results} == {"ok"}
        assert not before & {p.pid for p in new_workers()}


def test_a_job_whose_workers_keep_dying_is_given_up(job, tmp_path, new_workers):
    done = threading.Event()

    def kill_the_busy():
        while not done.wait(0.01):
            with contextlib.suppress(psutil.NoSuchProcess):
                for worker in new_workers():
                    if len(worker.children(recursive=True)) >= 2:  # a supervisor and a job
                        worker.kill()

    killer = threading.Thread(target=kill_the_busy)
    with LocalExecutor(workers=1, preload=(), readable=[HERE, tmp_path]) as executor:
        executor.run([job("echo")])
        killer.start()
        try:
            result = executor.run([job("wait_for", {"path": str(tmp_path / "never")})])[0]
        finally:
            done.set()
            killer.join()
    assert result.status == "infrastructure"
    assert "tried 2 times" in result.reason


def test_nothing_is_left_when_it_closes(job, tmp_path, new_workers):
    with LocalExecutor(workers=2, preload=(), scratch=tmp_path, readable=[HERE]) as executor:
        executor.run([job("state_of_things")] * 3)
        assert all(p.name.startswith("asiarc-") for p in tmp_path.iterdir())
        assert not list(tmp_path.glob("*/job-*"))
    assert new_workers() == []
    assert not list(tmp_path.iterdir())


def test_what_a_killed_harness_left_is_removed_by_the_next(job, tmp_path):
    def left(name, *, held=False, is_new=False):
        folder = tmp_path / name
        (folder / "job-1").mkdir(parents=True)
        when = 4e9 if is_new else 1
        os.utime(folder, (when, when))
        if held:
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return descriptor
        return None

    left("asiarc-worker-abandoned")
    left("asiarc-worker-forming", is_new=True)
    lock = left("asiarc-worker-anothers", held=True)
    left("asiarc-of-somebody")
    (tmp_path / "asiarc-worker-link").symlink_to(tmp_path / "asiarc-of-somebody")
    with LocalExecutor(workers=1, preload=(), scratch=tmp_path, readable=[HERE]) as executor:
        executor.run([job("echo")])
    os.close(lock)
    assert {path.name for path in tmp_path.iterdir()} == {
        "asiarc-worker-forming",
        "asiarc-worker-anothers",
        "asiarc-worker-link",
        "asiarc-of-somebody",
    }
    assert (tmp_path / "asiarc-of-somebody" / "job-1").is_dir()


DRIVER = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import psutil
from asiarc.execution import Job, LocalExecutor
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands it down ignored
here, folder, interrupts = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
seen = []
def on_result(index, result):
    seen.append(index)
    if index == 1:  # job 0 is running: jobs start in their order
        print(json.dumps([p.pid for p in psutil.Process().children(recursive=True)]), flush=True)
        if interrupts == 1:
            (folder / "go").touch()
        for _ in range(interrupts):
            os.killpg(os.getpid(), signal.SIGINT)  # as a terminal does it: to the whole group
wait = Job("sandbox_jobs:wait_for", {"path": str(folder / "go")})
echo = Job("sandbox_jobs:echo", {})
with LocalExecutor(workers=2, preload=(), readable=[here, folder]) as executor:
    try:
        executor.run([wait, echo] if interrupts == 0 else [wait, echo, echo, echo], on_result)
    except KeyboardInterrupt:
        print(json.dumps(seen), flush=True)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def drive(tmp_path, interrupts):
    command = [sys.executable, "-c", DRIVER, str(HERE), str(tmp_path), str(interrupts)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )


def gone(pids):
    alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], timeout=30)[1]
    return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_first_interrupt_finishes_what_runs(tmp_path):
    driver = drive(tmp_path, 1)
    out, err = driver.communicate(timeout=60)
    pids, seen = map(json.loads, out.splitlines())
    assert seen == [1, 0], "job 0 was running and is delivered; jobs 2 and 3 never start"
    assert "Ctrl-C again" in err
    assert driver.returncode == 0
    assert gone(pids)


def test_second_interrupt_ends_everything(tmp_path):
    driver = drive(tmp_path, 2)
    out, _ = driver.communicate(timeout=60)
    pids, seen = map(json.loads, out.splitlines())
    assert seen == [1], "job 0 would never have ended"
    assert driver.returncode == 0
    assert gone(pids)


def test_nothing_outlives_a_killed_driver(tmp_path):
    driver = drive(tmp_path, 0)
    pids = json.loads(driver.stdout.readline())
    assert len(pids) >= 4, "two workers, a supervisor and a job"
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=60)
    assert gone(pids)
    assert not list(tmp_path.glob("asiarc-*")), "nor do its folders"


STARTED = """
import os, signal, sys
from pathlib import Path
from asiarc.execution import Job, LocalExecutor
executor = LocalExecutor(workers=1, preload=(), readable=[Path(sys.argv[1])])
executor._start_worker()
print(executor._pool[0]._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_whose_driver_was_killed_before_it_was_ready_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", STARTED, str(HERE)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == -signal.SIGKILL
    assert gone([int(out)])
    assert not list(tmp_path.glob("asiarc-*"))


def test_torch_is_warm_single_threaded_and_repeatable(torch_executor, job):
    one, two, other = torch_executor.run([job("trains", {"seed": s}) for s in (0, 0, 1)])
    assert one.value == two.value != other.value
    assert one.value["threads"] == 1
    assert torch_executor.run([job("modules")])[0].value == {"torch": True}


def test_the_driver_needs_no_torch(tmp_path):
    code = "import sys, asiarc.execution as e; e.doctor(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_doctor_reports_what_held(executor, job):
    rows = doctor()
    held = executor.run([job("echo")])[0].layers
    assert {name for name, offered, _ in rows if offered} == set(held)
    assert all(detail for _, _, detail in rows)


def test_what_no_layer_holds_is_said():
    everything, few = not_held(LAYERS), not_held(("session", "environment", "rlimits"))
    assert len(everything) == 2, "what is true of every machine"
    assert set(everything) < set(few)
    for kind in ("connections to other machines", "locks and leases on files that others use"):
        assert kind in few and kind not in not_held(("seccomp",))
    assert {layer for holders in _KINDS.values() for layer in holders} <= set(LAYERS)


def test_inline_runs_here_without_a_wall(job, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    seen = []
    with InlineExecutor() as inline:
        results = inline.run([job("echo", {"i": 1}), job("fails_like_a_user")], lambda i, r: seen.append(i))
    assert [r.status for r in results] == ["ok", "crashed"]
    assert results[0].layers == ()
    assert seen == [0, 1]


def test_limits_and_jobs_are_checked():
    with pytest.raises(AssertionError, match="positive"):
        Limits(wall_s=0)
    with pytest.raises(AssertionError, match="module:callable"):
        Job("os.system", {})
    with pytest.raises(AssertionError, match="at least one"):
        LocalExecutor(workers=0)


def test_another_system_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ExecutionError, match=r"Linux.*darwin"):
        LocalExecutor()


def test_a_payload_must_be_json(job):
    with LocalExecutor(workers=1, preload=(), readable=[HERE]) as executor, pytest.raises(ValueError, match="JSON"):
        executor.run([job("echo", {"x": math.nan})])


@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000])
def test_messages_of_any_size_pass(executor, job, size):
    text = "".join(random.Random(size).choices('ab\n"é\\', k=size))
    assert executor.run([job("echo", {"text": text})])[0].value == {"text": text}


def test_of_a_task_of_ones_own_a_job_reads_what_is_trained_on(job, tmp_path, monkeypatch):
    monkeypatch.setenv("ASIARC_CACHE", str(tmp_path / "cache"))
    rows = [{"context": f"{number} is", "target": " even" if number % 2 else " odd"} for number in range(20)]
    found = Rendered("parity", "cloze", "reported", 0.5, {"training": rows, "validation": [], "test": rows[:16]})
    folder = own_folder(keep_documents(found, ""))
    names = ["open.json", "validation.json", "confirmation.json"]
    with LocalExecutor(preload=(), readable=[HERE]) as executor:
        known, *held = executor.run([job("reads", {"path": str(folder / name)}) for name in names])
    assert "18 is odd" in known.value["text"] and "2 is odd" not in known.value["text"]
    if "landlock" not in known.layers:
        pytest.skip("not contained here: needs landlock")
    assert [result.status for result in held] == ["crashed", "crashed"]
    assert all("PermissionError" in result.reason for result in held)


@pytest.mark.parametrize(
    ("seen", "workers", "given"),
    [
        ("0,1", 2, ["0", "1"]),
        ("0,1,2,3", 2, ["0,2", "1,3"]),
        ("5", 3, ["5", "5", "5"]),
        ("GPU-a,GPU-b", 3, ["GPU-a", "GPU-b", "GPU-a"]),
        ("", 1, [None]),
        ("-1", 1, [None]),
    ],
)
def test_every_worker_has_its_share_of_the_gpus_that_are_seen(seen, workers, given, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert [gpus_of(seat, workers) for seat in range(workers)] == given


def test_a_worker_that_takes_anothers_place_has_its_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with LocalExecutor(workers=2, preload=()) as executor:
        for _ in range(2):
            executor._start_worker()
        assert [given(worker) for worker in executor._pool] == ["0", "1"]
        executor._discard(executor._pool[0])
        executor._start_worker()
        assert [given(worker) for worker in executor._pool] == ["1", "0"]


def given(worker):
    """The GPUs in a worker's environment, as the kernel shows it."""
    file = Path(f"/proc/{worker._process.pid}/environ")
    while not (environment := file.read_text()):  # empty between a program's start and its arguments
        pass
    return dict(entry.split("=", 1) for entry in environment.split("\0") if entry)["CUDA_VISIBLE_DEVICES"]

"""Attacks on the sandbox: what a hostile candidate would do, each with the end that it must come to.

An attack is a job's function. One that gets through returns ``{"breached": ...}``; one that is refused ends
as its decorator says: a status, a pattern that the reason must show, the layers of which any one holds it
(none: the process boundary itself does). `NOT_CONTAINED` marks what no layer here holds. All is aimed at the
`Targets` that the caller sets up and at the job's own process; ``python -m tests.rigs sandbox`` runs them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import mmap
import os
import platform
import re
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asiarc.execution.job import MIB, Job, Limits, Result, Status
from asiarc.execution.layers import gpu_devices

Payload = dict[str, Any]
ECHO = "asiarc.execution.job:echo"
"""No attack: returns its payload, to show that the worker still serves."""
MODULE = __name__
"""What a worker must have imported before its jobs can be attacks: the sandbox does not let them read this file."""
NOT_CONTAINED = ("(nothing in one process)",)
GPU = "a GPU"  # no layer: an attack that is aimed at one needs one
_SHORT = Limits(wall_s=20, cpu_s=20, memory_bytes=512 * MIB, file_bytes=8 * MIB, result_bytes=MIB)


@dataclass(frozen=True)
class Attack:
    """What must become of one attack; `held_by` names the layers of which any one suffices."""

    name: str
    does: str
    ends: Status
    reason: str
    held_by: tuple[str, ...]
    limits: Limits

    def job(self, targets: Targets) -> Job:
        """The attack as a job, aimed at these targets."""
        return Job(f"{__name__}:{self.name}", targets.payload, self.limits, self.name)

    def contained(self, layers: tuple[str, ...]) -> bool:
        """Whether these layers hold it; where they do not, it is not to be run."""
        here = {*layers, *([GPU] if gpu_devices() else [])}
        return not self.held_by or bool(set(self.held_by) & here)

    def breached(self, result: Result) -> str:
        """What is wrong with how it ended; empty if it ended as it must."""
        if result.status == self.ends and re.search(self.reason, result.reason):
            return ""
        what = f"{result.status} {result.value or ''} {result.reason}"
        return f"ended as {what}, not as {self.ends} ({self.reason})"


ATTACKS: dict[str, Attack] = {}


def _attack(
    ends: Status, reason: str = "", *held_by: str, **limits: Any
) -> Callable[[Callable[[Payload], Payload]], Callable[[Payload], Payload]]:
    def register(function: Callable[[Payload], Payload]) -> Callable[[Payload], Payload]:
        name, bounds = function.__name__, Limits(**vars(_SHORT) | limits)
        ATTACKS[name] = Attack(name, (function.__doc__ or "").strip(), ends, reason, held_by, bounds)
        return function

    return register


@dataclass(frozen=True)
class Targets:
    """What the attacks aim at, all of it outside the scratch folder and all of it the driver's own."""

    folder: Path
    tcp_port: int
    abstract: str

    @property
    def payload(self) -> Payload:
        """As an attack gets it."""
        return {
            "folder": str(self.folder),
            "secret": str(self.folder / "secret"),
            "archive": str(self.folder / "archive.sqlite"),
            "unix": str(self.folder / "socket"),
            "abstract": self.abstract,
            "tcp": self.tcp_port,
            "driver": os.getpid(),
        }

    def harm(self) -> str:
        """What an attack did to the folder; empty if it is as it was."""
        secret = self.folder / "secret"
        names = sorted(path.name for path in self.folder.iterdir())
        if names != ["archive.sqlite", "secret", "socket"]:
            return f"the folder holds {names}"
        if secret.read_text() != "sesame" or secret.stat().st_mode & 0o777 != 0o644:
            return "the secret was touched"
        return ""


@contextlib.contextmanager
def targets() -> Iterator[Targets]:
    """A folder with a secret and an archive, three listening sockets, a key in this process's environment."""
    with tempfile.TemporaryDirectory(prefix="asiarc-targets-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "secret").write_text("sesame")
        (folder / "secret").chmod(0o644)
        archive = sqlite3.connect(folder / "archive.sqlite")
        archive.execute("CREATE TABLE trials (value)")
        archive.close()
        abstract = f"\0asiarc-{folder.name}"
        tcp, unix, hidden = (
            stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        )
        for listener, address in ((tcp, ("127.0.0.1", 0)), (unix, str(folder / "socket")), (hidden, abstract)):
            listener.bind(address)
            listener.listen()
        before = os.environ.get("OPENAI_API_KEY")
        os.environ["OPENAI_API_KEY"] = "sk-planted"
        try:
            yield Targets(folder, tcp.getsockname()[1], abstract)
        finally:
            del os.environ["OPENAI_API_KEY"]
            if before is not None:
                os.environ["OPENAI_API_KEY"] = before


def _libc(name: str, *arguments: Any) -> int:
    """Call the C library past Python; `OSError` where it fails."""
    result = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


# ---------------------------------------------------------------- time


@_attack("timed_out", "wall time", wall_s=0.3)
def loops_in_python(_: Payload) -> Payload:
    """Never ends."""
    while True:
        pass


@_attack("timed_out", "wall time", wall_s=0.3)
def loops_in_c(_: Payload) -> Payload:
    """Never ends, in C, where no Python signal handler would run."""
    return {"breached": sum(itertools.repeat(0))}


@_attack("timed_out", "wall time", wall_s=0.3)
def sleeps(_: Payload) -> Payload:
    """Never ends, and costs no CPU time."""
    threading.Event().wait()
    return {"breached": "woke"}


@_attack("timed_out", "CPU time", "rlimits", cpu_s=1)
def ignores_the_cpu_limit(_: Payload) -> Payload:
    """Ignores the signal that announces the CPU limit."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


@_attack("timed_out", "wall time", wall_s=0.3)
def ignores_signals(_: Payload) -> Payload:
    """Ignores every signal that can be ignored, and never ends."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()


@_attack("timed_out", "wall time", wall_s=0.3)
def stops_itself(_: Payload) -> Payload:
    """Stops its own process, so that it neither runs nor ends."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return {"breached": "went on"}


# ---------------------------------------------------------------- ends without a result


@_attack("crashed", "no result")
def exits_silently(_: Payload) -> Payload:
    """Ends its process as if all were well."""
    os._exit(0)


@_attack("crashed", "SystemExit")
def raises_system_exit(_: Payload) -> Payload:
    """Leaves through SystemExit."""
    sys.exit(0)


@_attack("crashed", "KeyboardInterrupt")
def raises_keyboard_interrupt(_: Payload) -> Payload:
    """Pretends that the user pressed Ctrl-C."""
    raise KeyboardInterrupt


@_attack("crashed", "SIGKILL")
def kills_itself(_: Payload) -> Payload:
    """SIGKILL to itself."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {"breached": "survived"}


@_attack("crashed", "SIGSEGV")
def reads_null(_: Payload) -> Payload:
    """Reads address 0."""
    return {"breached": str(ctypes.string_at(0))}


@_attack("crashed", "SIGABRT")
def aborts(_: Payload) -> Payload:
    """Aborts in C."""
    os.abort()


@_attack("crashed", "SIGSEGV|RecursionError")
def overflows_the_stack(_: Payload) -> Payload:
    """Recurses until the C stack ends."""
    sys.setrecursionlimit(10**9)
    nested: list[Any] = []
    for _level in range(2 * 10**5):
        nested = [nested]
    return {"breached": len(repr(nested))}


@_attack("crashed", "cannot be described")
def raises_what_cannot_be_printed(_: Payload) -> Payload:
    """An exception whose text raises in turn, and whose class lies about its name."""

    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise SystemExit("from the name")

    class Evil(Exception, metaclass=Meta):  # noqa: N818
        def __str__(self) -> str:
            raise KeyboardInterrupt("from the text")

    raise Evil


# ---------------------------------------------------------------- processes and threads


@_attack("crashed", "FileNotFoundError", "seccomp")
def fork_bombs(_: Payload) -> Payload:
    """Forks for ever."""
    while True:
        os.fork()


@_attack("timed_out", "wall time", "cgroup", "rlimit_nproc", wall_s=0.5, processes=16)
def fork_bombs_where_forks_are_allowed(_: Payload) -> Payload:
    """Forks for ever in a job that may start processes."""
    started = 0
    while started < 200:
        with contextlib.suppress(OSError):
            started += os.fork() > 0
    return {"breached": f"{started} children of one process alone"}


@_attack("crashed", "start new thread|Cannot allocate|MemoryError", "rlimits")
def thread_bombs(_: Payload) -> Payload:
    """Starts threads for ever."""
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()


@_attack("ok", "", "pid_namespace", "session", processes=8)
def leaves_an_orphan(_: Payload) -> Payload:
    """A grandchild in a session of its own ignores SIGTERM and outlives the job's process."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.write(write, b"alive")
            while True:
                signal.pause()
        os._exit(0)
    return {"orphan": os.read(read, 5).decode()}


@_attack("crashed", "FileNotFoundError", "seccomp")
def starts_a_shell(_: Payload) -> Payload:
    """Runs a program."""
    return {"breached": subprocess.run(["/bin/sh", "-c", "id"], capture_output=True, text=True).stdout}


@_attack("crashed", "FileNotFoundError", "seccomp")
def becomes_a_shell(_: Payload) -> Payload:
    """Replaces its process by a program."""
    os.execv("/bin/sh", ["sh", "-c", "true"])


@_attack("crashed", "PermissionError|ProcessLookupError", "seccomp", "pid_namespace", "landlock")
def signals_the_harness(payload: Payload) -> Payload:
    """Reaches for the harness's process."""
    os.kill(payload["driver"], 0)
    return {"breached": "the harness can be signalled"}


@_attack("crashed", "PermissionError|ProcessLookupError", "seccomp")
def signals_its_supervisor(_: Payload) -> Payload:
    """Reaches for the process that watches its time."""
    os.kill(os.getppid(), signal.SIGSTOP)
    return {"breached": "the supervisor can be signalled"}


@_attack("crashed", "PermissionError", "seccomp")
def signals_everybody(_: Payload) -> Payload:
    """Ends every process that it may."""
    os.kill(-1, signal.SIGTERM)
    return {"breached": "signals went out"}


@_attack("crashed", "PermissionError", "seccomp")
def signals_by_a_file(_: Payload) -> Payload:
    """Has the kernel send the supervisor a signal whenever a pipe can be read: no call of `kill` at all."""
    read, write = os.pipe()
    fcntl.fcntl(read, 10, signal.SIGCONT)  # F_SETSIG
    fcntl.fcntl(read, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC)
    os.write(write, b"x")
    return {"breached": "sent"}


@_attack("crashed", "PermissionError", "seccomp")
def slows_its_supervisor(_: Payload) -> Payload:
    """Gives the process that watches its time the lowest priority."""
    os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)
    return {"breached": "slowed"}


@_attack("crashed", "PermissionError", "seccomp")
def moves_its_supervisor(_: Payload) -> Payload:
    """Pins the process that watches its time to one core, where it can be crowded out."""
    os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})
    return {"breached": "pinned"}


# ---------------------------------------------------------------- memory


@_attack("out_of_memory", "", "rlimits")
def fills_memory(_: Payload) -> Payload:
    """Allocates for ever."""
    kept = []
    while True:
        kept.append(bytearray(32 * MIB))


@_attack("out_of_memory", "allocate", "rlimits")
def makes_a_huge_tensor(_: Payload) -> Payload:
    """50 GB in one tensor."""
    import torch

    return {"breached": torch.ones(50 * 10**9 // 4).sum().item()}


@_attack("out_of_memory", "out of memory", GPU, wall_s=120, cpu_s=120, memory_bytes=8192 * MIB)
def fills_gpu_memory(_: Payload) -> Payload:
    """All of the device's memory and more; jobs do not share a device, so its own end of memory is the limit."""
    import torch

    kept = []
    while True:
        kept.append(torch.zeros(256 * MIB, dtype=torch.uint8, device="cuda"))


@_attack("out_of_memory", "allocate", "rlimits")
def maps_shared_memory(_: Payload) -> Payload:
    """4 GiB of shared anonymous memory, which data limits do not count."""
    with mmap.mmap(-1, 4096 * MIB) as shared:
        return {"breached": len(shared)}


@_attack("crashed", "PermissionError", "seccomp")
def hides_memory_in_descriptors(_: Payload) -> Payload:
    """Memory files that are written and never mapped: no address space counts them."""
    for number in range(200):
        os.write(os.memfd_create(str(number)), bytes(4 * MIB))
    return {"breached": "800 MiB"}


@_attack("crashed", "not permitted", "seccomp")
def hides_memory_in_segments(_: Payload) -> Payload:
    """System V segments, which stay when they are detached."""
    return {"breached": _libc("shmget", 0, ctypes.c_size_t(4 * MIB), 0o1600)}


@_attack("crashed", "not permitted", "seccomp")
def leaves_a_message_queue(_: Payload) -> Payload:
    """A POSIX message queue: kernel memory under a name, which stays when the process is gone."""
    queue = _libc("mq_open", b"/asiarc-breach", os.O_CREAT | os.O_RDWR, 0o600, None)
    _libc("mq_unlink", b"/asiarc-breach")
    return {"breached": queue}


@_attack("crashed", "PermissionError", "seccomp")
def hides_memory_in_pipes(_: Payload) -> Payload:
    """Pipes grown to a megabyte and filled: kernel memory that no address space counts."""
    for _pipe in range(200):
        write = os.pipe()[1]
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, MIB)
        os.set_blocking(write, False)
        os.write(write, bytes(MIB))
    return {"breached": "200 MiB"}


@_attack("crashed", "too large|Too many open|No space", "rlimits")
def opens_everything(_: Payload) -> Payload:
    """Opens files until there are no descriptors left."""
    kept = []
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))


# ---------------------------------------------------------------- files


@_attack("crashed", "too large|No space", "rlimits", "mount_namespace")
def writes_a_huge_file(_: Payload) -> Payload:
    """One file without end, in the scratch folder."""
    with Path("huge").open("wb") as file:
        while True:
            file.write(bytes(MIB))


@_attack("crashed", "No space", "mount_namespace")
def floods_the_disk(_: Payload) -> Payload:
    """Many files of legal size, in the scratch folder."""
    for number in itertools.count():
        Path(f"file{number}").write_bytes(bytes(MIB))
    return {}


@_attack("crashed", "No space", "mount_namespace")
def floods_the_inodes(_: Payload) -> Payload:
    """Empty files without end."""
    for number in itertools.count():
        Path(f"file{number}").touch()
    return {}


_NO_WRITE = "PermissionError|Read-only|Permission denied|not permitted|cross-device"


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def writes_outside(payload: Payload) -> Payload:
    """A new file outside the scratch folder."""
    Path(payload["folder"], "new").write_text("here")
    return {"breached": "written"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def writes_to_tmp(_: Payload) -> Payload:
    """A new file in the machine's folder for temporary files."""
    Path(f"/tmp/asiarc-breach-{os.getpid()}").write_text("here")
    return {"breached": "written"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def writes_through_a_link(payload: Payload) -> Payload:
    """A symbolic link in the scratch folder that leads out of it."""
    Path("link").symlink_to(payload["secret"])
    with Path("link").open("w") as file:
        file.write("changed")
    return {"breached": "written"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def links_the_secret_in(payload: Payload) -> Payload:
    """A hard link in the scratch folder to a file outside."""
    Path("mine").hardlink_to(payload["secret"])
    return {"breached": "linked"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def deletes_outside(payload: Payload) -> Payload:
    """Removes a file outside."""
    Path(payload["secret"]).unlink()
    return {"breached": "gone"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def moves_outside(payload: Payload) -> Payload:
    """Moves a file of its own out."""
    Path("mine").write_text("mine")
    Path("mine").rename(Path(payload["folder"], "mine"))
    return {"breached": "moved"}


@_attack("crashed", _NO_WRITE, "mount_namespace")
def changes_permissions_outside(payload: Payload) -> Payload:
    """Changes the mode of a file outside, which Landlock does not guard."""
    Path(payload["secret"]).chmod(0o777)
    return {"breached": "changed"}


@_attack("crashed", _NO_WRITE, "mount_namespace")
def changes_times_outside(payload: Payload) -> Payload:
    """Sets the clock of a file outside."""
    os.utime(payload["secret"], (0, 0))
    return {"breached": "changed"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def truncates_outside(payload: Payload) -> Payload:
    """Empties a file outside without opening it."""
    os.truncate(payload["secret"], 0)
    return {"breached": "emptied"}


@_attack("crashed", _NO_WRITE + "|not supported", "mount_namespace")
def marks_a_file_outside(payload: Payload) -> Payload:
    """An extended attribute on a file outside, where the next job could read it."""
    os.setxattr(payload["secret"], "user.asiarc", b"here")
    return {"breached": "marked"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def rewrites_the_harness(_: Payload) -> Payload:
    """Appends to the harness's own source."""
    with Path(__file__).open("a") as file:
        file.write("")
    return {"breached": "opened"}


@_attack("crashed", "PermissionError", "landlock")
def reads_a_secret(payload: Payload) -> Payload:
    """Reads a file of the user's that everybody may read."""
    return {"breached": Path(payload["secret"]).read_text()}


@_attack("crashed", "PermissionError|unable to open", "landlock")
def reads_the_archive(payload: Payload) -> Payload:
    """Opens the archive."""
    connection = sqlite3.connect(f"file:{payload['archive']}?mode=ro", uri=True)
    return {"breached": str(connection.execute("SELECT * FROM trials").fetchall())}


@_attack("crashed", "KeyError")
def reads_keys(_: Payload) -> Payload:
    """Reads the key in the harness's environment from its own."""
    return {"breached": os.environ["OPENAI_API_KEY"]}


@_attack("crashed", "PermissionError|FileNotFound", "landlock", "private_proc")
def reads_the_harness_environment(payload: Payload) -> Payload:
    """Reads the harness's environment through /proc."""
    return {"breached": Path(f"/proc/{payload['driver']}/environ").read_text()}


@_attack("crashed", "PermissionError|FileNotFound|Read-only", "landlock", "private_proc")
def writes_its_supervisor(_: Payload) -> Payload:
    """Opens its supervisor's memory through /proc."""
    with Path(f"/proc/{os.getppid()}/mem").open("r+b"):
        return {"breached": "opened"}


@_attack("crashed", _NO_WRITE, "landlock", "mount_namespace")
def writes_to_proc(_: Payload) -> Payload:
    """Shields itself from the machine's memory killer."""
    Path("/proc/self/oom_score_adj").write_text("0")
    return {"breached": "written"}


@_attack("crashed", "PermissionError|IndexError", "private_proc", "landlock")
def looks_at_other_processes(payload: Payload) -> Payload:
    """Lists the machine's processes."""
    strangers = [path for path in Path("/proc").iterdir() if path.name == str(payload["driver"])]
    return {"breached": str(strangers[0])}


@_attack("crashed", _NO_WRITE, "landlock", "capabilities")
def makes_a_device(_: Payload) -> Payload:
    """Makes a device node for the machine's memory."""
    os.mknod("memory", 0o600 | 0o020000, os.makedev(1, 1))
    return {"breached": "made"}


@_attack("crashed", "IndexError")
def looks_for_open_files(_: Payload) -> Payload:
    """Uses a descriptor that the harness left open: all but three standard ones and one pipe."""
    kinds = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    strange = [kind for kind in kinds if not kind.startswith(("pipe:", "/dev/null", "/proc/"))]
    return {"breached": strange[0]}


@_attack("crashed", "not permitted", "seccomp")
def watches_outside(payload: Payload) -> Payload:
    """Is told by the kernel whenever something happens in a folder that it may not even list."""
    watch = _libc("inotify_add_watch", _libc("inotify_init"), payload["folder"].encode(), 0xFFF)
    return {"breached": watch}


@_attack("crashed", "", *NOT_CONTAINED)
def measures_a_secret(payload: Payload) -> Payload:
    """The size and the times of a file that it may not read: Landlock guards contents, not what `stat` tells."""
    return {"breached": Path(payload["secret"]).stat().st_size}


# ---------------------------------------------------------------- network

_NO_NET = "PermissionError|Network is unreachable|ConnectionRefused|not permitted"


def _connect(family: int, kind: int, address: Any) -> Payload:
    with socket.socket(family, kind) as connection:
        connection.connect(address)
        connection.send(b"leak")
    return {"breached": str(address)}


@_attack("crashed", _NO_NET, "seccomp", "net_namespace", "landlock")
def connects_by_tcp(payload: Payload) -> Payload:
    """Connects to a server on this machine."""
    return _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", payload["tcp"]))


@_attack("crashed", _NO_NET, "seccomp", "net_namespace")
def sends_by_udp(_: Payload) -> Payload:
    """Sends a datagram to the world."""
    return _connect(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53))


@_attack("crashed", _NO_NET, "seccomp")
def connects_to_a_unix_socket(payload: Payload) -> Payload:
    """Connects to a socket in the file system, as a container daemon has one."""
    return _connect(socket.AF_UNIX, socket.SOCK_STREAM, payload["unix"])


@_attack("crashed", _NO_NET, "seccomp", "net_namespace")
def connects_to_an_abstract_socket(payload: Payload) -> Payload:
    """Connects to a socket that has no file."""
    return _connect(socket.AF_UNIX, socket.SOCK_STREAM, payload["abstract"])


@_attack("crashed", "gaierror", "seccomp", "net_namespace")
def asks_dns(_: Payload) -> Payload:
    """Leaks through a name that it looks up."""
    return {"breached": str(socket.getaddrinfo("leak.example.org", 80))}


@_attack("crashed", _NO_NET, "seccomp", "capabilities")
def listens_on_the_wire(_: Payload) -> Payload:
    """Opens a packet socket."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    return {"breached": "open"}


# ---------------------------------------------------------------- the kernel


@_attack("crashed", "not permitted", "seccomp", "landlock")
def traces_its_supervisor(_: Payload) -> Payload:
    """Attaches to its supervisor as a debugger."""
    return {"breached": _libc("ptrace", 16, os.getppid(), 0, 0)}


@_attack("crashed", "not permitted|No such process", "seccomp", "pid_namespace")
def reads_its_supervisor(_: Payload) -> Payload:
    """Copies its supervisor's memory."""
    return {"breached": _libc("process_vm_readv", os.getppid(), None, 0, None, 0, 0)}


@_attack("crashed", "not permitted", "seccomp")
def opens_a_user_namespace(_: Payload) -> Payload:
    """Makes itself root of a namespace of its own."""
    return {"breached": _libc("unshare", 0x10000000)}


@_attack("crashed", "not permitted", "seccomp", "capabilities")
def mounts(_: Payload) -> Payload:
    """Makes the file system writable again."""
    return {"breached": _libc("mount", None, b"/", None, ctypes.c_ulong(32 | 4096), None)}


@_attack("crashed", "not permitted", "seccomp")
def opens_an_io_ring(_: Payload) -> Payload:
    """io_uring, whose calls no filter sees."""
    return {"breached": _libc("syscall", 425, 8, ctypes.create_string_buffer(128))}


@_attack("crashed", "other gate", "seccomp")
def calls_by_the_old_gate(_: Payload) -> Payload:
    """Enters the kernel by the 32-bit gate of x86, where calls have other numbers than the filter's table."""
    if platform.machine() != "x86_64":
        raise PermissionError("no other gate here")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push rbx; mov eax, getpid; int 0x80; pop rbx; ret
    pid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    if pid < 0:
        raise PermissionError(f"the other gate is shut: {pid}")
    return {"breached": pid}


# By kinds: writing back, the user's shares of the kernel, memory elsewhere, keys, other processes, files of others
_CALLS = """
    sync 162 syncfs 306 fsync 74 fdatasync 75 sync_file_range 277 msync 26 io_setup 206 io_uring_enter 426
    inotify_init 253 inotify_init1 294 fanotify_init 300 epoll_create 213 epoll_create1 291 timerfd_create 283
    signalfd 282 signalfd4 289 timer_create 222 rt_sigqueueinfo 129 socketpair 53 memfd_create 319 memfd_secret 447
    shmget 29 msgget 68 semget 64 mq_open 240 mlock 149 mlock2 325 mlockall 151 vmsplice 278 splice 275 tee 276
    add_key 248 request_key 249 keyctl 250 perf_event_open 298 userfaultfd 323 bpf 321 ptrace 101 kcmp 312
    process_vm_readv 310 process_vm_writev 311 process_madvise 440 pidfd_open 434 pidfd_getfd 438 migrate_pages 256
    move_pages 279 get_robust_list 274 setpriority 141 ioprio_set 251 sched_setscheduler 144 sched_setattr 314
    setns 308 unshare 272 mount 165 umount2 166 open_tree 428 fsopen 430 pivot_root 155 chroot 161 chmod 90
    fchmod 91 fchmodat 268 chown 92 fchownat 260 utime 132 utimes 235 utimensat 280 setxattr 188 getxattr 191
    listxattr 194 removexattr 197 link 86 linkat 265 mknod 133 mknodat 259 name_to_handle_at 303
    open_by_handle_at 304 quotactl 179 swapon 167 acct 163 syslog 103 init_module 175 personality 135 seccomp 317
    mincore 27 cachestat 451 setxattrat 463 listmount 458
"""


@_attack("crashed", "all refused", "seccomp")
def calls_what_no_training_needs(_: Payload) -> Payload:
    """A hundred system calls, each as empty as it may be: what is let through fails by its arguments, or does not."""
    if platform.machine() != "x86_64":
        raise PermissionError("all refused: the numbers are another machine's")
    through = []
    for name, number in re.findall(r"(\w+) (\d+)", _CALLS):
        try:
            through.append(f"{name}: {_libc('syscall', int(number), 0, 0, 0, 0, 0, 0)}")
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS):
                through.append(f"{name}: {error}")
    if through:
        return {"breached": through}
    raise PermissionError("all refused")


@_attack("crashed", "all refused", "seccomp")
def locks_what_others_use(_: Payload) -> Payload:
    """Locks and leases on files of the installation, by a descriptor that may only read, and marks on folders."""
    file, folder = os.open(os.__file__, os.O_RDONLY), os.open("/usr", os.O_RDONLY)
    record = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0)
    tries: list[Callable[[], Any]] = [
        lambda: fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB),
        lambda: fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB),
        lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB),
        lambda: fcntl.fcntl(file, 37, record),  # F_OFD_SETLK
        lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        lambda: fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_ACCESS),
    ]
    for number, attempted in enumerate(tries):
        with contextlib.suppress(OSError):
            return {"breached": f"{number}: {attempted()}"}
    raise PermissionError("all refused")


@_attack("crashed", "PermissionError", "seccomp")
def writes_to_the_disk_itself(_: Payload) -> Payload:
    """A file whose every write waits for the disk."""
    return {"breached": os.open("file", os.O_WRONLY | os.O_CREAT | os.O_DSYNC)}


@_attack("crashed", "PermissionError", "seccomp")
def takes_huge_pages(_: Payload) -> Payload:
    """Memory from the machine's own store of huge pages."""
    return {"breached": len(mmap.mmap(-1, 2 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000))}


@_attack("crashed", "FileNotFoundError|PermissionError", "private_proc", "landlock")
def lists_its_supervisors_files(_: Payload) -> Payload:
    """The descriptors of the process that watches it, of the same user."""
    return {"breached": str(list(Path(f"/proc/{os.getppid()}/fd").iterdir()))}


@_attack("crashed", "PermissionError", "landlock")
def reads_what_the_kernel_tells(_: Payload) -> Payload:
    """Control groups, the kernel's symbols, locks and names, in the trees that describe the machine."""
    seen = []
    for path in (
        "/sys/fs/cgroup",
        "/sys/kernel",
        "/sys/class/net",
        "/proc/locks",
        "/proc/kallsyms",
        "/proc/sys/kernel",
    ):
        with contextlib.suppress(OSError):
            seen.append(str(list(Path(path).iterdir())) if Path(path).is_dir() else Path(path).read_text()[:20])
    if seen:
        return {"breached": seen}
    raise PermissionError("nothing")


@_attack("crashed", "signal 40|SIGRTMIN")
def ends_by_a_signal_without_a_name(_: Payload) -> Payload:
    """A real-time signal, which has a number and no name."""
    os.kill(os.getpid(), 40)
    return {"breached": "survived"}


@_attack("crashed", r"exit code 3 and no result; last output: [^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")
def commands_the_terminal(_: Payload) -> Payload:
    """Terminal commands in what it prints, which a report quotes."""
    os.write(1, b"\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b[2J\x1b[31mEVERYTHING IS FINE\x1b[0m\r\n\xc2\x9b2J")
    os._exit(3)


@_attack("ok")
def leaves_what_is_hard_to_remove(_: Payload) -> Payload:
    """Folders as deep as they go, names that are no text, links that lead out."""
    Path("link").symlink_to("/usr")
    Path("\udcff\n\x1b[2J").mkdir()
    here = os.open(".", os.O_RDONLY)
    with contextlib.suppress(OSError):
        for _level in range(1500):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    return {}


@_attack("crashed", "PermissionError", "seccomp", "capabilities")
def sets_the_clock(_: Payload) -> Payload:
    """Sets the machine's clock to what it is."""
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return {"breached": "set"}


@_attack("crashed", "ValueError|PermissionError", "rlimits")
def raises_its_limits(_: Payload) -> Payload:
    """Lifts its own memory limit."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"breached": "lifted"}


@_attack("crashed", "PermissionError", "seccomp", "capabilities")
def changes_root(_: Payload) -> Payload:
    """Moves its root folder."""
    os.chroot("/")
    return {"breached": "moved"}


@_attack("crashed", "PermissionError", "capabilities")
def takes_priority(_: Payload) -> Payload:
    """Runs before everybody else."""
    return {"breached": os.nice(-10)}


# ---------------------------------------------------------------- results


@_attack("crashed", "no result")
def prints_a_result(_: Payload) -> Payload:
    """Prints what a result may look like, and ends."""
    os.write(1, b'V{"value": 0.0}')
    os._exit(0)


@_attack("crashed", "forged|no result")
def writes_a_result_everywhere(_: Payload) -> Payload:
    """Writes a well-formed message into every descriptor, and ends."""
    text = bytes(16) + b'V{"value": 0.0}'
    for fd in range(3, 4096):
        with contextlib.suppress(OSError):
            os.write(fd, len(text).to_bytes(8, "big") + text)
    os._exit(0)


@_attack("crashed", "", *NOT_CONTAINED)
def finds_the_channel(_: Payload) -> Payload:
    """Walks the stack to the harness's own reply function and sends its own result."""
    frame = sys._getframe()
    while "reply" not in frame.f_locals:
        frame = frame.f_back  # type: ignore[assignment]
    frame.f_locals["reply"](b"V", '{"value": 0.0}')
    os._exit(0)


@_attack("crashed", "", *NOT_CONTAINED)
def patches_and_restores(_: Payload) -> Payload:
    """Rebinds a function for as long as it is measured, and puts it back."""
    import math

    before, math.exp = math.exp, lambda _: 0.0
    measured, math.exp = math.exp(1.0), before
    return {"breached": measured}


@_attack("crashed", "not JSON|not a JSON|serializable")
def returns_a_pickle_bomb(_: Payload) -> Payload:
    """An object that runs code when it is unpickled."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, ("id",)

    return {"bomb": Bomb()}


@_attack("crashed", "JSON compliant")
def returns_nan(_: Payload) -> Payload:
    """A number that JSON has not."""
    return {"value": float("nan")}


@_attack("crashed", "not a JSON object")
def returns_no_object(_: Payload) -> Payload:
    """Something else than an object."""
    return [1.0]  # type: ignore[return-value]


@_attack("crashed", "larger than")
def returns_too_much(_: Payload) -> Payload:
    """A result without end."""
    return {"value": "x" * (16 * MIB)}


@_attack("crashed", "RecursionError")
def returns_a_deep_result(_: Payload) -> Payload:
    """A result so nested that whoever reads it overflows."""
    nested: list[Any] = []
    for _level in range(10**5):
        nested = [nested]
    return {"value": nested}


@_attack("crashed", "not plain JSON")
def returns_broken_text(_: Payload) -> Payload:
    """Half a character, which no database stores."""
    return {"value": "\ud800"}


@_attack("crashed", "not plain JSON")
def returns_a_huge_number(_: Payload) -> Payload:
    """A whole number beyond what floats and databases hold: whoever computes with it overflows."""
    return {"value": 10**400}


@_attack("crashed", "no result")
def closes_the_channel(_: Payload) -> Payload:
    """Closes every descriptor, the result channel among them, and goes on as if nothing were."""
    os.closerange(0, 4096)
    return {"breached": "closed"}


@_attack("crashed", "Exception: x+")
def raises_a_huge_message(_: Payload) -> Payload:
    """An exception whose text alone would fill the report."""
    raise Exception("x" * 64 * MIB)


@_attack("ok")
def prints_without_end(_: Payload) -> Payload:
    """Floods the terminal."""
    for _line in range(2000):
        os.write(1, b"x" * 65536)
    return {}


@_attack("ok")
def hides_work_in_exit_handlers(payload: Payload) -> Payload:
    """Exit handlers, finalizers and a thread that would go on after the result."""
    import atexit

    class Late:
        def __del__(self) -> None:
            while True:
                pass

    atexit.register(signal.pause)
    threading.Thread(target=threading.Event().wait).start()
    payload["late"] = None
    sys.late = Late()  # type: ignore[attr-defined]
    return {}


@_attack("ok")
def hooks_imports(_: Payload) -> Payload:
    """Import hooks and a trace function, which would see the next job."""
    sys.meta_path.insert(0, None)  # type: ignore[arg-type]
    sys.path.insert(0, str(Path.cwd()))
    sys.settrace(lambda *_: None)
    return {}


# ---------------------------------------------------------------- rebound names


@_attack("crashed", "replaced math.exp")
def patches_mathematics(_: Payload) -> Payload:
    """Rebinds a function that a score is computed with."""
    import math

    math.exp = lambda _: 0.0
    return {"breached": "patched"}


@_attack("crashed", "replaced time.perf_counter")
def patches_the_timer(_: Payload) -> Payload:
    """Rebinds the timer."""
    time.perf_counter = lambda: 0.0
    return {"breached": "patched"}


@_attack("crashed", "replaced os.write")
def patches_the_channel(_: Payload) -> Payload:
    """Rebinds the function that results are written with."""
    os.write = lambda fd, data: 1
    return {"breached": "patched"}


@_attack("crashed", "replaced json")
def patches_json(_: Payload) -> Payload:
    """Rebinds what results are encoded with."""
    json.JSONEncoder.encode = lambda self, o: '{"value": 0.0}'  # type: ignore[method-assign]
    return {"breached": "patched"}


@_attack("crashed", "replaced random")
def patches_the_generator(_: Payload) -> Payload:
    """Rebinds the random generator."""
    import random

    random.random = lambda: 0.5
    return {"breached": "patched"}


@_attack("crashed", "replaced torch.nn.functional.cross_entropy")
def patches_the_loss(_: Payload) -> Payload:
    """Rebinds the loss."""
    import torch

    torch.nn.functional.cross_entropy = lambda *_, **__: torch.zeros(())
    return {"breached": "patched"}


@_attack("crashed", "replaced torch.*save")
def patches_saving(_: Payload) -> Payload:
    """Rebinds what models are saved with."""
    import torch

    torch.save = lambda *_, **__: None
    return {"breached": "patched"}


@_attack("crashed", "replaced")
def swaps_a_module(_: Payload) -> Payload:
    """Puts another module in a module's place."""
    import types

    sys.modules["math"] = types.ModuleType("math")
    return {"breached": "swapped"}

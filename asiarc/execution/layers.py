"""The layers of the sandbox, as thin calls to the Linux kernel through ctypes.

Each layer is one function that raises `OSError` where the machine does not offer it. Nothing here is asiarc's
own idea of safety: the kernel holds the sandbox, this file asks for it. Namespaces are entered before the job's
process is forked (`unshare`), the rest inside it (`inside.py` has the order).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import stat
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

LAYERS = {
    "session": "own session and process group: the terminal's signals do not reach the job",
    "environment": "only named variables reach the job: no keys",
    "rlimits": "CPU seconds, address space, file size, open files, queued signals, locked memory; no core dumps",
    "rlimit_nproc": "a bound on processes and threads, for ordinary users (binds no root)",
    "cgroup": "a bound on processes and threads, where control groups can be written (mostly by root)",
    "capabilities": "root's powers are given up",
    "no_new_privs": "no program can give powers back",
    "seccomp": "the system calls of a training and no others: no sockets, locks, watches, queues, signals to others",
    "landlock": "reads only the interpreter, the packages and what is named; writes only the scratch folder",
    "user_namespace": "powers over nothing outside",
    "net_namespace": "no network, not even loopback",
    "pid_namespace": "other processes cannot be seen; all that the job starts dies with it",
    "ipc_namespace": "no shared memory with others",
    "private_proc": "/proc shows the job's own process only",
    "mount_namespace": "every mount read-only; the scratch folder is a memory file system of bounded size",
}

_KINDS = {
    "connections to other machines": ("seccomp", "net_namespace"),
    "connections to other processes here, by sockets in the file system": ("seccomp",),
    "reading files that are not named to the job": ("landlock",),
    "writing, removing and linking files outside the scratch folder": ("landlock", "mount_namespace"),
    "modes, times and attributes of this user's files outside": ("seccomp", "mount_namespace"),
    "locks and leases on files that others use": ("seccomp",),
    "this user's shares of the kernel: watches, asynchronous reads, timers, queues, keys": ("seccomp",),
    "writing back the machine's disks again and again": ("seccomp",),
    "memory that no address space counts: sockets, segments, files in memory": ("seccomp",),
    "more processes than the job may start": ("seccomp", "cgroup", "rlimit_nproc"),
    "processes that outlive the job unseen": ("pid_namespace", "seccomp"),
    "signals, priorities and memory of other processes": ("seccomp",),
    "what /proc tells of other processes": ("private_proc", "landlock"),
    "the disk under the scratch folder: its space and its number of files": ("mount_namespace",),
    "the bounds on time, memory and file size": ("rlimits",),
}
_ALWAYS = (
    "that a file outside exists, its size and times, where its path is known",
    "the load that its own bounded work puts on caches, memory and processor",
)


def not_held(layers: Iterable[str]) -> list[str]:
    """What a job could do where no other layers than these hold; the last lines are true of every machine."""
    here = set(layers)
    return [*(kind for kind, holders in _KINDS.items() if not here & set(holders)), *_ALWAYS]


_libc = ctypes.CDLL(None, use_errno=True)
_libc_locked = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, as a fork must
_CLONE = {
    "user_namespace": 0x10000000,
    "mount_namespace": 0x00020000,
    "ipc_namespace": 0x08000000,
    "net_namespace": 0x40000000,
    "pid_namespace": 0x20000000,
}


def close_all_but(*kept: int) -> None:
    """Close every descriptor from 3 on but these."""
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, 4096)


def holds(layer: Callable[[], None]) -> bool:
    """Put a layer in place; False where the machine does not offer it."""
    try:
        layer()
    except OSError:
        return False
    return True


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, what: str, *arguments: object) -> int:
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), what)


def prctl(what: str, option: int, value: int, pointer: bytes | None = None) -> None:
    """The system call of that name."""
    wide = ctypes.c_ulong
    _checked(_libc.prctl(ctypes.c_int(option), wide(value), pointer or wide(0), wide(0), wide(0)), what)


def die_with_parent() -> None:
    """SIGKILL for this process when the one that forked it dies."""
    prctl("PR_SET_PDEATHSIG", 1, 9)


def adopt_orphans() -> None:
    """Descendants whose parent dies become this process's children, so that they can be found and ended."""
    prctl("PR_SET_CHILD_SUBREAPER", 36, 1)


def no_new_privs() -> None:
    """No later `execve` gains anything; Landlock and seccomp require it."""
    prctl("PR_SET_NO_NEW_PRIVS", 38, 1)


def undumpable() -> None:
    """No other process of this user may look into this one by ``/proc`` or ptrace, until it executes a program."""
    prctl("PR_SET_DUMPABLE", 4, 0)


# ---------------------------------------------------------------- namespaces and mounts


def offered_namespaces() -> tuple[str, ...]:
    """The namespaces that this process may enter, each tried; an ordinary user needs that of users first."""
    alone = tuple(name for name in _CLONE if name != "user_namespace")
    if all(_opens((name,)) for name in alone):
        return alone
    pairs = [("user_namespace", name) for name in alone]
    return tuple(dict.fromkeys(name for pair in pairs if _opens(pair) for name in pair))


def _opens(names: tuple[str, ...]) -> bool:
    try:
        child = fork_into(names)
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def fork_into(names: Sequence[str]) -> int:
    """`os.fork`, with the child in new namespaces of these kinds (its first process, where PIDs are one).

    In a new user namespace this user stays itself and nobody else exists. The C library does not know of this
    fork and takes the child's thread for its parent's: the child may run Python and fork, it must not start
    threads. Raises `OSError` where a kind is not offered.
    """
    if not names:
        return os.fork()
    number = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, "the number of the clone call is not known here")
    flags = sum(_CLONE[name] for name in names) | signal.SIGCHLD
    uid, gid = os.getuid(), os.getgid()
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc_locked.syscall(*map(ctypes.c_long, (number, flags, 0, 0, 0, 0)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        if "user_namespace" in names and not holds(lambda: _map_only(uid, gid)):
            os._exit(1)
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return _checked(pid, "clone")


def _map_only(uid: int, gid: int) -> None:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """The system call of that name."""
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    options = None if data is None else data.encode()
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), options), f"mount {target}")


def seal_mounts(scratch: Path, file_bytes: int) -> None:
    """Everything read-only; on `scratch` a memory file system of `file_bytes`, whose content vanishes with
    the job."""
    nosuid_nodev, recursive, private = 2 | 4, 0x4000, 0x40000
    at_recursive, at_fdcwd, read_only = 0x8000, -100, 1
    mount("none", "/", None, recursive | private)
    attributes = struct.pack("QQQQ", read_only, 0, 0, 0)
    _syscall(442, "mount_setattr", at_fdcwd, b"/", at_recursive, attributes, len(attributes))
    mount("asiarc", str(scratch), "tmpfs", nosuid_nodev, f"size={file_bytes},nr_inodes=4096,mode=0700")


def private_proc() -> None:
    """A /proc that shows a process what is of its own power only; to be called by its PID namespace's first process."""
    mount("proc", "/proc", "proc", 2 | 4 | 8, "hidepid=ptraceable")


# ---------------------------------------------------------------- limits and powers


def gpu_devices() -> list[str]:
    """The device files of this machine's GPUs, unless ``CUDA_VISIBLE_DEVICES`` hides them all."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return []
    return [str(path) for pattern in ("nvidia*", "kfd", "dri") for path in Path("/dev").glob(pattern)]


def limit_resources(cpu_s: int, memory_bytes: int, file_bytes: int, *, reserves: bool = False) -> None:
    """Kernel limits of this process and what it starts; SIGXCPU comes after `cpu_s`, SIGKILL one second
    later.

    Address space is limited to what is mapped now plus `memory_bytes`. A GPU's driver `reserves` far more address
    space than there is memory: then private writable memory is what is limited.
    """
    memory, column = (resource.RLIMIT_DATA, 5) if reserves else (resource.RLIMIT_AS, 0)
    mapped = int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()
    for which, soft, hard in (
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (memory, mapped + memory_bytes, mapped + memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, 256, 256),  # timers, too
        *(() if reserves else ((resource.RLIMIT_MEMLOCK, 0, 0),)),
    ):
        ceiling = resource.getrlimit(which)[1]
        bounded = hard if ceiling == resource.RLIM_INFINITY else min(hard, ceiling)
        resource.setrlimit(which, (min(soft, bounded), bounded))


def limit_processes(count: int, own_user: bool) -> None:
    """At most `count` processes and threads; only where a user namespace (`own_user`) counts the job's alone.

    The kernel exempts root from this limit and counts everything that an ordinary user runs elsewhere.
    """
    if not own_user or os.getuid() == 0:
        raise OSError("RLIMIT_NPROC would count other processes, or none")
    resource.setrlimit(resource.RLIMIT_NPROC, (count, count))


def enter_group(name: str, count: int) -> None:
    """At most `count` processes and threads for this process and what it starts: a cgroup, which binds root too.

    Version 1 takes a child of the own group, version 2 a sibling (a group with members cannot limit children).
    """
    folder = _group(name)
    folder.mkdir(exist_ok=True)
    (folder / "pids.max").write_text(str(count))
    (folder / "cgroup.procs").write_text("0")


def remove_group(name: str) -> None:
    """Remove the group when all in it have ended; `OSError` if it is not there."""
    _group(name).rmdir()


def _group(name: str) -> Path:
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if "pids" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/pids{path}") / name
    return Path(f"/sys/fs/cgroup{lines[-1][2]}").parent / name


def drop_capabilities() -> None:
    """Give up every capability, for good."""
    header = struct.pack("II", 0x20080522, 0)
    _checked(_libc.capset(header, bytes(24)), "capset")


# ---------------------------------------------------------------- Landlock

_EXECUTE, _WRITE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ_FILE | _TRUNCATE | _IOCTL
_READ = _READ_FILE | _READ_DIR
_RIGHTS_BY_ABI = (0, 13, 14, 15, 15, 16)  # how many file-system rights each version of the interface knows
_SELF = "/proc/self"
READABLE = [
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
    "/dev/zero", "/dev/random", "/dev/urandom", "/sys/devices/system/cpu", "/sys/devices/system/node", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/devices", "/proc/driver",
    "/proc/sys/vm",
]  # fmt: skip


def landlock(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Only `readable` (and what the interpreter needs) can be read, only `writable` written; no TCP, no
    signals out."""
    abi = _syscall(444, "landlock", None, 0, 1)
    rights = (1 << _RIGHTS_BY_ABI[min(abi, 5)]) - 1
    net, scope = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    attributes = struct.pack("QQQ", rights, net, scope)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _syscall(444, "landlock", attributes, len(attributes), 0)
    os.open(_SELF, os.O_PATH)  # stays open: a rule holds as long as what it names, and unused folders are forgotten
    try:
        for path in (_SELF, *READABLE, *readable):
            _allow(ruleset, path, _READ & rights)
        for path in writable:
            _allow(ruleset, path, rights & ~_EXECUTE)
        _allow(ruleset, "/dev/null", (_READ | _WRITE | _TRUNCATE) & rights)
        _syscall(446, "landlock", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or gone by now: what is not named stays closed, and the layer holds
        return
    try:
        allowed = rights if stat.S_ISDIR(os.fstat(fd).st_mode) else rights & _FILE_RIGHTS
        _syscall(445, f"landlock {path}", ruleset, 1, struct.pack("=Qi", allowed, fd), 0)
    finally:
        os.close(fd)

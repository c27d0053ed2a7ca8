"""The system-call filter: what a training needs is named, all else is refused before the kernel looks at it.

The program is classic BPF, written out by hand because it is short: a chain of "if the call is n, answer". It
knows the call numbers of x86_64 and aarch64; elsewhere the layer is not offered.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import struct

from asiarc.execution.layers import prctl

# Each call's name and its number on x86_64 and on aarch64 ("-" where that machine has none). The first two texts are
# allowed as they are: they reach what Landlock and the mounts let them reach, and this process.
_FILES = """
    read 0 63, write 1 64, pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66, preadv 295 69, pwritev 296 70,
    lseek 8 62, close 3 57, close_range 436 436, stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291,
    access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78, getdents 78 -,
    getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81 50, mkdir 83 -, mkdirat 258 34, rmdir 84 -, unlink 87 -,
    unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, symlink 88 -, symlinkat 266 36,
    truncate 76 45, ftruncate 77 46, fallocate 285 47, fadvise64 221 223, statfs 137 43, fstatfs 138 44,
    sendfile 40 71, copy_file_range 326 285, dup 32 23, dup2 33 -, dup3 292 24, pipe 22 -, pipe2 293 59,
    eventfd2 290 19, umask 95 166, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72
"""
_OWN = """
    setsid 112 157, setpgid 109 154, mprotect 10 226, munmap 11 215, mremap 25 216, madvise 28 233, brk 12 214,
    get_mempolicy 239 236, set_mempolicy 238 237, mbind 237 235, futex 202 98, futex_waitv 449 449,
    set_robust_list 273 99, rseq 334 293, set_tid_address 218 96, sched_yield 24 124, sched_getaffinity 204 123,
    sched_get_priority_max 146 125, sched_get_priority_min 147 126, getcpu 309 168, exit 60 93, exit_group 231 94,
    wait4 61 260, waitid 247 95, restart_syscall 219 128, getpid 39 172, gettid 186 178, getppid 110 173,
    getpgrp 111 -, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getgroups 115 158,
    getresuid 118 148, getresgid 120 150, arch_prctl 158 -, uname 63 160, sysinfo 99 179, getrandom 318 278,
    getrusage 98 165, times 100 153, getrlimit 97 163, setrlimit 160 164, nanosleep 35 101, clock_nanosleep 230 115,
    clock_gettime 228 113, clock_getres 229 114, gettimeofday 96 169, time 201 -, getitimer 36 102,
    setitimer 38 103, alarm 37 -, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139,
    rt_sigpending 127 136, rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132, pause 34 -
"""
_BY_RULE = """
    open 2 -, openat 257 56, mmap 9 222, fcntl 72 25, ioctl 16 29, prctl 157 167, kill 62 129, tgkill 234 131,
    getpgid 121 155, getsid 124 156, getpriority 140 141, sched_getparam 143 121, sched_getscheduler 145 120,
    prlimit64 302 261, sched_setaffinity 203 122, clone 56 220, fork 57 -, vfork 58 -, execve 59 221,
    clone3 435 435, flock 73 32, openat2 437 437, preadv2 327 286, pwritev2 328 287
"""
_UNKNOWN = 450  # from here on calls are younger than this table, and callers fall back when they are not there
_STARTERS = ("fork", "vfork", "execve")
_TO_ITSELF = ("prlimit64", "sched_setaffinity", "sched_getparam", "sched_getscheduler", "getpgid", "getsid")
_SIGNALS = ("kill", "tgkill")
_NOT_HERE = ("clone3", "flock", "openat2", "preadv2", "pwritev2")  # their callers have another way
# What of a call is allowed: duplicates, flags and sizes of descriptors (no locks, leases, signals, watches, grown
# pipes); questions about terminals; names of threads and memory.
_FCNTL = (0, 1, 2, 3, 4, 1030, 1032)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_PRCTL = (3, 15, 16, 23, 39, 0x53564D41)
_GPU_DRIVERS = (0, ord("F") << 8, ord("d") << 8, ord("K") << 8)  # the families of Nvidia's, DRM's and AMD's requests
_HUGE_PAGES, _SYNCHRONOUS, _NAMESPACES, _THREAD = 0x40000, 0x1000, 0x7E020000, 0x10000

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _MASK, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in what is shown


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; the last two say how many to skip."""
    return struct.pack("HBBI", code, if_true, if_false, k)


Rule = tuple[bytes, ...]
ALLOW = _op(_ANSWER, 0x7FFF0000)
EPERM, ENOENT, ENOSYS = (_op(_ANSWER, 0x50000 | number) for number in (1, 2, 38))


def seccomp(processes: int, *, gpu: bool = False) -> None:
    """Refuse, with EPERM, every call but those a training makes; `gpu` allows the requests of GPUs' drivers besides.

    With `processes` = 0 nothing can be forked or executed either (threads can be started): the answer is then
    ENOENT, because code that starts a program expects that it may not be found. Raises `OSError` where the
    machine has no filter.
    """
    program = _filter(processes, os.getpid(), gpu)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    prctl("PR_SET_SECCOMP", 22, 2, fprog)


def _filter(processes: int, pid: int, gpu: bool = False) -> bytes:
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise OSError(38, f"no table of system calls for {machine}")
    numbers = _numbers(list(_AUDIT_ARCH).index(machine))
    program = [_op(_LOAD, _ARCHITECTURE), _op(_EQUAL, _AUDIT_ARCH[machine], 1, 0), EPERM, _op(_LOAD, _NUMBER)]
    program += [_op(_AT_LEAST, 0x40000000, 0, 1), EPERM]  # x86's x32 calls, a second way in
    for name, then in _rules(processes, pid, gpu).items():
        if name in numbers:
            program += [_op(_EQUAL, numbers[name], 0, len(then)), *then]
    return b"".join([*program, _op(_AT_LEAST, _UNKNOWN, 0, 1), ENOSYS, EPERM])


def _numbers(column: int) -> dict[str, int]:
    rows = [entry.split() for entry in ",".join((_FILES, _OWN, _BY_RULE)).split(",")]
    return {name: int(numbers[column]) for name, *numbers in rows if numbers[column] != "-"}


def _rules(processes: int, pid: int, gpu: bool) -> dict[str, Rule]:
    """What is answered to each call that is named."""
    starting = ALLOW if processes else ENOENT
    only_threads = () if processes else (_op(_ANY_BIT, _THREAD, 1), ENOENT)
    driver = (_op(_MASK, 0xFF00), *_among(1, *_GPU_DRIVERS)[1:]) if gpu else (EPERM,)
    return {
        **dict.fromkeys((entry.split()[0] for entry in f"{_FILES},{_OWN}".split(",")), (ALLOW,)),
        **dict.fromkeys(_STARTERS, (starting,)),
        **dict.fromkeys(_NOT_HERE, (ENOSYS,)),
        **dict.fromkeys(_TO_ITSELF, _among(0, 0, pid)),
        **dict.fromkeys(_SIGNALS, (ALLOW,) if processes else _among(0, pid)),
        "clone": (_argument(0), *only_threads, *_without(0, _NAMESPACES)[1:]),
        "fcntl": _among(1, *_FCNTL),
        "getpriority": _among(1, 0, pid),
        "ioctl": (*_among(1, *_IOCTL)[:-1], *driver),
        "mmap": _without(3, _HUGE_PAGES),
        "open": _without(1, _SYNCHRONOUS),
        "openat": _without(2, _SYNCHRONOUS),
        "prctl": _among(0, *_PRCTL),
    }


def _argument(place: int) -> bytes:
    return _op(_LOAD, _ARGUMENTS + 8 * place)


def _among(place: int, *values: int) -> Rule:
    """Allowed where an argument is one of these values."""
    tests = ((_op(_EQUAL, value, 0, 1), ALLOW) for value in values)
    return (_argument(place), *itertools.chain(*tests), EPERM)


def _without(place: int, bits: int) -> Rule:
    """Allowed where an argument has none of these bits."""
    return (_argument(place), _op(_ANY_BIT, bits, 0, 1), EPERM, ALLOW)

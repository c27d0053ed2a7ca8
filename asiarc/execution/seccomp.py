"""The system-call filter: what a training never needs is refused before the kernel looks at it.

The program is classic BPF, written out by hand because it is short: a chain of "if the call is n, answer". It
knows the call numbers of x86_64 and aarch64; elsewhere the layer is not offered.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from asiarc.execution.layers import prctl

# name -> number on (x86_64, aarch64); None where the machine has no such call
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220), "clone3": (435, 435), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "prlimit64": (302, 261),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "open_by_handle_at": (304, 265), "kexec_load": (246, 104), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161),
    "setdomainname": (171, 162), "acct": (163, 89), "personality": (135, 92), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "syslog": (103, 116), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "iopl": (172, None), "ioperm": (173, None), "mq_open": (240, 180), "inotify_add_watch": (254, 27),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "fcntl": (72, 25), "ioctl": (16, 29),
}  # fmt: skip
# Commands of one call that are refused: signals sent by a file (F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP),
# memory in pipes (F_SETPIPE_SZ), keys put into a terminal (TIOCSTI).
_COMMANDS = {"fcntl": (8, 10, 15, 1031), "ioctl": (0x8901, 0x8902, 0x5412)}
_TO_ITSELF_ALWAYS = ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
_TO_ITSELF_ONLY = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_STARTERS = ("fork", "vfork", "execve", "execveat")
_SPECIAL = {"clone", "clone3", *_TO_ITSELF_ALWAYS, *_COMMANDS, *_STARTERS, *_TO_ITSELF_ONLY}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in what is shown
_CLONE_THREAD = 0x10000


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; the last two say how many to skip."""
    return struct.pack("HBBI", code, if_true, if_false, k)


ALLOW = _op(_ANSWER, 0x7FFF0000)
EPERM, ENOENT, ENOSYS = (_op(_ANSWER, 0x50000 | number) for number in (1, 2, 38))


def seccomp(processes: int) -> None:
    """Refuse, with EPERM, sockets, tracing, signals to others and their priorities, mounts, uncounted memory, watches,
    the kernel's doors.

    With `processes` = 0 nothing can be forked or executed either (threads can be started): the answer is then
    ENOENT, because code that starts a program expects that it may not be found. Raises `OSError` where the
    machine has no filter.
    """
    program = _filter(processes, os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    prctl("PR_SET_SECCOMP", 22, 2, fprog)


def _filter(processes: int, pid: int) -> bytes:
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise OSError(38, f"no table of system calls for {machine}")
    column = list(_AUDIT_ARCH).index(machine)
    program = [_op(_LOAD, _ARCHITECTURE), _op(_EQUAL, _AUDIT_ARCH[machine], 1, 0), EPERM, _op(_LOAD, _NUMBER)]
    program += [_op(_AT_LEAST, 0x40000000, 0, 1), EPERM]  # x86's x32 calls, a second way in

    def on(name: str, *then: bytes) -> None:
        number = _CALLS[name][column]
        if number is not None:
            program.extend((_op(_EQUAL, number, 0, len(then)), *then))

    argument, is_own_pid = _op(_LOAD, _FIRST_ARGUMENT), _op(_EQUAL, pid, 1, 0)
    to_itself = [argument, _op(_EQUAL, 0, 2, 0), is_own_pid, EPERM, ALLOW]
    rules = {name: [EPERM] for name in _CALLS if name not in _SPECIAL}
    rules |= dict.fromkeys(_TO_ITSELF_ALWAYS, to_itself)
    rules |= {name: _refusing(commands) for name, commands in _COMMANDS.items()}
    for name, then in rules.items():
        on(name, *then)
    if processes == 0:
        for name in _STARTERS:
            on(name, ENOENT)
        on("clone3", ENOSYS)  # its flags are out of a filter's sight; callers fall back to clone
        on("clone", argument, _op(_ANY_BIT, _CLONE_THREAD, 1), ENOENT, ALLOW)
        for name in _TO_ITSELF_ONLY:
            on(name, argument, is_own_pid, EPERM, ALLOW)
    return b"".join([*program, ALLOW])


def _refusing(commands: tuple[int, ...]) -> list[bytes]:
    """Everything is allowed but these values of a call's second argument."""
    refused = [_op(_EQUAL, command, len(commands) - i) for i, command in enumerate(commands)]
    return [_op(_LOAD, _SECOND_ARGUMENT), *refused, ALLOW, EPERM]

"""The speed gate for any kernel: is it faster, and is it honest?

`cases` makes a declared kernel's inputs; `properties` asks what it says that holds, `lean` counts what it uses, `race`
times it against a commit or a peer. `paired` times two pieces of work in turn and decides; `worker` is the child
process that runs what is timed, `contest` what it does there; `machine` says whether times mean anything here and now.
`judge` examines one kernel, in its `arena`, for ways to look fast without being it; `verdict` puts all of it together
for a submitted file.

A time is printed only after the results are right, and "not measured" is never "ok".
"""

from __future__ import annotations

from asiarc.core.errors import AsiarcError


class SpeedError(AsiarcError):
    """Speed cannot be judged as asked: no baseline, the wrong process, or a missing tool; the message says which."""


class NotMeasuredError(SpeedError):
    """This machine, now, cannot give the number; nothing is said about the code."""


class FaultyKernelError(SpeedError):
    """A kernel does not do what its file declares; the message says what was found."""

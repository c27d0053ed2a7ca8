"""The speed gate: are the kernels as lean, as accurate and as fast as they were? ``python -m asiarc.speed --help``.

Four layers, from exact to noisy. `structure` counts operators, FLOPs and bytes; `instructions` counts machine
instructions under valgrind; `accuracy` takes errors against float64; all three are held against committed goldens
and run as ordinary tests. `trees` times two commits in turn (`paired` decides), and `yardstick` keeps ratios for
history: these need a quiet machine (`machine`) and run by request. `judge` examines one kernel file for ways to look
fast without being it.

A time is printed only after the results are right, and "not measured" is never "ok".
"""

from __future__ import annotations

from asiarc.core.errors import AsiarcError


class SpeedError(AsiarcError):
    """Speed cannot be judged as asked: no baseline, the wrong process, or a missing tool; the message says which."""


class NotMeasuredError(SpeedError):
    """This machine, now, cannot give the number; nothing is said about the code."""

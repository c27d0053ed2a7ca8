"""Run a Python command as nobody, on a machine where the interpreter may lie in root's own folder.

As root, all attacks as an ordinary user: ``python tests/execution/as_ordinary_user.py -m tests.rigs sandbox`` (who is
one already runs ``python -m tests.rigs sandbox``). The command sees a copy of the mounts in which that folder is
replaced by one that holds the interpreter alone.
"""

import os
import sys
import tempfile
from pathlib import Path

from asiarc.execution import layers

BIND_ALL, PRIVATE = 0x1000 | 0x4000, 0x4000 | 0x40000
NOBODY = 65534


def open_the_way(prefix):
    layers.mount("none", "/", None, PRIVATE)
    closed = [p for p in prefix.parents if not p.stat().st_mode & 0o001]
    if closed:
        kept = tempfile.mkdtemp()
        layers.mount(str(prefix), kept, None, BIND_ALL)
        layers.mount("none", str(closed[-1]), "tmpfs", 0, "mode=755")
        prefix.mkdir(parents=True)
        layers.mount(kept, str(prefix), None, BIND_ALL)


child = layers.fork_into(("mount_namespace",))
if child == 0:
    open_the_way(Path(sys.base_prefix))
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.chdir(Path(__file__).parents[2])
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], os.environ | {"HOME": "/", "TMPDIR": "/tmp"})
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

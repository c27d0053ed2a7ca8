"""The kernels that a file declares, and what of a repository a process has loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from asiarc.core.errors import KernelError, unknown_name
from asiarc.core.kernel import Kernel, kernels_in
from asiarc.core.loading import module_of

ROOTS = (".git", "pyproject.toml", "pytest.ini", "setup.py", "setup.cfg", "tox.ini")
"""What stands at the root of a repository."""


def roots_of(file: Path) -> list[Path]:
    """Where the modules of a file's repository are found: its root and its ``src``; where nothing tells a root, the
    folder that holds ``kernels/``, or else the file's own."""
    around = file.resolve().parents
    alone = around[1] if around[0].name == "kernels" and len(around) > 1 else around[0]
    root = next((folder for folder in around if any((folder / name).exists() for name in ROOTS)), alone)
    return [folder for folder in (root, root / "src") if folder.is_dir()]


def importable(file: Path) -> None:
    """From now on what a kernel file names may be imported: its neighbours, and what its repository holds."""
    for folder in (*roots_of(file), file.resolve().parent):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def declared_kernels(file: Path) -> dict[str, Kernel]:
    """The kernels of a file by name; `KernelError` where it declares none."""
    importable(file)
    found = kernels_in(module_of(file))
    if not found:
        raise KernelError(f"{file} declares no kernel; write NAME = Kernel(function=..., reference=..., ...)")
    return found


def one_kernel(file: Path, name: str) -> Kernel:
    """A kernel of a file; `KernelError` names those that it declares."""
    found = declared_kernels(file)
    if name not in found:
        raise KernelError(unknown_name(f"kernel of {file.name}", name, found))
    return found[name]


def loaded_below(folder: Path) -> list[str]:
    """The files of every loaded module that lies below a folder, installed packages and asiarc aside."""
    others = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] != "asiarc"]
    files = [Path(str(getattr(module, "__file__", None) or "")) for module in others]
    return sorted(str(f) for f in files if f.is_relative_to(folder) and "site-packages" not in f.parts)

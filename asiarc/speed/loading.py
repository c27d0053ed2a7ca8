"""The kernels that a file declares, and what of a repository a process has loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from asiarc.core.errors import KernelError, unknown_name
from asiarc.core.kernel import Kernel, kernels_in
from asiarc.core.loading import module_of


def declared_kernels(file: Path, roots: Iterable[Path] = ()) -> dict[str, Kernel]:
    """The kernels of a file by name; `KernelError` where it declares none."""
    found = kernels_in(module_of(file, roots))
    if not found:
        raise KernelError(f"{file} declares no kernel; write NAME = Kernel(function=..., reference=..., ...)")
    return found


def one_kernel(file: Path, name: str, roots: Iterable[Path] = ()) -> Kernel:
    """A kernel of a file; `KernelError` names those that it declares."""
    found = declared_kernels(file, roots)
    if name not in found:
        raise KernelError(unknown_name(f"kernel of {file.name}", name, found))
    return found[name]


def loaded_below(folder: Path) -> list[str]:
    """The files of every loaded module that lies below a folder, installed packages aside."""
    files = [Path(str(getattr(module, "__file__", None) or "")) for module in list(sys.modules.values())]
    return sorted(str(f) for f in files if f.is_relative_to(folder) and "site-packages" not in f.parts)

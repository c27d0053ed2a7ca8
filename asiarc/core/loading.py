"""A file of a user's as a module, as pytest has it: found by its path, and it may import its neighbours."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class AsItStands(SourceFileLoader):
    """Compiles what is in the file now: Python takes bytecode for its own by second and size, and a number that is
    changed within the second it was written would go unseen."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file, past any that is kept."""
        return self.source_to_code(self.get_data(self.path), self.path)


def module_of(file: Path) -> ModuleType:
    """The module of a Python file; it may import what lies beside it."""
    if str(file.resolve().parent) not in sys.path:
        sys.path.insert(0, str(file.resolve().parent))
    return executed(file, file.stem)


def executed(file: Path, name: str) -> ModuleType:
    """The module of a Python file under a name; what it may import is as it was."""
    spec = importlib.util.spec_from_file_location(name, file, loader=AsItStands(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look for it
    spec.loader.exec_module(module)
    return module

"""What measures the product and is no part of it; `python -m tests.rigs` lists it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def search_path() -> str:
    """PYTHONPATH for processes that must find `tests` from wherever they are started."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

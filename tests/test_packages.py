"""A wheel holds all that a checkout has: every folder with code is a package of it, every data file goes along."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def placed(path):
    """Where a file or folder of the checkout is in the wheel, as a path from `asiarc`."""
    for package, folder in SETUP["package-dir"].items():
        if path.is_relative_to(folder):
            return Path(*package.split(".")) / path.relative_to(folder)
    return path


def files():
    found = [path.relative_to(ROOT) for name in ("asiarc", "kernels") for path in (ROOT / name).rglob("*")]
    return [path for path in found if (ROOT / path).is_file() and "__pycache__" not in path.parts]


def test_every_folder_with_code_is_a_package_and_no_other():
    folders = {".".join(placed(path.parent).parts) for path in files() if path.suffix == ".py"}
    assert folders == set(SETUP["packages"])
    assert len(SETUP["packages"]) == len(folders), "one is named twice"


@pytest.mark.parametrize("path", [path for path in files() if path.suffix != ".py"], ids=str)
def test_every_data_file_goes_along(path):
    inside = placed(path).relative_to("asiarc")
    patterns = SETUP["package-data"]["asiarc"]
    assert any(inside.match(pattern.removeprefix("**/")) for pattern in patterns if "**/" in pattern) or any(
        inside.match(pattern) and len(inside.parts) == 1 for pattern in patterns
    )

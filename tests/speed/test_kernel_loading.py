"""Where a kernel file finds the modules that it names."""

from __future__ import annotations

import pytest

from asiarc.speed import loading


@pytest.mark.parametrize(
    ("file", "marker", "roots"),
    [
        ("kernels/kernel_a.py", "", ["."]),
        ("elsewhere/kernel_a.py", "", ["elsewhere"]),
        ("deep/kernels/kernel_a.py", "pytest.ini", [".", "src"]),
    ],
)
def test_where_modules_are_found(tmp_path, monkeypatch, file, marker, roots):
    """With nothing that marks a root, the folder that holds ``kernels/`` is one."""
    monkeypatch.setattr(loading, "ROOTS", (marker,) if marker else ())
    (tmp_path / file).parent.mkdir(parents=True)
    if marker:
        (tmp_path / marker).touch()
        (tmp_path / "src").mkdir()
    assert loading.roots_of(tmp_path / file) == [(tmp_path / root).resolve() for root in roots]

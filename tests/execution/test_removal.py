"""What a job may leave behind is gone afterwards, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asiarc.execution import LocalExecutor
from asiarc.execution.removal import remove_tree

DEEP = 3000


def dig(folder):
    at = os.open(folder, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT, dir_fd=at))
    os.close(at)


def odd_names(folder):
    for name in ("\udcff\udcfe", "a\nb", "\x1b[2J", "-rf", " "):
        (folder / name).mkdir()
        (folder / name / name).touch()


def locked(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "x").touch()
    (folder / "a" / "b").chmod(0)
    (folder / "a").chmod(0o500)


def leads_out(folder):
    (folder / "link").symlink_to(folder.parent / "kept")
    (folder / "broken").symlink_to("nowhere")
    (folder / "deep").mkdir()
    (folder / "deep" / "link").symlink_to("../../kept")


@pytest.mark.parametrize("leave", [dig, odd_names, locked, leads_out, lambda folder: None])
def test_everything_goes_and_nothing_else(tmp_path, leave):
    left, kept = tmp_path / "left", tmp_path / "kept"
    for folder in (left, kept):
        folder.mkdir()
    (kept / "file").touch()
    leave(left)
    remove_tree(left)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="the test above runs as an ordinary user already")
def test_an_ordinary_user_removes_what_is_locked(tmp_path):
    script = Path(__file__).parent / "as_ordinary_user.py"
    code = (
        "import sys, tempfile; from pathlib import Path; sys.path.insert(0, 'tests/execution')\n"
        "import test_removal; left = Path(tempfile.mkdtemp()); test_removal.locked(left)\n"
        "test_removal.remove_tree(left); assert not left.exists()"
    )
    done = subprocess.run([sys.executable, script, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_link_or_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("link", "nothing"):
        remove_tree(tmp_path / name)
    assert (tmp_path / "kept").is_dir() and (tmp_path / "link").is_symlink()


def test_the_next_start_is_not_broken_by_what_was_left(tmp_path):
    abandoned = tmp_path / "asiarc-worker-abandoned"
    (abandoned / "job-1").mkdir(parents=True)
    locked(abandoned / "job-1")
    odd_names(abandoned / "job-1")
    os.utime(abandoned, (1, 1))
    with LocalExecutor(workers=1, preload=(), scratch=tmp_path) as executor:
        executor._start_worker()
    assert list(tmp_path.iterdir()) == []

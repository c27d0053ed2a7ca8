"""Commits of a git repository: the one to compare with, and a temporary checkout of it."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from asiarc.speed import SpeedError


def git(*arguments: str, root: Path) -> str:
    """The output of a git command; raises `SpeedError` with git's own words."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SpeedError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def baseline_commit(against: str | None, root: Path) -> str:
    """The commit to compare with: the one named, or the merge base with main (on main itself, the commit before)."""
    if against is not None:
        return git("rev-parse", "--verify", f"{against}^{{commit}}", root=root)
    for main in ("origin/main", "main"):
        with contextlib.suppress(SpeedError):
            base = git("merge-base", "HEAD", main, root=root)
            if base != git("rev-parse", "HEAD", root=root):
                return base
    try:
        return git("rev-parse", "--verify", "HEAD~1", root=root)
    except SpeedError as error:
        raise SpeedError("there is no commit to compare with; name one: --against COMMIT.") from error


@contextlib.contextmanager
def worktree(commit: str, root: Path) -> Iterator[Path]:
    """A temporary checkout of a commit."""
    with tempfile.TemporaryDirectory(prefix="asiarc-speed-") as folder:
        path = Path(folder) / "tree"
        git("worktree", "add", "--detach", "--quiet", str(path), commit, root=root)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", str(path), root=root)

"""git, as far as data and runs need it: which commit this is, and commits of the files that name data."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from hydra_ml.errors import VersionsError


def in_repository(root: Path = Path()) -> bool:
    """Whether `root` lies in a git repository that git can read."""
    try:
        _git(["rev-parse", "--git-dir"], root)
    except VersionsError:
        return False
    return True


def changed_since_commit(path: Path) -> tuple[str, ...]:
    """The lines that a file has now and had not in the last commit, without blanks; () if it is as it was.

    Raises VersionsError without git or a commit.
    """
    told = _git(["diff", "--unified=0", "HEAD", "--", path.name], path.parent)
    lines = [line[1:].strip() for line in told.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return tuple(line for line in lines if line)


def git_commit(root: Path = Path()) -> str:
    """Full id of the commit checked out, with "+dirty" if tracked files differ from it; "" without git or a commit."""
    try:
        commit = _git(["rev-parse", "--verify", "HEAD"], root)
        changed = _git(["status", "--porcelain", "--untracked-files=no"], root)
    except VersionsError:
        return ""
    return commit + ("+dirty" if changed else "")


def commit(paths: Sequence[Path], message: str, root: Path = Path()) -> bool:
    """Whether a git commit was made: of these files (relative to `root`) alone, if any of them changed.

    Raises VersionsError if git refuses; what else is staged stays as it is.
    """
    names = [str(path) for path in paths]
    if not names or not _git(["status", "--porcelain", "--", *names], root):
        return False
    _git(["add", "--", *names], root)
    _git(["commit", "--quiet", "--message", message, "--", *names], root)
    return True


def _git(arguments: Sequence[str], root: Path) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except OSError as error:
        raise VersionsError(f"git cannot be run ({error}). Install git.") from error
    if done.returncode:
        told = (done.stderr or done.stdout).strip()
        raise VersionsError(f"git {arguments[0]} failed in {root.resolve()} (exit {done.returncode}): {told}")
    return done.stdout.strip()

"""Personal data and secrets on disk are their owner's alone: what is made, is made so, and what lies open is closed.

Records, answers, heads, prompts in caches, databases of Prefect and MLflow, logs: all of it is of somebody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hydra_ml.io.files import readable

UMASK = 0o077  # new folders 0700, new files 0600
OTHERS = 0o077  # the bits of everybody but the owner
WRITE = 0o022
# Below a project's folder, all that can hold a word of a user or a secret; and every folder in data.
PRIVATE = (".cache", ".mlflow", ".prefect", ".logs", ".tmp", ".dvc/cache", ".dvc/tmp", ".dvc-remote")
# DVC makes its files read-only for everybody and takes another mode for a change: closed folders keep them.
FOLDERS_ALONE = (".dvc/cache", ".dvc-remote")
# Where people bring files. One that its owner has opened for others to write to stays as it is.
BROUGHT = ("data/incoming", "data/feedback", "data/requests")


def work_privately() -> None:
    """From here on everything that this process and those it starts create is their account's alone."""
    os.umask(UMASK)


def open_to_others(root: Path) -> list[Path]:
    """The folders and files of PRIVATE and of data that other accounts may list, read or write, relative to root;
    sorted, [] if none. Not among them: folders of BROUGHT that others may write to, which is somebody's intent."""
    return sorted(path.relative_to(root) for path in _open(root))


def close_to_others(root: Path) -> list[Path]:
    """Take everybody else's rights from what `open_to_others` finds and this account owns; what was closed."""
    closed = []
    for path in _open(root):
        try:
            path.chmod(path.lstat().st_mode & 0o7777 & ~OTHERS)
        except (PermissionError, FileNotFoundError):  # another account's, which only it can close; or gone
            continue
        closed.append(path.relative_to(root))
    return sorted(closed)


def closed_text(closed: list[Path]) -> str:
    """What `close_to_others` did, for people; "" for nothing."""
    if not closed:
        return ""
    places = sorted({path.parts[0] for path in closed})
    some = f"{readable(closed[0])}" if len(closed) == 1 else f"{len(closed):,} files and folders"
    return f"Closed to other accounts of this machine: {some} below {', '.join(places)}."


def _open(root: Path) -> Iterator[Path]:
    """Everything below the private folders with a right for others; links are neither followed nor named."""
    folders = [root / name for name in PRIVATE]
    if (root / "data").is_dir():
        folders += (root / "data").iterdir()
    waiting = [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
    lent = {root / name for name in BROUGHT}
    folders_alone = [root / name for name in FOLDERS_ALONE]
    while waiting:
        folder = waiting.pop()
        mode = folder.stat().st_mode
        if folder in lent and mode & WRITE:
            continue
        if mode & OTHERS:
            yield folder
        try:
            entries = list(os.scandir(folder))
        except (PermissionError, FileNotFoundError):  # another account's, or gone meanwhile
            continue
        for entry in entries:
            if entry.is_symlink():
                continue
            if entry.is_dir():
                waiting.append(Path(entry.path))
                continue
            if any(folder.is_relative_to(top) for top in folders_alone):
                continue
            try:
                is_open = entry.stat(follow_symlinks=False).st_mode & OTHERS
            except FileNotFoundError:
                continue
            if is_open:
                yield Path(entry.path)

"""What lies in data/incoming: files of records and folders of LaMP files.

Rows are read by `io.record_reader`, and judged by `io.gx.drop_checks`. Files that are hidden, end in .partial, or
changed a moment ago are still being written and left alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from hydra_ml.io.files import folder_digest, readable
from hydra_ml.io.record_reader import ENDINGS

DONE = "done"  # folder of data/incoming that drops go to once they are merged


def waiting_drops(incoming: Path, settle_s: float) -> list[Path]:
    """Drops that nobody has touched for `settle_s` seconds, by name; [] if there is no such folder.

    A drop is a .jsonl or .parquet file, a LaMP_n folder, or a folder that holds LaMP_n folders.
    """
    found = sorted(path for path in incoming.iterdir() if is_drop(path)) if incoming.is_dir() else []
    return [path for path in found if is_settled(path, settle_s)]


def look_into(incoming: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names in data/incoming that an ingest takes once they have settled, and names that none will ever take."""
    found = sorted(incoming.iterdir()) if incoming.is_dir() else []
    told = [path for path in found if not path.name.startswith(".") and path.name != DONE]
    partial = {path.name for path in told if path.suffix == ".partial"}  # still being written
    drops = tuple(readable(path.name) for path in told if is_drop(path) or path.name in partial)
    return drops, tuple(name for path in told if (name := readable(path.name)) not in drops)


def is_drop(path: Path) -> bool:
    """Whether the path is something `ingest` would take."""
    if path.name.startswith(".") or path.name == DONE:
        return False
    if path.is_dir():
        if path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()):
            return False  # a way back to where we are: it holds whatever we write
        return path.name.startswith("LaMP_") or any(path.glob("LaMP_*"))
    return path.suffix in ENDINGS and path.is_file()  # of a pipe or a device no end is known


def is_settled(path: Path, settle_s: float) -> bool:
    """Whether nothing at or below the path is partial or younger than that. A clock set back counts as settled."""
    files = _at_and_below(path)
    if any(file.suffix == ".partial" for file in files):
        return False
    try:
        age = time.time() - max(_facts(file).st_mtime for file in files)
    except OSError:  # renamed meanwhile, or not to be looked at now
        return False
    return age >= settle_s or age < 0


def drop_state(path: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all at and below the path: the same as before if nobody has written to it since."""
    stats = {str(file): _facts(file) for file in _at_and_below(path)}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def _at_and_below(path: Path) -> list[Path]:
    return [path, *path.rglob("*")] if path.is_dir() else [path]


def _facts(path: Path) -> os.stat_result:
    """Of a file what a link leads to, of all else what lies there: a link to a folder, or to itself, stays as it is."""
    return path.stat() if path.is_file() else path.lstat()


def drop_digest(path: Path) -> str:
    """16 hex digits over the drop's content, whatever its name."""
    if path.is_dir():
        return folder_digest(path)
    total = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def move_drop(path: Path, target: Path) -> None:
    """Move the drop to `target`, in the place of a drop of the same content if there is one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and target.is_dir():
        aside = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(aside)
        path.rename(target)
        remove_tree(aside)
    else:
        os.replace(path, target)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, if it is there."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)

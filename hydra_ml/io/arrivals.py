"""What people and their tools put into a folder of ours: what of it is taken, what is not whole yet, what is left.

Nothing is passed over without a word: whatever is not taken has a reason, but for hidden files and the marks that
Spark leaves. Folders (one a day) are looked into; one with a file's ending (Spark's x.parquet/) is one file in parts.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from hydra_ml.io.files import readable
from hydra_ml.io.row_files import TAKEN, format_of

DEPTH = 3  # of folders in each other that are looked into: year, month, day
WRITING = "_temporary"  # Spark's, for as long as it writes
_MARKS = re.compile(r"_(SUCCESS|temporary|metadata|common_metadata|committed_.*|started_.*)")
_HALF = {".partial", ".part", ".tmp", ".temp", ".filepart", ".crdownload", ".swp"}
_DRAWN = re.compile(r"\.(?=.*[A-Za-z])(?=.*[0-9A-Z])[0-9A-Za-z]{5,8}")  # what rsync and others add while they copy
_REMEDIES = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".bz2", ".xz", ".zst", ".gz"), "unpack it"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as .csv"),
}


def named_readably(path: Path) -> Path:
    """The file or folder under a name that can be shown: renamed where its own holds what is not seen or no UTF-8,
    unless that name is taken."""
    named = path.with_name(readable(path.name))
    return path if named.name == path.name or named.exists() else path.rename(named)


@dataclass(frozen=True)
class Arrivals:
    """What lies in a folder and below, each kind by name."""

    taken: list[Path] = field(default_factory=list)
    growing: list[Path] = field(default_factory=list)  # not whole yet, by their names
    left: dict[Path, str] = field(default_factory=dict)  # what nothing takes, and why


def look(folder: Path, *, is_one: Callable[[Path], bool] = lambda _: False, but: Collection[str] = ()) -> Arrivals:
    """What lies in the folder; nothing if it is not there. is_one: folders that are taken as they are; but: names that
    are not looked at."""
    found = Arrivals()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name not in but:
            _sort(path, found, is_one, DEPTH)
    return found


def _sort(path: Path, found: Arrivals, is_one: Callable[[Path], bool], depth: int) -> None:
    """Put the path, or what lies below it, where it belongs."""
    if path.name.startswith(".") or _MARKS.fullmatch(path.name):
        return
    if is_half(path):
        found.growing.append(path)
    elif not path.is_dir():
        if format_of(path) and path.is_file():  # of a pipe or a device no end is known
            found.taken.append(path)
        else:
            found.left[path] = _why(path)
    elif path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()):
        found.left[path] = "it is a link that leads back to where it lies"
    elif is_one(path) or format_of(path):
        found.taken.append(path)
    elif (path / WRITING).exists():
        found.growing.append(path)
    elif not depth:
        found.left[path] = f"it lies in more than {DEPTH} folders"
    else:
        _sort_below(path, found, is_one, depth)


def _sort_below(folder: Path, found: Arrivals, is_one: Callable[[Path], bool], depth: int) -> None:
    below = Arrivals()
    for path in sorted(folder.iterdir()):
        _sort(path, below, is_one, depth - 1)
    found.taken.extend(below.taken)
    found.growing.extend(below.growing)
    if below.taken or below.growing:
        found.left.update(below.left)
    elif below.left:  # a folder of photos is one thing, not a thousand
        first, why = next(iter(below.left.items()))
        found.left[folder] = f"nothing in it is taken; of {first.name}: {why}"


def _why(path: Path) -> str:
    """Why a file is not taken, and what to do."""
    if not path.is_file():
        return "it is no file, or a link to nothing"
    ending = path.suffix.lower()
    return f"its name ends in {ending or 'nothing known'}: {_REMEDIES.get(ending, 'remove it')}; taken are {TAKEN}"


def is_half(path: Path) -> bool:
    """Whether the name says that the file is being written or copied."""
    if path.suffix.lower() in _HALF or path.name.endswith("~") or path.name == WRITING:
        return True
    return bool(_DRAWN.fullmatch(path.suffix) and format_of(Path(path.stem)))


def is_settled(path: Path, settle_s: float) -> bool:
    """Whether nothing at or below the path is half written or younger than that. A clock set back counts as settled."""
    files = at_and_below(path)
    if any(is_half(file) for file in files):
        return False
    try:
        age = time.time() - max(facts_of(file).st_mtime for file in files)
    except OSError:  # renamed meanwhile, or not to be looked at now
        return False
    return age >= settle_s or age < 0


def at_and_below(path: Path) -> list[Path]:
    """The path and all that lies below it; a link to a folder is not followed."""
    return [path, *path.rglob("*")] if path.is_dir() else [path]


def facts_of(path: Path) -> os.stat_result:
    """Of a file what a link leads to, of all else what lies there: a link to a folder, or to itself, stays as it is."""
    return path.stat() if path.is_file() else path.lstat()

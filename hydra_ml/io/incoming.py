"""What lies in data/incoming: files of records and folders of LaMP files.

Rows are read by `io.row_files`, and judged by `io.gx.drop_checks`. What is half written or changed a moment ago is left
alone, see `io.arrivals`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hydra_ml.io.arrivals import Arrivals, at_and_below, facts_of, is_settled, look
from hydra_ml.io.files import folder_digest
from hydra_ml.io.lamp.folders import is_lamp

DONE = "done"  # folder of data/incoming that drops go to once they are merged


def waiting_drops(incoming: Path, settle_s: float) -> list[Path]:
    """Drops that nobody has touched for `settle_s` seconds, by name; [] if there is no such folder.

    A drop is a file of records, a LaMP_n folder, or a folder that holds LaMP_n folders; files may lie in folders.
    """
    return [path for path in look_into(incoming).taken if is_settled(path, settle_s)]


def look_into(incoming: Path) -> Arrivals:
    """What an ingest takes once it has settled, what is half written, and what none will ever take."""
    return look(incoming, is_one=is_lamp, but={DONE})


def drop_state(path: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all at and below the path: the same as before if nobody has written to it since."""
    stats = {str(file): facts_of(file) for file in at_and_below(path)}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


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

"""Which folders hold which task's LaMP files, however people name them and lay them out. Knows nothing of contents."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.tasks import TASKS, get_task

SPLITS = ("train", "dev", "test")
_LIKE = re.compile(r"LaMP[-_ ]?\d\w*", re.IGNORECASE)  # LaMP_2, LaMP-2N, lamp_2m


def is_lamp(path: Path) -> bool:
    """Whether the folder is one of a task's LaMP files by its name, or holds such a folder."""
    if not path.is_dir():
        return False
    return bool(_LIKE.fullmatch(path.name)) or any(_LIKE.fullmatch(below.name) for below in path.iterdir())


def task_folders(source: Path, only: Collection[str] | None = None) -> dict[str, Path]:
    """Folder name of each task -> the folder its files are in; a task's folder itself may be given for `source`.

    Raises DataError if there is none, one of no known task, or two of one task.
    """
    below = sorted(source.iterdir()) if source.is_dir() else []
    paths = [path for path in below if path.is_dir() and _LIKE.fullmatch(path.name)]
    if not paths and source.is_dir() and _LIKE.fullmatch(source.name):
        paths = [source]
    paths = [path for path in paths if only is None or path.name in only]
    if not paths:
        state = "has no LaMP_* folder" if source.is_dir() else "is no folder"
        raise DataError(
            f"{source}: {state}. Expected is e.g. {source / 'LaMP_3' / 'train' / 'train_questions.json'}; give the "
            "folder that holds the LaMP_n folders."
        )
    faults, found = [], dict[str, Path]()
    for path in paths:
        folder = _task_of(path.name)
        if folder is None:
            faults.append(f"{path.name}: no such task. Allowed folders are {', '.join(TASKS)}.")
        elif folder in found:
            faults.append(f"{path.name} and {found[folder].name} are both {folder}. Keep one.")
        else:
            found[folder] = path
    if faults:
        raise DataError("\n".join(f"{source}: {fault}" for fault in faults))
    return _with_movies(found)


def files_of(folder: Path, split: str) -> dict[str, Path]:
    """A split's "questions" and "outputs", where they lie or should: in a folder of the split's name, or beside it."""
    nested = {kind: folder / split / f"{split}_{kind}.json" for kind in ("questions", "outputs")}
    flat = {kind: folder / path.name for kind, path in nested.items()}
    return flat if flat["questions"].exists() and not nested["questions"].exists() else nested


def _task_of(name: str) -> str | None:
    plain = re.sub(r"^LaMP[-_ ]?", "LaMP_", name, flags=re.IGNORECASE).replace("-", "_")
    plain = f"LaMP_{plain[5:].upper()}"
    try:
        return get_task(plain).folder
    except ParamsError:
        return None


def _with_movies(found: dict[str, Path]) -> dict[str, Path]:
    """LaMP's own layout: plain LaMP_2 is news there, LaMP_2/new movies."""
    news = found.get("LaMP_2")
    if news is None or not (news / "new").is_dir():
        return found
    if any(files_of(news, split)["questions"].exists() for split in SPLITS):
        found.setdefault("LaMP_2N", news)
    return {**found, "LaMP_2": news / "new"}

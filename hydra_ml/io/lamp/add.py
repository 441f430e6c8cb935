"""A folder of files in LaMP's layout, checked and copied whole: nothing half-written is ever under its final name."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from tqdm import tqdm

from hydra_ml.errors import DataError
from hydra_ml.io.lamp.checks import load_document
from hydra_ml.io.lamp.download import SPLITS
from hydra_ml.io.lamp.files import is_dated, questions_path, read_split, split_files
from hydra_ml.tasks import TASKS
from hydra_ml.tasks.task import Task


def add(source: Path, raw: Path, only: Collection[str] | None = None) -> list[str]:
    """Sorted names of the task folders of `source`, now checked and copied to `raw/<folder>/`.

    Each needs train and dev with golds; test, and test's golds, may be absent. LaMP's own LaMP_2/new (movies, beside
    plain news) is understood. A folder of `raw` that is identical already is left untouched; one that differs is
    replaced whole. Folders not in `only`, if given, are passed over. Raises DataError with the faults of every folder,
    and then copies nothing.
    """
    found = _task_folders(source, only)
    faults: list[str] = []
    for folder, path in tqdm(sorted(found.items()), desc="checking LaMP files", unit="task", leave=False):
        try:
            _check_folder(path, TASKS[folder])
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join([*faults, f"Nothing was copied to {raw}."]))
    changed = {raw / folder: path for folder, path in found.items() if not _holds_the_same(raw / folder, path)}
    try:  # all copies are made before the first folder is replaced
        for target, path in changed.items():
            _copy(path, _beside(target, "partial"))
        for target in changed:
            _swap_in(_beside(target, "partial"), target)
    finally:
        for target in changed:
            shutil.rmtree(_beside(target, "partial"), ignore_errors=True)
    return sorted(found)


def n_questions(folder: Path) -> int:
    """How many questions a task's checked folder holds, in all its splits."""
    return sum(len(load_document(questions_path(folder, split))) for split in _splits_of(folder))


def _task_folders(source: Path, only: Collection[str] | None) -> dict[str, Path]:
    """Folder name of each task -> where its splits are. Raises DataError if there is none, or one of no known task."""
    paths = sorted(path for path in source.glob("LaMP_*") if path.is_dir() and (only is None or path.name in only))
    if not paths:
        state = "has no LaMP_* folder" if source.is_dir() else "is no folder"
        raise DataError(
            f"{source}: {state}. Expected is e.g. {source / 'LaMP_3' / 'train' / 'train_questions.json'}; give the "
            "folder that holds the LaMP_n folders."
        )
    unknown = [path.name for path in paths if path.name not in TASKS]
    if unknown:
        raise DataError(f"{source}: {', '.join(unknown)}: no such task. Allowed folders are {', '.join(TASKS)}.")
    found = {path.name: path for path in paths}
    movies = source / "LaMP_2" / "new"
    if "LaMP_2" in found and movies.is_dir():  # LaMP's own layout
        if (source / "LaMP_2" / "train").is_dir():
            found.setdefault("LaMP_2N", source / "LaMP_2")
        found["LaMP_2"] = movies
    return found


def _splits_of(path: Path) -> list[str]:
    """train and dev always, test if its questions are there."""
    return [split for split in SPLITS if split != "test" or questions_path(path, split).exists()]


def _check_folder(path: Path, task: Task) -> None:
    """Raise DataError unless every split reads well and all are of one kind, time-based or user-based."""
    kinds: dict[str, bool] = {}
    for split in _splits_of(path):
        questions, _ = read_split(path, split, task, need_golds=split != "test")
        kinds[split] = is_dated(questions)
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{split} is {'time' if dated else 'user'}-based" for split, dated in kinds.items())
        raise DataError(f"{path}: {told}. Take all splits from one of LaMP's two families.")


def _file_names(path: Path) -> set[Path]:
    """The LaMP files that a task folder has, relative to it."""
    files = (file for split in _splits_of(path) for file in split_files(path, split).values())
    return {file.relative_to(path) for file in files if file.exists()}


def _holds_the_same(target: Path, path: Path) -> bool:
    """Whether `target` has the LaMP files of `path`, byte for byte, and no other file."""
    names = _file_names(path)
    held = {file.relative_to(target) for file in target.rglob("*") if file.is_file()}
    return held == names and all(filecmp.cmp(path / name, target / name, shallow=False) for name in names)


def _beside(target: Path, state: str) -> Path:
    """A hidden neighbour of `target` for this process."""
    return target.with_name(f".{target.name}.{os.getpid()}.{state}")


def _copy(path: Path, fresh: Path) -> None:
    """Copy the LaMP files of `path` to the new folder `fresh`."""
    for name in sorted(_file_names(path)):
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path / name, fresh / name)


def _swap_in(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`; the old folder goes only when the new one stands."""
    old = _beside(target, "old")
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""A folder of files in LaMP's layout, checked and copied whole: nothing half-written is ever under its final name."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from hydra_ml.errors import DataError
from hydra_ml.io.lamp.checks import load_document
from hydra_ml.io.lamp.contents import Contents, read_contents
from hydra_ml.io.lamp.files import split_files, write_split
from hydra_ml.io.lamp.folders import SPLITS, files_of, task_folders
from hydra_ml.tasks import TASKS
from hydra_ml.tasks.task import Task


def add(
    source: Path, raw: Path, only: Collection[str] | None = None, *, seed: int = 0, max_bad_share: float = 0.0
) -> dict[str, list[str]]:
    """The task folders of `source` by name, now checked and in `raw/<folder>/`; of each what was assumed or left out.

    Each needs train or dev with golds, see `io.lamp.contents`; test, and test's golds, may be absent. Names and layouts
    that people use are understood, see `io.lamp.folders`. Files of which nothing was assumed are copied as they are. A
    folder of `raw` that would become what it is already is left untouched; one that differs is replaced whole. Folders
    not in `only`, if given, are passed over. seed, max_bad_share: as for `read_contents`. Raises DataError with the
    faults of every folder, and then copies nothing.
    """
    found = task_folders(source, only)
    faults: list[str] = []
    notes: dict[str, list[str]] = {}
    try:  # all copies are made before the first folder is replaced
        for folder, path in tqdm(sorted(found.items()), desc="checking LaMP files", unit="task", leave=False):
            try:
                contents = read_contents(path, TASKS[folder], seed=seed, max_bad_share=max_bad_share)
            except DataError as error:
                faults.append(str(error))
                continue
            notes[folder] = [*_layout_notes(path, folder), *contents.notes]
            _put(contents, path, TASKS[folder], _beside(raw / folder, "partial"))
        if faults:
            raise DataError("\n".join([*faults, f"Nothing was copied to {raw}."]))
        for folder in notes:
            fresh = _beside(raw / folder, "partial")
            if not _is_the_same(fresh, raw / folder):
                _swap_in(fresh, raw / folder)
    finally:
        for folder in found:
            shutil.rmtree(_beside(raw / folder, "partial"), ignore_errors=True)
        with suppress(OSError):
            raw.rmdir()  # only if nothing is in it
    return notes


def _layout_notes(path: Path, folder: str) -> list[str]:
    """What was made of the folder's name and layout, where they are not LaMP's."""
    named = [] if path.name in (folder, "new") or folder == "LaMP_2N" else [f"folder {path.name} is taken for {folder}"]
    flat = [split for split in SPLITS if files_of(path, split)["questions"].parent == path]
    return [*named, *([f"no split folders: files are taken by their names ({', '.join(flat)})"] if flat else [])]


def n_questions(folder: Path) -> int:
    """How many questions a task's checked folder holds, in all its splits."""
    paths = [files_of(folder, split)["questions"] for split in SPLITS]
    return sum(len(load_document(path)) for path in paths if path.exists())


def _put(contents: Contents, path: Path, task: Task, fresh: Path) -> None:
    """Make the new folder `fresh` of a task folder: its files as they are, or as `write_split` writes what is taken."""
    for split, (questions, golds) in contents.splits.items():
        if contents.notes:
            write_split(fresh, split, task, questions, golds)
            continue
        for kind, target in split_files(fresh, split).items():
            if (file := files_of(path, split)[kind]).exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _is_the_same(fresh: Path, target: Path) -> bool:
    """Whether both folders hold the same files, byte for byte."""
    names, held = (
        {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()} for folder in (fresh, target)
    )
    return held == names and all(filecmp.cmp(fresh / name, target / name, shallow=False) for name in names)


def _beside(target: Path, state: str) -> Path:
    """A hidden neighbour of `target` for this process."""
    return target.with_name(f".{target.name}.{os.getpid()}.{state}")


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

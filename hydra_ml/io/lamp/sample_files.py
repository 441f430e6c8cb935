"""The bundled sample on disk, in the layout LaMP's own files have; the truth about the users' tastes lies elsewhere.

Nothing that trains or evaluates reads the truth: it is there for tests and for the curious.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra_ml.io.files import save_json
from hydra_ml.io.lamp.files import Question, write_split
from hydra_ml.io.task_files import get_task
from hydra_ml.sample import generate


def write_sample(raw: Path, tasks: Sequence[str], *, seed: int, truth: Path) -> None:
    """Write raw/<task>/{train,dev,test}/ and truth/<task>.json for each task; same seed, same bytes.

    Files that already hold the same bytes are left untouched, times included; others are replaced whole. Raises
    ParamsError for an unknown task before anything is written. `truth` must not be a folder inside `raw`.
    """
    folders = [get_task(name).folder for name in tasks]
    if truth.resolve().is_relative_to(raw.resolve()):
        raise ValueError(f"truth folder {truth} lies inside {raw}, which the pipeline reads")
    raw.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        with TemporaryDirectory(dir=raw.parent, prefix=".sample-") as fresh:
            _write_task(Path(fresh), folder, seed)
            _move_changed(Path(fresh) / "raw", raw / folder)
            _move_changed(Path(fresh) / "truth", truth)


def _write_task(fresh: Path, folder: str, seed: int) -> None:
    """One task's files below fresh/raw and fresh/truth."""
    sample = generate(folder, seed=seed)
    for split, entries in sample.questions.items():
        questions = [
            Question(entry["id"], entry["input"], tuple(entry["profile"]), entry["user_id"], entry["date"])
            for entry in entries
        ]
        write_split(fresh / "raw", split, get_task(folder), questions, sample.golds[split])
    save_json(sample.truth, fresh / "truth" / f"{folder}.json")


def _move_changed(source: Path, target: Path) -> None:
    """Move every file below `source` to its place below `target`, unless the same bytes are there already."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        if place.is_file() and filecmp.cmp(file, place, shallow=False):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)

"""Which request files wait for batch_score: those in data/requests whose content has no finished batch yet.

A file in data/requests/<task> is the task's; one in data/requests itself is for every task that one of its requests
names. What was scored with an earlier release stays scored: asking again is `hydra-ml score`'s affair.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.batch_folder import BatchFolder, content_of
from hydra_ml.io.incoming import is_settled
from hydra_ml.io.requests import ENDINGS, SHARED
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task


def waiting_requests(task: Task, *, data: Path, settle_s: float = 0.0) -> list[Path]:
    """The files to score for this task, by name; [] if the folder is not there. A file that cannot be read waits too:
    planning its batch tells why. settle_s: files that changed since so many seconds may still grow and are left out."""
    folder = data / SHARED
    files = [path for place in (folder / task.folder, folder) for path in sorted(place.glob("*.*")) if _counts(path)]
    done = _scored(data / "predictions" / task.folder)
    waiting = [path for path in files if is_settled(path, settle_s) and not _is_in(done, path)]
    return [path for path in waiting if path.parent != folder or _names(path, task)]


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix in ENDINGS and not path.name.startswith(".")


def _scored(home: Path) -> set[str]:
    """Digests of the request files of finished batches."""
    batches = (BatchFolder(path.parent) for path in home.glob("*/batch.json"))
    return {batch.facts()["content"] for batch in batches if batch.is_finished}


def _is_in(done: set[str], path: Path) -> bool:
    try:
        return content_of(path) in done
    except DataError:
        return False


def _names(path: Path, task: Task) -> bool:
    """Whether one of the file's requests is for the task."""
    try:
        if path.suffix == ".parquet":
            return any(_is(name, task) for name in pq.read_table(path, columns=["task"])["task"].unique().to_pylist())
        with path.open("rb") as lines:
            return any(_is(_task_of(line), task) for line in lines)
    except (OSError, pa.ArrowException, KeyError):
        return True


def _task_of(line: bytes) -> object:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # a dead letter of whichever task the file is scored for
        return None
    return entry.get("task") if isinstance(entry, dict) else None


def _is(name: object, task: Task) -> bool:
    try:
        return isinstance(name, str) and get_task(name) is task
    except ParamsError:
        return False

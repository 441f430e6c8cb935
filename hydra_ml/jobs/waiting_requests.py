"""Which request files wait for batch_score: those in data/requests whose content has no finished batch yet.

A file in data/requests/<task> is the task's; any other below data/requests, which may lie in a folder a day, is for
every task that one of its requests names. What was scored with an earlier release stays scored: asking again is
`hydra-ml score`'s affair.
"""

from __future__ import annotations

import logging
from pathlib import Path

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.arrivals import Arrivals, is_settled, look, named_readably
from hydra_ml.io.batch_folder import BatchFolder, content_of
from hydra_ml.io.bounded_json import checked_as
from hydra_ml.io.layout import common_folder, task_folder
from hydra_ml.io.parquet_rows import first_line
from hydra_ml.io.requests import is_shared
from hydra_ml.io.row_files import read_rows
from hydra_ml.io.task_files import get_task
from hydra_ml.tasks.task import Task

log = logging.getLogger(__name__)


def waiting_requests(task: Task, *, data: Path, settle_s: float = 0.0) -> list[Path]:
    """The files to score for this task, its own first, by name; [] if the folder is not there. A file that cannot be
    read waits too: planning its batch tells why. settle_s: files that changed since so many seconds may still grow and
    are left out."""
    folder = common_folder(data, "requests")
    own = folder / task.folder
    files = [path for path in look_into(data).taken if is_shared(path) or path.is_relative_to(own)]
    done = _scored(task_folder(data, "predictions", task))
    waiting = [path for path in files if is_settled(path, settle_s) and not _is_in(done, path)]
    waiting = [named_readably(path) for path in waiting]
    return [
        *(path for path in waiting if path.is_relative_to(own)),
        *(path for path in waiting if not path.is_relative_to(own) and _names(path, task)),
    ]


def look_into(data: Path) -> Arrivals:
    """What lies in data/requests: files of requests, scored ones too, what is half written, what nobody takes."""
    return look(common_folder(data, "requests"))


def unreadable(path: Path) -> str:
    """Why a request file cannot be read at all; "" if it can, though every request in it may still be unfit."""
    try:
        first = next(read_rows(path, ["request_id"]), None)
    except DataError as error:
        return first_line(error.__cause__ or error)
    return "it holds no row" if first is None else ""


def set_aside(task: Task, *, data: Path) -> dict[str, int]:
    """How many requests of each finished batch became dead letters, by dead_letters.jsonl relative to `data`, the
    newest first; batches without one, and those whose report cannot be read, are left out."""
    found = []
    for path in task_folder(data, "predictions", task).glob("*/report.json"):
        folder = BatchFolder(path.parent)
        try:
            n_letters = checked_as(int, folder.report().batch.get("dead_letters", 0))
        except ValueError as error:
            log.warning("%s: %s", path, error)
            continue
        if n_letters:
            found.append((path.stat().st_mtime, folder.dead_letters.relative_to(data).as_posix(), n_letters))
    return {name: n_letters for _, name, n_letters in sorted(found, reverse=True)}


def _scored(home: Path) -> set[str]:
    """Digests of the request files of finished batches."""
    batches = (BatchFolder(path.parent) for path in home.glob("*/batch.json"))
    facts = (batch.known_facts() for batch in batches if batch.is_finished)
    return {known.content for known in facts if known is not None}


def _is_in(done: set[str], path: Path) -> bool:
    try:
        return content_of(path) in done
    except DataError:
        return False


def _names(path: Path, task: Task) -> bool:
    """Whether one of the file's requests is for the task, or none is for any: then every task's batch says so."""
    try:
        named = _tasks_named(path)
    except DataError:
        return True
    return task in named or not named


def _tasks_named(path: Path) -> set[Task]:
    """The tasks that the file's requests name; a row that is no request is a dead letter of whichever task scores it.
    Raises DataError if the file cannot be read."""
    named = (row.value.get("task") for row in read_rows(path, ["task"]) if isinstance(row.value, dict))
    names = {name for name in named if isinstance(name, str)}
    return {task for name in names if (task := _task(name)) is not None}


def _task(name: str) -> Task | None:
    try:
        return get_task(name)
    except ParamsError:
        return None

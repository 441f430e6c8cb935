"""withdraw: takes a drop out of what is learned and answered from, and gives it back.

The drop's file moves from data/history/<task> to data/withdrawn/<task> whole, with a note of why beside it. Both
folders are DVC's, so other clones follow. Its records stay out when somebody delivers them again. Heads that learned it
keep what they learned until the nightly flow makes new ones, or a release is rolled back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io import dvc as versions
from hydra_ml.io.files import load_json_as, save_json
from hydra_ml.io.history_store import drop_names, n_records
from hydra_ml.io.incoming import DONE
from hydra_ml.io.layout import common_folder, task_folder
from hydra_ml.jobs.ingest_alone import alone
from hydra_ml.jobs.ingest_report import IngestReport
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class Drop:
    """A drop of a task's history."""

    task: str  # as LaMP calls it
    name: str  # in data/history, a digest of what was new in it
    file: str  # as it lay in data/incoming; "" where no report of that is left
    records: int
    withdrawn: str = ""  # why, if it is
    withdrawn_at: str = ""  # ISO 8601, UTC


def drops_of(task: Task, *, data: Path) -> list[Drop]:
    """Every drop of the task, those in use first, by name."""
    history, aside = _folders(task, data)
    files = _files(task, data)
    used = [Drop(task.name, name, files.get(name, ""), n_records(history, name)) for name in drop_names(history)]
    gone = []
    for name in drop_names(aside):
        note = aside / f"{name}.json"
        reason, at = _note(note)
        gone.append(Drop(task.name, name, files.get(name, ""), n_records(aside, name), reason, at))
    return used + gone


def withdraw(drop: str, tasks: Sequence[Task], *, data: Path, reason: str = "") -> Drop:
    """Take a drop of one of the tasks out, named by its name (or the start of it) or its file's. One that is out
    already stays out.

    Raises DataError if there is no such drop, or several; VersionsError if DVC fails, and then the drop is out all the
    same.
    """
    with alone(common_folder(data, "incoming")):
        found, task = _found(drop, tasks, data)
        if not found.withdrawn:
            history, aside = _folders(task, data)
            aside.mkdir(parents=True, exist_ok=True)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            save_json({"reason": reason or "(no reason given)", "at": now}, aside / f"{found.name}.json")
            os.replace(history / f"{found.name}.parquet", aside / f"{found.name}.parquet")
        _track(task, data)
    return _found(found.name, [task], data)[0]


def give_back(drop: str, tasks: Sequence[Task], *, data: Path) -> Drop:
    """Put a withdrawn drop back; one that is in use stays so. Raises as `withdraw`."""
    with alone(common_folder(data, "incoming")):
        found, task = _found(drop, tasks, data)
        if found.withdrawn:
            history, aside = _folders(task, data)
            history.mkdir(parents=True, exist_ok=True)
            os.replace(aside / f"{found.name}.parquet", history / f"{found.name}.parquet")
            (aside / f"{found.name}.json").unlink(missing_ok=True)
        _track(task, data)
    return _found(found.name, [task], data)[0]


def drops_text(drops: Sequence[Drop]) -> list[list[str]]:
    """The drops as rows of a table, titles first."""
    rows = [["task", "drop", "file", "records", "withdrawn"]]
    for drop in drops:
        out = f"{drop.withdrawn_at[:16]} {drop.withdrawn}".strip() if drop.withdrawn else ""
        rows.append([drop.task, drop.name, drop.file or "-", f"{drop.records:,}", out])
    return rows


def documents(drops: Sequence[Drop]) -> list[dict[str, object]]:
    """The drops as JSON stores them."""
    return [asdict(drop) for drop in drops]


def _folders(task: Task, data: Path) -> tuple[Path, Path]:
    return task_folder(data, "history", task), task_folder(data, "withdrawn", task)


def _track(task: Task, data: Path) -> None:
    versions.track([folder.relative_to(data.parent) for folder in _folders(task, data) if folder.is_dir()], data.parent)


def _files(task: Task, data: Path) -> dict[str, str]:
    """The file each drop came in, by the drop's name, from the reports that ingest leaves."""
    found: dict[str, str] = {}
    for path in (common_folder(data, "incoming") / DONE).glob("*.report*.json"):
        try:
            report = load_json_as(IngestReport, path)
        except ArtifactError:  # the drops of that file are there all the same; which it was is not known
            continue
        if name := report.history.get(task.folder):
            found[name] = report.drop
    return found


def _note(path: Path) -> tuple[str, str]:
    """Why a drop was withdrawn, and when."""
    try:
        told = load_json_as(dict[str, str], path) if path.exists() else {"reason": "(no note left)"}
    except ArtifactError:
        told = {"reason": "(the note cannot be read)"}
    return told.get("reason", ""), told.get("at", "")


def _found(named: str, tasks: Sequence[Task], data: Path) -> tuple[Drop, Task]:
    drops = [drop for task in tasks for drop in drops_of(task, data=data)]
    fits = [drop for drop in drops if named and (drop.name.startswith(named) or named == drop.file)]
    if len(fits) == 1:
        return fits[0], next(task for task in tasks if task.name == fits[0].task)
    have = (
        ", ".join(f"{drop.name} of {drop.task} ({drop.file or 'file unknown'})" for drop in (fits or drops)) or "none"
    )
    raise DataError(f"{named!r} names {len(fits)} drops; name one of: {have}. `hydra-ml data drops` lists them.")

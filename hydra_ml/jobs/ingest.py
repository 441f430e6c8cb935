"""ingest: takes what lies in data/incoming into the data, once, and lets nothing unfit in or get lost.

Rows of records are judged one by one; bad ones go to data/quarantine with every reason. A drop that is bad beyond
`ingest.max_bad_share` is refused whole, as is a folder of LaMP files with any fault. Each step can be repeated, and a
drop leaves data/incoming last: whatever interrupts a run, the next one starts the same drop over and ends the same.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from hydra_ml.errors import DataError, VersionsError
from hydra_ml.io import versions
from hydra_ml.io.data_docs import DataDocs
from hydra_ml.io.drop_checks import Judged, judge_rows
from hydra_ml.io.history_store import append_drop, changed_users, drop_names, n_records
from hydra_ml.io.incoming import DONE, Row, drop_digest, move_drop, read_rows, waiting_drops
from hydra_ml.io.lamp_download import add, n_questions
from hydra_ml.io.tables import atomic_path, folder_digest, save_json
from hydra_ml.params import Params

LOCK_WAIT_S = 600.0  # for another ingest to end

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """What became of one task's rows (of a folder of LaMP files: questions)."""

    accepted: int = 0  # new
    known: int = 0  # sound, and there already
    quarantined: int = 0


@dataclass(frozen=True)
class IngestReport:
    """What became of one drop. Ids and texts are not in it: they lie in the files it names."""

    drop: str  # its name in data/incoming
    digest: str  # of its content
    kind: Literal["records", "lamp"]
    refused: str = ""  # why the whole drop was refused; "" if it was not
    tasks: Mapping[str, Counts] = field(default_factory=dict)  # by folder, or "unknown"
    reasons: Mapping[str, int] = field(default_factory=dict)  # what was expected -> of how many rows in vain
    history: Mapping[str, str] = field(default_factory=dict)  # task -> new file in data/history; none: nothing new
    n_users: int = 0  # with new records; their ids are in `details`
    data_version: Mapping[str, str] = field(default_factory=dict)  # folder -> DVC's digest after the drop
    quarantine: str = ""  # folder of the rows, or the drop, put aside
    details: str = ""  # JSON file: this report and the ids of the users changed
    docs: str = ""  # index.html of the Data Docs; "" where nothing was validated row by row
    not_published: str = ""  # why data is merged here but neither pushed nor committed; `publish` makes up for it

    @property
    def changed_tasks(self) -> list[str]:
        """Folders of the tasks whose data is not what it was."""
        return sorted(task for task, counts in self.tasks.items() if counts.accepted and not self.refused)

    def markdown(self) -> str:
        """The report for people, as a Markdown page."""
        lines = [
            f"# {self.drop}: {'refused' if self.refused else 'taken in'}",
            "",
            *([self.refused, ""] if self.refused else []),
            "| task | accepted | already known | quarantined |",
            "|---|---:|---:|---:|",
            *(f"| {task} | {c.accepted:,} | {c.known:,} | {c.quarantined:,} |" for task, c in self.tasks.items()),
        ]
        if self.reasons:
            lines += ["", "| reason | bad rows |", "|---|---:|"]
            lines += [f"| {reason} | {count:,} |" for reason, count in self.reasons.items()]
        facts = {
            "digest": self.digest,
            "users with new records": f"{self.n_users:,}",
            **{f"version of {folder}": version for folder, version in self.data_version.items()},
            "quarantine": self.quarantine,
            "details": self.details,
            "Data Docs": self.docs,
            "not published": self.not_published,
        }
        return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in facts.items() if value)]) + "\n"


def find_drops(incoming: Path, settle_s: float = 2.0) -> list[Path]:
    """The drops that wait in the folder and have not changed for `settle_s` seconds, by name."""
    return waiting_drops(incoming, settle_s)


def ingest_drop(path: Path, *, data: Path, params: Params) -> IngestReport:
    """Take one drop in, or refuse it, and move it out of data/incoming; the report says what became of it.

    data: the project's data folder, beside its dvc.yaml. Raises DataError if the disk fails, another ingest does not
    end, or earlier drops are not here; VersionsError if DVC fails. The drop then waits where it was.
    """
    with _alone(data / "incoming"), _told_of_disk(path):
        if not path.exists():
            raise DataError(f"{path}: no such drop; another run may have taken it. See {data / 'incoming' / DONE}.")
        take = _take_lamp if path.is_dir() else _take_records
        report, users = take(path, data, params)
        if report.refused:
            return _put_aside(path, data, report)
        done = data / "incoming" / DONE / f"{report.digest}-{path.name}"
        folders = [folder for task in report.tasks for folder in (data / "raw" / task, data / "history" / task)]
        folders = [folder for folder in folders if folder.is_dir()]
        versions.track([folder.relative_to(data.parent) for folder in folders], data.parent)
        at = {str(folder): versions.content_version(folder, data.parent) for folder in folders}
        report = replace(report, data_version=at, details=f"{done}.report.json")
        save_json({**asdict(report), "users": users}, Path(report.details))
        move_drop(path, done)
    try:
        publish(data, params)
    except VersionsError as error:
        log.warning("%s is merged but not published: %s", report.drop, error)
        return replace(report, not_published=str(error))
    return report


def publish(data: Path, params: Params) -> None:
    """Push the tracked folders of the data to DVC's remote and commit their .dvc files, as the params say; or again.

    Raises VersionsError if the remote cannot be reached or git refuses; what is merged here stays.
    """
    files = sorted([*(data / "raw").glob("LaMP_*.dvc"), *(data / "history").glob("LaMP_*.dvc")])
    targets = [file.relative_to(data.parent) for file in files]
    if params.ingest.commit:
        versions.commit(targets, "Data: what came in", data.parent)
    if params.ingest.push and targets:
        versions.push(targets, data.parent)


def _take_records(path: Path, data: Path, params: Params) -> tuple[IngestReport, dict[str, list[str]]]:
    """Merge the sound rows of a record drop; the users with new records by task. Refused: nothing is merged."""
    report = IngestReport(path.name, drop_digest(path), "records")
    try:
        rows = read_rows(path)
    except DataError as error:
        return replace(report, refused=str(error)), {}
    if not rows:
        return replace(report, refused="It holds no row."), {}
    docs = DataDocs(data / "docs")
    longest = min(params.ingest.max_text_chars, params.validate_.max_text_chars)  # else `validate` would stop at it
    today = datetime.now(UTC).date()
    judged = judge_rows(rows, max_text_chars=longest, today=today, context=docs.context, run_name=report.digest)
    quarantined = Counter(judged.tasks[position] for position in judged.reasons)
    tasks = {task: Counts(quarantined=quarantined[task]) for task in sorted({*judged.tasks})}
    reasons = Counter(reason for of_row in judged.reasons.values() for reason in of_row)
    report = replace(report, tasks=tasks, reasons=dict(reasons.most_common()), docs=str(docs.publish()))
    if judged.reasons:
        report = replace(report, quarantine=str(_quarantine(rows, judged, data, report.digest)))
    bad_share = len(judged.reasons) / len(rows)
    if bad_share > params.ingest.max_bad_share:
        told = (
            f"{len(judged.reasons):,} of {len(rows):,} rows are bad: more than the {params.ingest.max_bad_share:.0%} "
        )
        return replace(
            report, refused=f"{told}that `ingest.max_bad_share` allows. Mend the rows and drop them again."
        ), {}
    return _merge(report, judged, data)


def _merge(report: IngestReport, judged: Judged, data: Path) -> tuple[IngestReport, dict[str, list[str]]]:
    tasks, history, users = dict(report.tasks), {}, {}
    for task, records in judged.records.items():
        folder = data / "history" / task
        _need_earlier_drops(folder, data.parent)
        before = drop_names(folder)
        name = append_drop(folder, records)
        accepted = n_records(folder, name) if name else 0
        if name:
            history[task] = name
            users[task] = changed_users(folder, before)
        tasks[task] = replace(tasks[task], accepted=accepted, known=len(records) - accepted)
    n_users = len({user_id for of_task in users.values() for user_id in of_task})
    return replace(report, tasks=tasks, history=history, n_users=n_users), users


def _need_earlier_drops(folder: Path, root: Path) -> None:
    """Bring back the drops that the .dvc file in git counts and that are not here: tracking would forget them."""
    file = folder.with_name(f"{folder.name}.dvc")
    missing = versions.n_tracked_files(file) - len(drop_names(folder))
    if missing <= 0:
        return
    try:
        versions.pull([file.relative_to(root)], root)
    except VersionsError as error:
        raise DataError(
            f"{folder}: {missing} drop(s) that {file} counts are not here, and cannot be had: {error} Nothing new is "
            "added until they are back."
        ) from error


def _take_lamp(path: Path, data: Path, params: Params) -> tuple[IngestReport, dict[str, list[str]]]:
    """Put a folder of LaMP files in the place of data/raw's; all of it or, with any fault, nothing."""
    report = IngestReport(path.name, drop_digest(path), "lamp")
    raw = data / "raw"
    before = {folder.name: folder_digest(folder) for folder in raw.glob("LaMP_*") if folder.is_dir()}
    try:
        names = add(path.parent, raw, [path.name]) if path.name.startswith("LaMP_") else add(path, raw)
    except DataError as error:
        aside = data / "quarantine" / report.digest / "faults.txt"
        with atomic_path(aside) as partial:
            partial.write_text(f"{error}\n", "utf-8")  # it may quote texts: not for logs
        return replace(report, refused=f"Its files do not read as LaMP's; every fault is told in {aside}."), {}
    tasks = {}
    for name in names:
        (data / "history" / name).mkdir(parents=True, exist_ok=True)
        same = before.get(name) == folder_digest(raw / name)
        found = n_questions(raw / name)
        tasks[name] = Counts(known=found) if same else Counts(accepted=found)
    return replace(report, tasks=tasks), {}


def _quarantine(rows: Sequence[Row], judged: Judged, data: Path, digest: str) -> Path:
    """Write every bad row with its number and reasons, a file for each task; the folder they lie in."""
    folder = data / "quarantine" / digest
    by_task: dict[str, list[dict[str, Any]]] = {}
    for position, reasons in sorted(judged.reasons.items()):
        row = rows[position]
        told = [*reasons, *([row.fault] if row.fault else [])]
        entry = {"row": row.number, "reasons": told, "value": row.value}
        by_task.setdefault(judged.tasks[position], []).append(entry)
    for task, entries in by_task.items():
        with atomic_path(folder / f"{task}.jsonl") as partial:
            # ASCII, for half characters; dates and bytes of Parquet as text
            partial.write_text("".join(json.dumps(entry, default=str) + "\n" for entry in entries), "utf-8")
    return folder


def _put_aside(path: Path, data: Path, report: IngestReport) -> IngestReport:
    """Move a refused drop to quarantine, its report first."""
    folder = data / "quarantine" / report.digest
    report = replace(report, quarantine=str(folder), details=str(folder / "report.json"))
    save_json(asdict(report), Path(report.details))
    move_drop(path, folder / "drop" / path.name)
    return report


@contextmanager
def _alone(incoming: Path) -> Iterator[None]:
    """Wait for another ingest to end. Raises DataError if it does not."""
    incoming.mkdir(parents=True, exist_ok=True)
    lock = FileLock(incoming / ".lock")  # the system frees it when its process ends, however that happens
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        raise DataError(
            f"{incoming}: another ingest has been at work for {LOCK_WAIT_S:.0f} s. Let it end or stop it; run again."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _told_of_disk(path: Path) -> Iterator[None]:
    """Turn a failing disk into one DataError."""
    try:
        yield
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        raise DataError(
            f"{path}: could not be taken in, the disk failed{where} ({error.strerror or error}). No file is left "
            "half-written and the drop waits where it is: free some space, and run again."
        ) from error

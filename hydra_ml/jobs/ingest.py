"""ingest: takes what lies in data/incoming into the data, once, and lets nothing unfit in or get lost.

Rows of records are judged one by one; bad ones go to data/quarantine with every reason. A drop that is bad beyond
`ingest.max_bad_share` is refused whole, as is a folder of LaMP files with any fault. Each step can be repeated, and a
drop leaves data/incoming last: whatever interrupts a run, the next one starts the same drop over and ends the same,
its report too. A drop that grew while it was read stays, and is taken again: what is known already changes nothing.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd

from hydra_ml.errors import ArtifactError, DataError, VersionsError
from hydra_ml.io import dvc as versions
from hydra_ml.io import git
from hydra_ml.io.arrivals import at_and_below, named_readably
from hydra_ml.io.files import atomic_path, folder_digest, load_json_as, readable, save_json, short_name
from hydra_ml.io.forgotten import COME_AGAIN, leave_out
from hydra_ml.io.gx.data_docs import DataDocs
from hydra_ml.io.gx.drop_checks import Judged, judge_rows
from hydra_ml.io.history_store import append_drop, changed_users, drop_names, n_records, opened_drop
from hydra_ml.io.incoming import DONE, drop_digest, drop_state, look_into, move_drop, waiting_drops
from hydra_ml.io.lamp.add import add, n_questions
from hydra_ml.io.lamp.folders import is_lamp
from hydra_ml.io.lamp.raw_data import assumed_text
from hydra_ml.io.layout import common_folder, make_growing
from hydra_ml.io.row_files import Row, read_rows
from hydra_ml.io.task_files import known_tasks
from hydra_ml.jobs.ingest_alone import alone, told_of_disk
from hydra_ml.jobs.ingest_report import Counts, IngestReport, plain_name
from hydra_ml.params import Params

WITHDRAWN = "withdrawn"  # folder beside data/history of drops taken out of what is learned from: they stay out

if TYPE_CHECKING:
    from hydra_ml.jobs.feedback_report import FeedbackReport

log = logging.getLogger(__name__)
Told = TypeVar("Told", bound="IngestReport | FeedbackReport")


def find_drops(incoming: Path, settle_s: float) -> list[Path]:
    """The drops that wait in the folder and have not changed for `settle_s` seconds, by name; one whose name
    cannot be shown as it is, is renamed first. What lies there and is not taken is told in the log."""
    for path, why in look_into(incoming).left.items():
        log.warning("%s is not taken: %s", readable(path), why)
    return [named_readably(path) for path in waiting_drops(incoming, settle_s)]


def drop_name(path: Path, incoming: Path) -> str:
    """What a drop is called: its name, with the folders of data/incoming that it lies in."""
    return readable(path.relative_to(incoming) if path.is_relative_to(incoming) else path.name)


def ingest_drop(path: Path, *, data: Path, params: Params) -> IngestReport:
    """Take one drop in, or refuse it, and move it out of data/incoming; the report says what became of it.

    data: the project's data folder, beside its dvc.yaml. Raises DataError if the disk fails, another ingest does not
    end, or earlier drops are not here; VersionsError if DVC fails. The drop then waits where it was.
    """
    with alone(common_folder(data, "incoming")), told_of_disk(path):
        if not path.exists():
            raise DataError(f"{path}: no such drop; another run may have taken it. See {data / 'incoming' / DONE}.")
        report = _take(path, data, params)
    return report if report.refused else published(report, report.drop, data, params)


def published(report: Told, what: str, data: Path, params: Params) -> Told:
    """The report once what it tells of is pushed and committed as the params say, or with why it is not."""
    try:
        publish(data, params)
    except VersionsError as error:
        log.warning("%s is merged but not published: %s", what, error)
        return replace(report, not_published=str(error))
    return report


def publish(data: Path, params: Params) -> None:
    """Push the tracked folders of the data to DVC's remote and commit their .dvc files, as the params say; or again.

    Raises VersionsError if the remote cannot be reached or git refuses; what is merged here stays.
    """
    files = sorted(file for name in ("raw", "history", WITHDRAWN, "feedback") for file in (data / name).glob("*.dvc"))
    targets = [file.relative_to(data.parent) for file in files]
    if params.ingest.commit:
        git.commit(targets, "Data: what came in", data.parent)
    if params.ingest.push and targets:
        versions.push(targets, data.parent)


def _take(path: Path, data: Path, params: Params) -> IngestReport:
    """Merge and track the drop, or refuse it, and move it where it belongs; its report, which is kept beside it."""
    n_forgotten = leave_out(path, data)
    state = drop_state(path)
    kind: Literal["lamp", "records"] = "lamp" if is_lamp(path) else "records"
    report = IngestReport(
        drop_name(path, common_folder(data, "incoming")), drop_digest(path), kind, forgotten=n_forgotten
    )
    begun = _begun(report, data)
    report, users = (_take_lamp if kind == "lamp" else _take_records)(path, report, data, params)
    if not report.refused:
        report = _tracked(report, data)
    if drop_state(path) != state:
        log.warning("%s changed while it was read: it is taken again by the next run", path)
        report = replace(report, refused="", left="it changed while it was read; the next run takes it again")
    if report.refused:
        report = _put_aside(path, data, report)
    else:
        done = common_folder(data, "incoming") / DONE / f"{report.digest}-{short_name(path.name)}"
        report = replace(report, details=str(_free_report(done)))
        save_json({**asdict(report), "users": users}, Path(report.details))
        if not report.left:
            move_drop(path, done)
    begun.unlink(missing_ok=True)
    return report


def _tracked(report: IngestReport, data: Path) -> IngestReport:
    """The report with the versions that DVC has of the tasks' data now."""
    folders = [folder for task in report.tasks for folder in (data / "raw" / task, data / "history" / task)]
    folders = [folder for folder in folders if folder.is_dir()]
    versions.track([folder.relative_to(data.parent) for folder in folders], data.parent)
    return replace(report, data_version={str(at): versions.content_version(at, data.parent) for at in folders})


def _free_report(done: Path) -> Path:
    """Where this report goes: the same content may have come before, and that report says what was new in it."""
    names = chain([f"{done}.report.json"], (f"{done}.report-{number}.json" for number in count(2)))
    return next(path for path in map(Path, names) if not path.exists())


def _begun(report: IngestReport, data: Path) -> Path:
    """The note, beside the drop until it is done with, of what lay here when a run first began to take it."""
    return common_folder(data, "incoming") / f".{report.digest}.begun.json"


def _first_found(found: Any, report: IngestReport, data: Path) -> dict[str, Any]:
    """What lay here before any of the drop was merged: what is found now, or noted by a run that did not end."""
    note = _begun(report, data)
    if not note.exists():
        save_json(found, note)
    try:
        before: dict[str, Any] = load_json_as(dict[str, list[str] | str], note)
    except ArtifactError as error:
        log.warning("What an earlier run noted is lost, its rows may count as known already. %s", error)
        save_json(found, note)
        return dict(found)
    return before


def _take_records(
    path: Path, report: IngestReport, data: Path, params: Params
) -> tuple[IngestReport, dict[str, list[str]]]:
    """Merge the sound rows of a record drop; the users with new records by task. Refused: nothing is merged."""
    if report.forgotten and not any(file.stat().st_size for file in at_and_below(path) if file.is_file()):
        return replace(report, refused=f"All its rows are of users who were forgotten; {COME_AGAIN}."), {}
    try:
        rows = list(read_rows(path, ids={task.user_key for task in known_tasks().values()}))
    except DataError as error:
        return replace(report, refused=str(error)), {}
    if not rows:
        return replace(report, refused="It holds no row."), {}
    docs = DataDocs(data / "docs")
    longest = min(params.ingest.max_text_chars, params.validate_.max_text_chars)  # else `validate` would stop at it
    today = datetime.now(UTC).date()
    name = f"{plain_name(report.drop)}-{report.digest[:6]}"
    judged = judge_rows(rows, max_text_chars=longest, today=today, context=docs.context, run_name=name)
    quarantined = Counter(judged.tasks[position] for position in judged.reasons)
    tasks = {task: Counts(quarantined=quarantined[task]) for task in sorted({*judged.tasks})}
    reasons = Counter(reason for of_row in judged.reasons.values() for reason in of_row)
    report = replace(report, tasks=tasks, reasons=dict(reasons.most_common()), docs=str(docs.publish()))
    report = replace(report, docs_pages=tuple(map(str, docs.pages(name))), commands=judged.commands)
    if judged.reasons:
        report = replace(report, quarantine=str(quarantine_rows(rows, judged, data, report.digest)))
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
    folders = {task: data / "history" / task for task in judged.records}
    for folder in folders.values():
        need_earlier_drops(folder, data.parent)
    before = _first_found({task: drop_names(folder) for task, folder in folders.items()}, report, data)
    for task, records in judged.records.items():
        folder = folders[task]
        name = append_drop(folder, records, but=[data / WITHDRAWN / task]) or _appended_before(
            folder, before.get(task, []), records
        )
        accepted = n_records(folder, name) if name else 0
        if name:
            history[task] = name
            users[task] = changed_users(folder, {*drop_names(folder)} - {name})
        tasks[task] = replace(tasks[task], accepted=accepted, known=len(records) - accepted)
    n_users = len({user_id for of_task in users.values() for user_id in of_task})
    return replace(report, tasks=tasks, history=history, n_users=n_users), users


def _appended_before(folder: Path, before: Collection[str], records: pd.DataFrame) -> str | None:
    """The drop that a run which did not end has made of these records; None if there was no such run."""
    own = set(zip(records["user_id"], records["record_id"], strict=True))
    for name in drop_names(folder):
        if name not in before:
            with opened_drop(folder, name) as drop:
                users, ids = (drop.read([column])[column].to_pylist() for column in ("user_id", "record_id"))
            if own.issuperset(zip(users, ids, strict=True)):
                return name
    return None


def need_earlier_drops(folder: Path, root: Path) -> None:
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


def _take_lamp(
    path: Path, report: IngestReport, data: Path, params: Params
) -> tuple[IngestReport, dict[str, list[str]]]:
    """Put a folder of LaMP files in the place of data/raw's; all of it or, with any fault, nothing."""
    raw = data / "raw"
    found = {folder.name: folder_digest(folder) for folder in raw.glob("LaMP_*") if folder.is_dir()}
    before = _first_found(found, report, data)
    try:
        names = add(path, raw, seed=params.seed, max_bad_share=params.ingest.max_bad_share)
    except DataError as error:
        aside = common_folder(data, "quarantine") / report.digest / "faults.txt"
        with atomic_path(aside) as partial:
            partial.write_text(f"{error}\n", "utf-8")  # it may quote texts: not for logs
        return replace(report, refused=f"Its files do not read as LaMP's; every fault is told in {aside}."), {}
    if assumed := assumed_text(names):
        report = replace(report, quarantine=str(common_folder(data, "quarantine") / report.digest))
        with atomic_path(Path(report.quarantine) / "assumed.txt") as partial:
            partial.write_text(assumed, "utf-8")
    tasks = {}
    for name in names:
        make_growing(data, name)
        same = before.get(name) == folder_digest(raw / name)
        n = n_questions(raw / name)
        tasks[name] = Counts(known=n) if same else Counts(accepted=n)
    return replace(report, tasks=tasks), {}


def quarantine_rows(rows: Sequence[Row], judged: Judged, data: Path, digest: str) -> Path:
    """Write every bad row with its number and reasons, a file for each task; the folder they lie in."""
    folder = common_folder(data, "quarantine") / digest
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
    folder = common_folder(data, "quarantine") / report.digest
    report = replace(report, quarantine=str(folder), details=str(folder / "report.json"))
    save_json(asdict(report), Path(report.details))
    move_drop(path, folder / "drop" / path.name)
    return report

"""feedback: takes what users said of their answers into the data, once: records of final answers, and choices.

    final answers (accepted, chosen, edited, rated 1)   records of the user's history, by ingest's own path
    choices among the candidates that were shown        kept in data/feedback/store with all the rest

Rows are judged one by one, as a drop's are. One whose request has no prediction yet waits in
data/feedback/waiting.jsonl and blocks nobody; after WAIT_DAYS it goes to quarantine. The last row of a request counts:
the record that an earlier one gave is taken out again. Steps can be repeated, and a file leaves data/feedback last.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from hydra_ml.errors import DataError
from hydra_ml.io import dvc as versions
from hydra_ml.io.arrivals import is_settled, named_readably
from hydra_ml.io.feedback import (
    DONE,
    STORE,
    WaitingRow,
    as_sent,
    last_of_each,
    look_into_feedback,
    save_waiting_rows,
    waiting_rows,
)
from hydra_ml.io.feedback_store import (
    Kept,
    append_feedback,
    is_followed,
    n_newest,
    note_followed,
    record_backers,
    standing_feedback,
    stored_feedback,
)
from hydra_ml.io.files import readable, save_json, short_name
from hydra_ml.io.forgotten import COME_AGAIN, load_forgotten
from hydra_ml.io.gx.data_docs import DataDocs
from hydra_ml.io.gx.drop_checks import Judged
from hydra_ml.io.gx.feedback_checks import JudgedFeedback, judge_feedback
from hydra_ml.io.history_store import append_drop, known_records, n_records, take_out
from hydra_ml.io.incoming import drop_digest, drop_state, move_drop
from hydra_ml.io.layout import common_folder, task_folder
from hydra_ml.io.predictions import find_predictions
from hydra_ml.io.record_reader import read_text
from hydra_ml.io.row_files import Row, read_rows
from hydra_ml.jobs.feedback_forgotten import leave_out_feedback, still_waiting, without_forgotten
from hydra_ml.jobs.feedback_report import FeedbackReport, Said
from hydra_ml.jobs.ingest import need_earlier_drops, published, quarantine_rows
from hydra_ml.jobs.ingest_alone import alone, told_of_disk
from hydra_ml.jobs.ingest_report import plain_name
from hydra_ml.learning.feedback import Feedback, feedback_record, record_of
from hydra_ml.params import Params
from hydra_ml.records import RECORD_COLUMNS, Record, content_digest
from hydra_ml.tasks.task import Task

WAIT_DAYS = 30  # that a row waits for a prediction of its request
WAITED = "rows that waited"  # what their report is called
LATE = f"expected: request_id has a prediction within {WAIT_DAYS} days"
_KNOWN = ["request_id", "user_id", "row_id", "record_id", "is_new"]  # columns of the store that taking reads

log = logging.getLogger(__name__)


def find_feedback(data: Path, settle_s: float) -> list[Path]:
    """The files that wait in data/feedback and have not changed for `settle_s` seconds, by name. What lies there and
    is not taken is told in the log."""
    found = look_into_feedback(data)
    for path, why in found.left.items():
        log.warning("%s is not taken: %s", readable(path), why)
    return [named_readably(path) for path in found.taken if is_settled(path, settle_s)]


def take_feedback(path: Path, *, data: Path, params: Params) -> FeedbackReport:
    """Take one file in, or refuse it, and move it out of data/feedback; the report says what became of it.

    Raises DataError if the disk fails, another run does not end, or earlier drops are not here; VersionsError if DVC
    fails. The file then waits where it was.
    """
    with alone(common_folder(data, "incoming")), told_of_disk(path):
        if not path.exists():
            raise DataError(f"{path}: no such file; another run may have taken it. See {data / 'feedback' / DONE}.")
        n_forgotten = leave_out_feedback(path, data)
        report = FeedbackReport(readable(path.name), drop_digest(path), forgotten=n_forgotten)
        state = drop_state(path)
        try:
            rows = list(read_rows(path))
            none = f"All its rows are of users who were forgotten; {COME_AGAIN}." if n_forgotten else "It holds no row."
            refused = "" if rows else none
        except DataError as error:
            rows, refused = [], str(error)
        report = replace(report, refused=refused) if refused else _take(rows, report, data, params)
        if drop_state(path) != state:
            log.warning("%s changed while it was read: it is taken again by the next run", path)
            return replace(report, refused="")
        report = _put_away(path, report, data)
    return report if report.refused else published(report, report.file, data, params)


def take_waiting(*, data: Path, params: Params) -> FeedbackReport | None:
    """Try the rows that wait again; None if none did. Those that waited for too long go to quarantine. Raises as
    `take_feedback`, and ArtifactError if they cannot be read."""
    with alone(common_folder(data, "incoming")), told_of_disk(common_folder(data, "feedback")):
        waiting = still_waiting(waiting_rows(data), data)
        if not (_is_late(waiting, datetime.now(UTC).date()).any() or _are_answered(waiting, data)):
            return None
        digest = content_digest(json.dumps([asdict(row) for row in waiting], default=str))[:16]
        report = _take([row.row for row in waiting], FeedbackReport(WAITED, digest), data, params, waited=waiting)
    return published(report, report.file, data, params)


def _take(
    rows: Sequence[Row],
    report: FeedbackReport,
    data: Path,
    params: Params,
    waited: Sequence[WaitingRow] | None = None,
) -> FeedbackReport:
    """Judge the rows and keep the sound ones. waited: what these rows are, if they come from those that wait."""
    docs, today = DataDocs(data / "docs"), datetime.now(UTC).date()
    name = f"feedback-{plain_name(report.file)}-{report.digest[:6]}"
    longest = min(params.ingest.max_text_chars, params.validate_.max_text_chars)
    judged = judge_feedback(rows, data=data, max_text_chars=longest, today=today, context=docs.context, run_name=name)
    docs.publish()
    n_sound, judged = len(judged.said), without_forgotten(judged, data)
    report = replace(report, forgotten=report.forgotten + n_sound - len(judged.said))
    reasons, waiting = dict(judged.reasons), list(judged.waiting)
    if waited is not None:
        is_late = _is_late(waited, today)
        late = [i for i in waiting if is_late[i]]
        reasons |= {i: [LATE] for i in late}
        waiting = [i for i in waiting if i not in {*late}]
    counted = Counter(reason for of_row in reasons.values() for reason in of_row)
    report = replace(report, reasons=dict(counted.most_common()), docs_pages=tuple(map(str, docs.pages(name))))
    if reasons:
        aside = quarantine_rows(rows, Judged({}, reasons, judged.tasks), data, report.digest)
        report = replace(report, quarantine=str(aside))
    if waited is None and len(reasons) > params.ingest.max_bad_share * len(rows):
        told = f"{len(reasons):,} of {len(rows):,} rows are bad: more than the {params.ingest.max_bad_share:.0%} that"
        return replace(report, refused=f"{told} `ingest.max_bad_share` allows. Mend the rows and send them again.")
    report = _keep(judged, report, data)
    bad = Counter(judged.tasks[i] for i in reasons)
    tasks = {task: replace(report.tasks.get(task, Said()), quarantined=bad[task]) for task in {*report.tasks, *bad}}
    _wait(rows, waiting, report.file, data, today, waited)
    return replace(report, tasks=dict(sorted(tasks.items())), waiting=len(waiting))


def _is_late(waiting: Sequence[WaitingRow], today: date) -> np.ndarray:
    """bool [N]: rows that waited for too long."""
    last = (today - timedelta(days=WAIT_DAYS)).isoformat()
    return np.array([row.since < last for row in waiting], dtype=bool)


def _are_answered(waiting: Sequence[WaitingRow], data: Path) -> bool:
    """Whether some of these rows' requests have a prediction now."""
    ids = {read_text(row.value, "request_id") for row in waiting}  # rows that wait have passed this
    return bool(find_predictions(common_folder(data, "predictions"), ids))


def _wait(
    rows: Sequence[Row],
    waiting: Sequence[int],
    file: str,
    data: Path,
    today: date,
    waited: Sequence[WaitingRow] | None,
) -> None:
    """Note which rows wait from now on."""
    if waited is not None:
        save_waiting_rows(data, [waited[i] for i in waiting])
    elif waiting:
        new = [WaitingRow(file, rows[i].number, today.isoformat(), rows[i].value) for i in waiting]
        save_waiting_rows(data, [*waiting_rows(data), *last_of_each(new, lambda row: as_sent(row.value))])


def _keep(judged: JudgedFeedback, report: FeedbackReport, data: Path) -> FeedbackReport:
    """Merge the sound rows, task by task, and have DVC track what they touch, be it a killed run that changed it."""
    by_task: dict[str, tuple[Task, list[Feedback]]] = {}
    for task, said in judged.said.values():
        by_task.setdefault(task.folder, (task, []))[1].append(said)
    tasks: dict[str, Said] = {}
    history: dict[str, str] = {}
    changed: list[str] = []
    for folder, (task, of_task) in sorted(by_task.items()):
        tasks[folder], drop, has_changed = _merge(task, of_task, data)
        history |= {folder: drop} if drop else {}
        changed += [folder] if has_changed else []
    touched = [*(data / "history" / folder for folder in by_task), data / "feedback" / STORE]
    versions.track([path.relative_to(data.parent) for path in touched if path.is_dir()], data.parent)
    return replace(report, tasks=tasks, history=history, changed=tuple(changed))


def _merge(task: Task, said: Sequence[Feedback], data: Path) -> tuple[Said, str | None, bool]:
    """Keep what is new of one task's rows: counts, the new drop's name, and whether the history changed.

    The store first, then the history as the store says: what a kill leaves between the two, the next run makes up for.
    """
    history, withdrawn = task_folder(data, "history", task), task_folder(data, "withdrawn", task)
    need_earlier_drops(history, data.parent)
    made_up = _follow_store(task, data)
    stored = stored_feedback(data, task, _KNOWN)
    known = set(stored["row_id"])
    fresh = [one for one in last_of_each(said, lambda one: one.row_id) if one.row_id not in known]
    if not fresh:
        return Said(known=len(said), records=made_up.n_records), made_up.drop, made_up.has_changed
    last = {(one.request_id, one.user_id): one for one in fresh}
    records = {key: record for key, one in last.items() if (record := feedback_record(task, one)) is not None}
    standing = standing_feedback(stored)
    held = known_records([history, withdrawn], {user_id for _, user_id in records})
    new = {(record.user_id, record.record_id) for record in records.values()} - held | _brought(standing)
    rows = [_kept(one, records if last[one.request_id, one.user_id] is one else {}, new) for one in fresh]
    append_feedback(data, task, rows, datetime.now(UTC).isoformat(timespec="seconds"))
    followed = _follow_store(task, data)
    counts = Said(
        taken=len(fresh),
        known=len(said) - len(fresh),
        overruled=len(fresh) - len(last),
        corrected=int(_is_of(standing, last).sum()),
        records=made_up.n_records + followed.n_records,
        choices=sum(one.verdict == "chosen" for one in last.values()),
    )
    return counts, followed.drop or made_up.drop, followed.has_changed or made_up.has_changed


@dataclass(frozen=True)
class _Followed:
    """What bringing the history up to the store changed."""

    drop: str | None  # that came
    n_records: int  # in it
    has_changed: bool


def _follow_store(task: Task, data: Path) -> _Followed:
    """Bring into the history what requests of the store's newest file brought, and take out what they stood for before:
    once a file, for what went may be ingested later. A forgotten record stays out, wherever the store comes from."""
    if is_followed(data, task):
        return _Followed(None, 0, False)
    stored = stored_feedback(data, task, [*_KNOWN, "input", "answer", "date"])
    standing = standing_feedback(stored)
    n_before = len(stored) - n_newest(data, task)
    requests = set(zip(*(stored[name].iloc[n_before:] for name in ("request_id", "user_id")), strict=True))
    now, before = standing[_is_of(standing, requests)], standing_feedback(stored.iloc[:n_before])
    gone = _brought(before[_is_of(before, requests)]) - record_backers(standing)
    columns = (now[name] for name in ("user_id", "record_id", "is_new", "input", "answer", "date"))
    records = [
        record_of(task, user_id, input, answer, date)
        for user_id, record_id, is_new, input, answer, date in zip(*columns, strict=True)
        if record_id and is_new
    ]
    forgotten = load_forgotten(data)
    records = [record for record in records if not forgotten.has_said(task.folder, record)]
    history = task_folder(data, "history", task)
    out = take_out(history, gone)
    table = pd.DataFrame([asdict(record) for record in records], columns=list(RECORD_COLUMNS))
    drop = append_drop(history, table, but=[task_folder(data, "withdrawn", task)]) if records else None
    note_followed(data, task)
    return _Followed(drop, n_records(history, drop) if drop else 0, bool(drop or out))


def _brought(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Records, by (user, id), that came into the history with these rows of the store."""
    return record_backers(rows[rows["is_new"].astype(bool)])


def _is_of(rows: pd.DataFrame, requests: Container[tuple[str, str]]) -> np.ndarray:
    """bool [N]: rows of these requests, by (request, user)."""
    keys = zip(rows["request_id"], rows["user_id"], strict=True)
    return np.array([key in requests for key in keys], dtype=bool)


def _kept(said: Feedback, records: dict[tuple[str, str], Record], new: set[tuple[str, str]]) -> Kept:
    record = records.get((said.request_id, said.user_id))
    record_id = record.record_id if record else ""
    return Kept(said, record_id, (said.user_id, record_id) in new)


def _put_away(path: Path, report: FeedbackReport, data: Path) -> FeedbackReport:
    """Move a file that is done with to feedback/done, a refused one to quarantine; its report beside it."""
    done = common_folder(data, "feedback") / DONE / f"{report.digest}-{short_name(path.name)}"
    if report.refused:
        aside = common_folder(data, "quarantine") / report.digest
        report = replace(report, quarantine=str(aside), details=str(aside / "feedback.json"))
        done = aside / "drop" / path.name
    else:
        report = replace(report, details=f"{done}.report.json")
    save_json(asdict(report), Path(report.details))
    move_drop(path, done)
    return report

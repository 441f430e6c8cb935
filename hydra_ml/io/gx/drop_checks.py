"""Every row of a record drop judged by Great Expectations: the records of the sound ones, all reasons of the others.

Columns that an expectation cannot compute (what is text, what is a day) are made here; what must hold of them is
declared as checks. Reasons say what was expected, never what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pandas as pd

from hydra_ml.errors import ParamsError
from hydra_ml.io.gx.expectations import Check, bad_rows, date_check, record_checks
from hydra_ml.io.record_reader import EPOCH, ROUNDED, Fault, Kind, is_missing, read_date, read_text
from hydra_ml.io.row_files import Row
from hydra_ml.io.task_files import get_task, known_tasks
from hydra_ml.learning.commands import commanding_records
from hydra_ml.learning.history import read_record
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks.task import Task

UNKNOWN = "unknown"  # stands for the task of a row that names none
MAX_USER_ID = 256  # characters


@dataclass(frozen=True)
class Judged:
    """A drop's rows after all checks."""

    records: Mapping[str, pd.DataFrame]  # by task folder: RECORD_COLUMNS of the sound rows, in the drop's order
    reasons: Mapping[int, Sequence[str]]  # by position of each bad row: all that it does not fulfil
    tasks: Sequence[str]  # per row: folder of its task, or UNKNOWN
    commands: int = 0  # sound rows that try to command an LLM


@dataclass
class Judging:
    """Reasons gathered so far, by a row's position, and where validations are kept."""

    context: Any
    run_name: str
    reasons: dict[int, list[str]] = field(default_factory=dict)

    def check(self, name: str, table: pd.DataFrame, checks: Sequence[Check]) -> list[int]:
        """Validate a table whose index names rows of the drop; the sound ones' positions."""
        if table.empty:
            return []
        positions = table.index.tolist()
        found = bad_rows(name, table, checks, context=self.context, run_name=self.run_name)
        bad: set[int] = set()
        for check, rows in zip(checks, found, strict=True):
            for row in range(len(positions)) if rows is None else rows:
                self.reasons.setdefault(positions[row], []).append(f"expected: {check.name}")
                bad.add(positions[row])
        return [position for position in positions if position not in bad]


def judge_rows(rows: Sequence[Row], *, max_text_chars: int, today: date, context: Any, run_name: str) -> Judged:
    """Check every row; a bad one's reasons are those of the first of three rounds that it fails: line, fields, record.

    today: the day in UTC; a record may be a day ahead of it, for the sake of other time zones. context: where Great
    Expectations keeps what it found (`expectations.new_context`).
    """
    judging = Judging(context, run_name)
    lines = pd.DataFrame({"is_object": [not row.fault and isinstance(row.value, dict) for row in rows]})
    objects = judging.check("rows", lines, [holds("is_object", "row is a JSON object in UTF-8")])
    tasks = [UNKNOWN] * len(rows)
    for position in objects:
        tasks[position] = _task_folder(rows[position].value) or UNKNOWN
    tomorrow = (today + timedelta(days=1)).isoformat()
    values = {i: _as_named(rows[i].value, tasks[i], today) for i in objects}
    heads = pd.DataFrame([_head(values[i], tasks[i], tomorrow) for i in objects], index=objects)
    with_head = judging.check("rows, whose and when", heads, _head_checks(tomorrow))
    records: dict[str, pd.DataFrame] = {}
    commands = 0
    for folder in sorted({tasks[i] for i in objects} - {UNKNOWN}):
        task = known_tasks()[folder]
        own = [i for i in objects if tasks[i] == folder]
        fields = pd.DataFrame([_fields(values[i], task) for i in own], index=own)
        whole = judging.check(f"{folder} fields", fields, _field_checks(task))
        sound = sorted(set(whole) & set(with_head))
        made = _records(task, heads, fields, sound)
        kept = judging.check(f"{folder} records", made, [*record_checks(task, max_text_chars), _NO_REPEAT])
        records[folder] = made.loc[kept, list(RECORD_COLUMNS)].reset_index(drop=True)
        commands += _note_commands(folder, records[folder], context, run_name)
    return Judged(records, judging.reasons, tasks, commands)


def _note_commands(folder: str, records: pd.DataFrame, context: Any, run_name: str) -> int:
    """How many of the records try to command an LLM; validated for the Data Docs' sake, no record is refused for it."""
    if records.empty:
        return 0
    table = pd.DataFrame({"is_no_command": ~commanding_records(records)})
    check = holds("is_no_command", "record tries to command no LLM (noted: it is kept, and shown to no LLM)")
    (found,) = bad_rows(f"{folder} commands", table, [check], context=context, run_name=run_name)
    return len(found or ())


def _as_named(value: Mapping[str, Any], folder: str, today: date) -> Mapping[str, Any]:
    """The row with user and date under the names that all tasks share; of a task without dates, as written today."""
    if folder == UNKNOWN:
        return value
    task = known_tasks()[folder]
    named = task.row_names(value)
    return named if task.date_key is not None else {"date": today.isoformat(), **named}


def holds(column: str, name: str) -> Check:
    """A check of a boolean column."""
    return Check(name, column, "ExpectColumnValuesToBeInSet", {"value_set": [True]})


_NO_REPEAT = holds("is_first", "row repeats no earlier row of the drop")


def _head_checks(tomorrow: str) -> list[Check]:
    known = list(known_tasks())
    return [
        Check("has a task", "task", "ExpectColumnValuesToNotBeNull"),
        Check(
            f"task is one of: {', '.join(known)}",
            "task",
            "ExpectColumnValuesToBeInSet",
            {"value_set": known},
        ),
        Check("has a user_id", "user_id", "ExpectColumnValuesToNotBeNull"),
        Check(
            "user_id is text or a whole number, and not blank",
            "user_id",
            "ExpectColumnValuesToMatchRegex",
            {"regex": r"\S"},
        ),
        holds("is_exact", f"user_id is not a {ROUNDED}"),
        Check(
            f"user_id has at most {MAX_USER_ID} characters",
            "user_id",
            "ExpectColumnValueLengthsToBeBetween",
            {"max_value": MAX_USER_ID},
        ),
        Check(
            "user_id has no line breaks or other control characters",
            "user_id",
            "ExpectColumnValuesToNotMatchRegex",
            {"regex": r"[\x00-\x1f\x7f]"},
        ),
        date_check("date"),
        holds("is_no_count", f"date is not a {EPOCH}"),
        holds("is_day", "date is a day of the calendar"),
        holds("is_past", f"date is not after {tomorrow}"),
    ]


def _head(value: Mapping[str, Any], folder: str, tomorrow: str) -> dict[str, Any]:
    """Whose record of which task it is, and from when; None where a field is missing, "" where it is no text."""
    task: str | None = folder
    if folder == UNKNOWN:
        task = None if value.get("task") is None else ""
    user_id, whose = _user(value)
    day, when = _day(value)
    return {
        "task": task,
        "user_id": user_id,
        "is_exact": whose != "rounded",
        "date": day,
        "is_no_count": when != "epoch",
        "is_day": when != "no day",
        "is_past": day <= tomorrow or not day[:1].isdigit(),
    }


def _field_checks(task: Task) -> list[Check]:
    return [
        check
        for key in task.item_keys
        for check in (
            Check(f"has {key}", key, "ExpectColumnValuesToNotBeNull"),
            holds(f"{key} is text", f"{key} is text in valid Unicode"),
            Check(f"{key} is not blank", key, "ExpectColumnValuesToMatchRegex", {"regex": r"\S"}),
        )
    ]


def _fields(value: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The task's own fields; None where missing. One that is no text is marked so, and not called blank as well."""
    columns: dict[str, Any] = {}
    for key in task.item_keys:
        text = _text(value, key, closed=task.is_closed(key))
        columns[key] = None if is_missing(value.get(key)) else "?" if text is None else text
        columns[f"{key} is text"] = is_missing(value.get(key)) or text is not None
    return columns


def _records(task: Task, heads: pd.DataFrame, fields: pd.DataFrame, positions: Sequence[int]) -> pd.DataFrame:
    """The records of these rows, indexed by position, with record_key, and is_first: whether no earlier row is it."""
    rows = []
    seen: set[tuple[str, str]] = set()
    whose = heads.loc[list(positions), ["user_id", "date"]].itertuples(index=False)
    items = fields.loc[list(positions), list(task.item_keys)].itertuples(index=False, name=None)
    for position, (user_id, day), item in zip(positions, whose, items, strict=True):
        record = read_record(task, user_id, {**dict(zip(task.item_keys, item, strict=True)), "date": day})
        key = (record.user_id, record.record_id)
        columns: dict[str, Any] = {name: getattr(record, name) for name in RECORD_COLUMNS}
        rows.append({**columns, "record_key": position, "is_first": key not in seen})
        seen.add(key)
    names = [*RECORD_COLUMNS, "record_key", "is_first"]
    return pd.DataFrame(rows, index=list(positions), columns=names)


def _task_folder(value: Mapping[str, Any]) -> str | None:
    """Folder of the task the row names; None if it names none."""
    try:
        return get_task(value["task"]).folder if isinstance(value.get("task"), str) else None
    except ParamsError:
        return None


def _text(value: Mapping[str, Any], key: str, *, closed: bool = False) -> str | None:
    """The field as text, blank ones too, which have a check of their own; None if it is none, or no Unicode."""
    try:
        return read_text(value, key, closed=closed)
    except Fault as fault:
        return str(value[key]) if fault.kind == "empty" else None


def _user(value: Mapping[str, Any]) -> tuple[str | None, Kind | None]:
    """The user_id, None where it is missing and "" where it is no text, and what is wrong with it. One that is rounded
    has a check of its own, and is not called blank as well."""
    try:
        return read_text(value, "user_id"), None
    except Fault as fault:
        told = {"missing": None, "rounded": "?", "empty": str(value.get("user_id"))}
        return told.get(fault.kind, ""), fault.kind


def _day(value: Mapping[str, Any]) -> tuple[str, Kind | None]:
    """The date as records have it and what is wrong with it; "" where there is none or another check tells of it."""
    try:
        return read_date(value), None
    except Fault as fault:
        return "" if fault.kind in ("missing", "empty", "epoch", "no day") else "no date", fault.kind

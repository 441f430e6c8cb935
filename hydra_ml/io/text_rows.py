"""Texts without the rows of one user: JSON, lines of it, tables with commas, and pages.

What such a text is, is told by its content. Rows that stay, stay as they are; a page of HTML goes as a whole.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from hydra_ml.io.traces import Kind, Marks
from hydra_ml.tasks import as_folder

ID_LISTS = {"users", "user_ids", "shards"}  # keys of lists that hold user ids
GONE = object()


@dataclass(frozen=True)
class Rest:
    """What is left of a file."""

    content: bytes | None  # None: nothing, the file goes
    rows: int  # taken out


def text_rest(text: str, marks: Marks) -> Rest | None:
    """The text without what the marks cover; None if it holds nothing of it."""
    kind, values = parsed(text)
    if kind == "page":
        return _page(text, marks)
    if kind == "csv":
        return _csv(text, marks)
    if kind == "lines":
        return _lines(text, marks)
    left, gone = _cleaned(values[0], marks)
    if not gone:
        return None
    if left is GONE or left == []:
        return Rest(None, gone)
    indent = 1 if "\n" in text.strip() else None
    return Rest((json.dumps(left, ensure_ascii=False, indent=indent) + "\n").encode(), gone)


def parsed(text: str) -> tuple[str, list[Any]]:
    """What a text is, "json", "lines" (of JSON), "csv" or "page", and its values."""
    if text.lstrip()[:1] in ("{", "["):
        value, fine = _as_json(text)
        values = [value] if fine else [one for one, fine in map(_as_json, text.split("\n")) if fine]
        if values:
            return "json" if fine else "lines", values
    head, _, rest = text.partition("\n")
    names = [name.strip().strip('"') for name in head.split(_comma(head))]
    if rest and len(names) > 1 and all(names) and "<" not in head:
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=_comma(head)))
            if {"user_id", "request_id"} & {*names} or all(None not in row for row in rows):
                return "csv", rows
        except csv.Error:
            pass
    return "page", []


def _comma(head: str) -> str:
    return max(",;\t|", key=head.count)


def _as_json(line: str) -> tuple[Any, bool]:
    try:
        return json.loads(line), True
    except (ValueError, RecursionError):
        return line, False


def _lines(text: str, marks: Marks) -> Rest | None:
    """Lines of JSON, each as it was; one that cannot be read goes if a mark stands in it."""
    kept, gone = [], 0
    for line in text.split("\n"):
        value, fine = _as_json(line)
        if not line.strip():
            continue
        left, taken = _cleaned(value, marks) if fine else (GONE, 1) if marks.stands_in(line) else (value, 0)
        gone += taken
        if left is not GONE:
            kept.append(line if not taken else json.dumps(left))
    if not gone:
        return None
    return Rest("".join(f"{line}\n" for line in kept).encode() if kept else None, gone)


def _page(text: str, marks: Marks) -> Rest | None:
    """A page of HTML goes as a whole, it is made anew; of other texts the lines go in which a mark stands."""
    if not marks.stands_in(text):
        return None
    if text.lstrip().startswith("<"):
        return Rest(None, 1)
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not marks.stands_in(line)]
    if len(kept) == len(lines) or not "".join(kept).strip():
        return Rest(None, len(lines))  # a text over several lines stands in it
    return Rest("".join(kept).encode(), len(lines) - len(kept))


def _csv(text: str, marks: Marks) -> Rest | None:
    comma = _comma(text.partition("\n")[0])
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma))
    names = [name.strip() for name in rows[0]]
    kept = [row for row in rows[1:] if not marks.covers(dict(zip(names, row, strict=False)))]
    gone = len(rows) - 1 - len(kept)
    if not gone:
        return _page(text, marks) if not {*names} & {*marks.fields.users} else None
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=comma, lineterminator="\n").writerows([rows[0], *kept])
    return Rest(out.getvalue().encode() if kept else None, gone)


def _cleaned(value: Any, marks: Marks, key: str = "", mine: bool | None = None) -> tuple[Any, int]:
    """A JSON value without what goes, or GONE, and how much went. key: the field it stands in; mine: whose the row
    around it is."""
    if isinstance(value, dict):
        return _cleaned_row(value, marks, key, mine)
    if not isinstance(value, list):
        return value, 0
    ids: Kind | None = "user" if marks.whole_user and key in ID_LISTS else None if marks.whole_user else "record"
    kept, gone = [], 0
    for one in value:
        is_gold = key == "golds" and isinstance(one, dict) and marks.has("query", one.get("id"))
        is_id = (ids and marks.has(ids, one)) or _is_counted(one, marks)
        left, taken = (GONE, 1) if is_id or is_gold else _cleaned(one, marks, key, mine)
        gone += taken
        if left is not GONE:
            kept.append(left)
    return kept, gone


def _is_counted(one: Any, marks: Marks) -> bool:
    """Whether it is a request of the user's, as `io.drift` notes those that it has counted: "<user>\\x1f<request>"."""
    user_id, mark, request_id = one.partition("\x1f") if isinstance(one, str) else ("", "", "")
    return bool(mark) and marks.has("user", user_id) and (marks.whole_user or marks.has("request", request_id))


def _cleaned_row(row: dict[str, Any], marks: Marks, key: str, mine: bool | None) -> tuple[Any, int]:
    if marks.covers(row, mine=mine):
        return GONE, 1
    if isinstance(names := row.get("columns"), list) and isinstance(rows := row.get("data"), list):  # MLflow's tables
        kept = [one for one in rows if not marks.covers(dict(zip(names, one, strict=False)))]
        return {**row, "data": kept}, len(rows) - len(kept)
    of_user = marks.is_user(row)
    kept_fields, gone = {}, 0
    for name, one in row.items():
        is_request = isinstance(one, dict) and "runs" in one and marks.has("request", name)  # io.failed_requests
        is_user = isinstance(one, dict) and key in ID_LISTS and marks.whole_user and marks.has("user", name)
        if is_request or is_user:
            gone += 1
            continue
        if name == "value" and isinstance(one, str) and marks.stands_in(one):  # a line of a drop that is no JSON
            return GONE, 1
        inside = key if key in ID_LISTS else name  # {"users": {"LaMP_2": [...]}}
        if key in ID_LISTS and marks.task and isinstance(one, list) and as_folder(name) != as_folder(marks.task):
            kept_fields[name] = one  # those of another task
            continue
        left, taken = _cleaned(one, marks, inside, mine if of_user is None else of_user)
        gone += taken
        if left is GONE:
            return GONE, gone  # a row around the user's: it is told of nobody else
        kept_fields[name] = left
    return kept_fields, gone

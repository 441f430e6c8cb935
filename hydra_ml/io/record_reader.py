"""Rows that people send, read one way at every entrance: LaMP files, drops of records, requests.

What counts as a text, an id, a date and a row stands here alone, so that one thing that a user wrote becomes one record
whichever way it comes in. Each entrance tells faults in its own words; no fault holds a word of what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from math import inf, isfinite
from typing import Any, Literal
from unicodedata import normalize

from hydra_ml.errors import DataError
from hydra_ml.io.parquet_rows import UNREADABLE
from hydra_ml.tasks.task import Task

EXACT = 2**53  # whole floats from here on have lost digits
MAY_BE_NUMBERS = frozenset({"id", "user_id", "request_id", "date", "output"})
NO_DATE = frozenset({"NaT", "NaN", "nan", "None", "<NA>", "null", "NULL"})  # tables turned to text where none was
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?", re.ASCII)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}", re.ASCII)

Kind = Literal["missing", "no text", "rounded", "empty", "no Unicode", "unreadable", "no date", "epoch", "no day"]
ROUNDED = "number of 2**53 or more, which a table has rounded: write it as text"
EPOCH = "number; if it counts seconds or milliseconds since 1970, write the day, YYYY-MM-DD"


class Fault(ValueError):
    """Why a field cannot be read."""

    def __init__(self, kind: Kind, told: str) -> None:
        super().__init__(told)
        self.kind = kind


def is_missing(value: object) -> bool:
    """Whether nothing stands there: null, or the NaN or NaT that tables put where a row has no value."""
    return value is None or (isinstance(value, float | Decimal | date) and value != value)


def read_text(entry: Mapping[str, Any], key: str, *, closed: bool = False) -> str:
    """The text under `key`; fields of MAY_BE_NUMBERS may be whole numbers. Raises Fault.

    A user_id is in Unicode's composed form (NFC): file systems and keyboards spell one name in two ways. closed: what
    stands there is one of a set: it may be a number, and space around it means nothing.
    """
    value = entry.get(key)
    if type(value) is str and value.isascii() and value and not value.isspace() and not closed:
        return value  # nearly every field of a large file ends here
    if is_missing(value):
        raise Fault("missing", f"lacks {key}")
    if value is UNREADABLE:
        raise Fault("unreadable", f"{key} cannot be read")
    if (closed or key in MAY_BE_NUMBERS) and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _number(value, key)
    if not isinstance(value, str):
        raise Fault("no text", f"{key} is not a text")
    if not value.strip():
        raise Fault("empty", f"{key} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        told = f"{key} holds half a character (a lone surrogate) at position {error.start}"
        raise Fault("no Unicode", told) from None
    if closed:
        return value.strip()
    return normalize("NFC", value) if key == "user_id" else value


def read_id(text: str, key: str) -> str:
    """A user_id or request_id that somebody typed, as every entrance reads it. Raises DataError if it is none."""
    try:
        return read_text({key: text}, key)
    except Fault as fault:
        told = "`hydra-ml show` knows" if key == "user_id" else "was sent with a request"
        raise DataError(f"{text!r}: no {key.replace('_', ' ')} ({fault}). Name one that {told}.") from None


def _number(value: float | Decimal, key: str) -> str:
    """The number as a text, a whole one without a decimal part. Raises Fault for one that is nobody's id."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and EXACT <= abs(value) < inf and key.endswith("id"):
        raise Fault("rounded", f"{key} is a {ROUNDED}")
    if isfinite(value) and value == int(value):
        return str(int(value))
    if key.endswith("id"):  # 4.5 is nobody; a score or day of it is refused as such
        raise Fault("no text", f"{key} is a number that is not whole: write it as text")
    return str(value)


def has_date(entry: Mapping[str, Any]) -> bool:
    """Whether anything stands there for a date, be it a good one or not."""
    value = entry.get("date")
    return not is_missing(value) and not (isinstance(value, str) and value.strip() in {"", *NO_DATE})


def read_date(entry: Mapping[str, Any]) -> str:
    """The entry's date as YYYY[-MM[-DD]], zero-padded so that it sorts as text.

    A time of day counts as its day, one with a zone as the day it was in UTC: two records of one day have no order.
    Raises Fault: "epoch" for a number that is no year or YYYYMMDD, "no day" for one that no calendar has.
    """
    value = entry.get("date")
    if isinstance(value, date):  # a datetime is one
        return _day_of(value) if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, str) and value.strip() and not has_date(entry):
        raise Fault("missing", "lacks date")
    found = _sortable(read_text(entry, "date").strip())
    if isinstance(found, Fault):
        raise found
    return found


@lru_cache(maxsize=65_536)
def _sortable(text: str) -> str | Fault:
    found = _DATE.fullmatch(text)
    try:
        if found:
            year, month, day = found.groups()
            date(int(year), int(month or 1), int(day or 1))
            return "-".join([year, *(part.zfill(2) for part in (month, day) if part)])
        if _NUMBER.fullmatch(text) and not (text.isdigit() and len(text) == len("YYYYMMDD")):
            return Fault("epoch", f"date is a {EPOCH}")
        return _day_of(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        if found or _DAY.match(text):
            return Fault("no day", "date is no day of the calendar")
        return Fault("no date", "date is not YYYY-MM-DD or a shorter form of it")


def _day_of(moment: datetime) -> str:
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()


def read_item(entry: Mapping[str, Any], task: Task, *, dated: bool) -> dict[str, str]:
    """The task's own fields of a history item as texts, and its date where it must have one. Raises the first Fault;
    "no text" for an answer outside the task's closed set."""
    item = {key: read_text(entry, key, closed=task.is_closed(key)) for key in task.item_keys}
    if dated:
        item["date"] = read_date(entry)
    if task.kind in ("label", "rating") and task.record_answer(item) not in task.labels:
        raise Fault("no text", "answer is outside the task's set")
    return item

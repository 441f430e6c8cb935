"""What can be wrong with a LaMP file, field by field; `lamp_files` builds its readers from these.

Every problem of a file is gathered and told at once, with the record it stands in. Knows no folder layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_ml.errors import DataError
from hydra_ml.io.bounded_json import parse_json
from hydra_ml.io.record_reader import Fault, has_date, read_date, read_text
from hydra_ml.tasks.task import Task

NOTED = 3  # of records left out
TOLD = 20  # problems spelled out per file; the rest are counted


@dataclass
class Leave:
    """How much of a file may be left out as bad, and what was assumed or left out of the files read with it."""

    max_bad_share: float
    notes: list[str] = field(default_factory=list)
    question_ids: set[str] = field(default_factory=set)  # left out, of the file being read: golds go with questions
    undated: list[Path] = field(default_factory=list)  # files that name users and date no item


class Problems:
    """All that was found wrong with one file."""

    def __init__(self, path: Path, leave: Leave | None = None) -> None:
        self.path = path
        self.leave = leave
        self.n_records = 0  # questions, items, golds
        self.count = 0
        self.told: list[str] = []
        self.bad: set[str] = set()  # records
        self.fatal = leave is None

    def add(self, where: str, what: str, *, fatal: bool = False) -> None:
        """Note one problem; `where` names the record: "question '12', item 3". fatal: leaving it out mends nothing."""
        self.count += 1
        self.bad.add(where)
        self.fatal |= fatal
        if len(self.told) < TOLD:
            self.told.append(f"  {where}: {what}")

    def raise_if_any(self, remedy: str) -> None:
        """Raise DataError with the first problems, their count and the remedy, if there is any problem; where some may
        be left out, only if there are more."""
        if not self.count:
            return
        leave = self.leave
        if leave is not None and not self.fatal and len(self.bad) <= leave.max_bad_share * self.n_records:
            first = "; ".join(told.strip() for told in self.told[:NOTED])
            more = "" if self.count <= NOTED else f"; and {self.count - NOTED} more"
            leave.notes.append(
                f"{self.path.name}: {len(self.bad)} of {self.n_records:,} records left out: {first}{more}"
            )
            return
        rest = [f"  ... and {self.count - TOLD} more"] if self.count > TOLD else []
        raise DataError("\n".join([f"{self.path}: {self.count} problem(s)", *self.told, *rest, remedy]))


def load_document(path: Path) -> Any:
    """The JSON document at `path`. Raises DataError if it is missing, not JSON, or the HTML page of a wrong address."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no file.")  # a pipe would never end
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file. LaMP's layout is LaMP_n/<split>/<split>_questions.json and <split>_outputs.json; "
            "get official files with `hydra-ml data fetch` or bring your own with `hydra-ml data add`."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if looks_like_html(content):
        raise DataError(
            f"{path}: is an HTML page, not JSON. LaMP's server answers a wrong address with such a page: delete the "
            "file and download it again with `hydra-ml data fetch`."
        )
    try:
        return parse_json(content)
    except ValueError as error:
        raise DataError(
            f"{path}: is not JSON ({error}; {len(content):,} bytes). If the file was cut off, download it again."
        ) from error


def looks_like_html(content: bytes) -> bool:
    """Whether the content starts as mark-up does."""
    return content[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def checked_object(value: object, where: str, problems: Problems) -> dict[str, Any] | None:
    """The value if it is a JSON object, else None and a problem."""
    if isinstance(value, dict):
        return value
    problems.add(where, f"is {shown(value)}, not an object")
    return None


def checked_text(entry: dict[str, Any], key: str, where: str, problems: Problems, *, closed: bool = False) -> str:
    """The text under `key` as `read_text` has it; "" and a problem if it is missing, no text, blank, or no UTF-8."""
    try:
        return read_text(entry, key, closed=closed)
    except Fault as fault:
        if key not in entry:
            told = f"lacks {key!r} (it has {', '.join(entry) or 'no keys'})"
        elif fault.kind in ("missing", "no text"):
            told = f"{key!r} is {shown(entry[key])}, not a text"
        else:
            told = str(fault).replace(key, repr(key), 1)
        problems.add(where, told)
        return ""


def checked_date(entry: dict[str, Any], where: str, problems: Problems) -> str:
    """The entry's date as YYYY[-MM[-DD]], zero-padded so that it sorts as text; "" and a problem if it is none."""
    try:
        return read_date(entry)
    except Fault as fault:
        if fault.kind in ("no date", "epoch", "no day"):
            problems.add(where, f"{fault} (found {shown(entry['date'])})")
        else:
            checked_text(entry, "date", where, problems)
        return ""


def checked_item(item: object, task: Task, dated: bool, where: str, problems: Problems) -> dict[str, str] | None:
    """One history item with its fields as text (numbers spelled out, in place); None and problems if it is unfit."""
    entry = checked_object(item, where, problems)
    if entry is None:
        return None
    before = problems.count
    for key in ("id", *task.item_keys):
        entry[key] = checked_text(entry, key, where, problems, closed=task.is_closed(key))
    if dated:
        entry["date"] = checked_date(entry, where, problems)
    elif "date" in entry:
        problems.add(where, "has a date, but its question no 'user_id': dated files need both, undated ones neither")
    if problems.count == before and task.kind in ("label", "rating") and task.record_answer(entry) not in task.labels:
        problems.add(where, f"answer {shown(task.record_answer(entry))} is outside the task's set")
    return entry if problems.count == before else None


def drop_empty_dates(document: Sequence[Any]) -> bool:
    """Whether no item of any profile has a date; then none has an empty one any more either."""
    profiles = (entry.get("profile") for entry in document if isinstance(entry, dict))
    items = [item for some in profiles if isinstance(some, list) for item in some if isinstance(item, dict)]
    if not items or any(map(has_date, items)):
        return False
    for item in items:
        item.pop("date", None)
    return True


def shown(value: object) -> str:
    """A value as an error quotes it: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Feedback on disk: files that wait in data/feedback, what was taken of them, and rows whose prediction is to come.

    data/feedback/<name>.jsonl|parquet|...     waits to be taken
    data/feedback/done/                        taken, each file with its report
    data/feedback/store/<task>/<n>-<id>.parquet    what was said, joined with the predictions; never changed
    data/feedback/waiting.jsonl                rows that name a request without a prediction yet

The last row of a request counts. Judging rows is `io.gx.feedback_checks`', taking them `jobs.feedback`'s work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra_ml.errors import ArtifactError
from hydra_ml.io.arrivals import Arrivals, look
from hydra_ml.io.bounded_json import checked_as, parse_json
from hydra_ml.io.files import atomic_path
from hydra_ml.io.layout import common_folder
from hydra_ml.io.row_files import Row

T = TypeVar("T")
DONE, STORE, WAITING = "done", "store", "waiting.jsonl"


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A row whose request has no prediction yet."""

    file: str
    number: int
    since: str  # day, UTC
    value: Any

    @property
    def row(self) -> Row:
        return Row(self.number, self.value)


def look_into_feedback(data: Path) -> Arrivals:
    """What lies in data/feedback: files to take, what is half written, and what nobody takes."""
    return look(common_folder(data, "feedback"), but={DONE, STORE, f"{STORE}.dvc", WAITING})


def waiting_rows(data: Path) -> list[WaitingRow]:
    """Rows that wait for a prediction, oldest first. Raises ArtifactError if they cannot be read."""
    path = common_folder(data, "feedback") / WAITING
    if not path.exists():
        return []
    try:
        return [checked_as(WaitingRow, parse_json(line)) for line in path.read_bytes().splitlines() if line.strip()]
    except ValueError as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Send these rows again, and delete it.") from error


def as_sent(value: Any) -> str:
    """A row as one text, by which it is known again."""
    return json.dumps(value, sort_keys=True, default=str)


def last_of_each(rows: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """Of rows that say the same the last, in order: of one file's verdicts the last counts, also where it was given
    before."""
    return list({key(row): row for row in reversed([*rows])}.values())[::-1]


def n_waiting_rows(data: Path) -> int:
    """How many rows wait, whether or not they can be read."""
    path = common_folder(data, "feedback") / WAITING
    return sum(bool(line.strip()) for line in path.read_bytes().splitlines()) if path.exists() else 0


def save_waiting_rows(data: Path, rows: Sequence[WaitingRow]) -> None:
    """Replace the rows that wait; each value once, where it stood first."""
    distinct: dict[str, WaitingRow] = {}
    for row in rows:
        distinct.setdefault(as_sent(row.value), row)
    with atomic_path(common_folder(data, "feedback") / WAITING) as partial:
        lines = [json.dumps(asdict(row), default=str) + "\n" for row in distinct.values()]  # ASCII, whatever they hold
        partial.write_text("".join(lines), "ascii")

"""Feedback on disk: files that wait in data/feedback, what was taken of them, and rows whose prediction is to come.

    data/feedback/<name>.jsonl|parquet|...     waits to be taken
    data/feedback/done/                        taken, each file with its report
    data/feedback/store/<task>/<n>-<id>.parquet    what was said, joined with the predictions; never changed
    data/feedback/waiting.jsonl                rows that name a request without a prediction yet

The last row of a request counts. Judging rows is `io.gx.feedback_checks`', taking them `jobs.feedback`'s work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError
from hydra_ml.io.arrivals import Arrivals, look
from hydra_ml.io.bounded_json import checked_as, parse_json
from hydra_ml.io.files import atomic_path
from hydra_ml.io.layout import common_folder
from hydra_ml.io.parquet_rows import damage_told
from hydra_ml.io.row_files import Row
from hydra_ml.io.tables import as_typed
from hydra_ml.learning.feedback import Feedback
from hydra_ml.records import content_digest
from hydra_ml.tasks.task import Task

DONE, STORE, WAITING = "done", "store", "waiting.jsonl"
REMEDY = "Files of the store are never written twice: delete it and run `dvc checkout data/feedback/store`."
_SHOWN = pa.struct(
    [
        ("answer", pa.string()),
        ("votes", pa.int32()),
        ("personal", pa.float32()),
        ("shared", pa.float32()),
        ("place", pa.int32()),
        ("is_served", pa.bool_()),
        ("is_shown", pa.bool_()),
    ]
)
FEEDBACK = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("request_id", "user_id", "verdict")),
        pa.field("is_rating", pa.bool_(), nullable=False),
        pa.field("answer", pa.string()),
        *(pa.field(name, pa.string(), nullable=False) for name in ("date", "input", "release", "prediction")),
        pa.field("generic_prediction", pa.string()),
        pa.field("personalization", pa.string(), nullable=False),
        pa.field("chosen_record_ids", pa.list_(pa.string()), nullable=False),
        pa.field("candidates", pa.list_(_SHOWN), nullable=False),
        pa.field("row_id", pa.string(), nullable=False),
        pa.field("record_id", pa.string(), nullable=False),  # "" where it became none
        pa.field("is_new", pa.bool_(), nullable=False),  # the record came into the history with it
        pa.field("taken_at", pa.string(), nullable=False),  # ISO 8601, UTC
    ]
)


@dataclass(frozen=True, slots=True)
class Kept:
    """One row as the store has it, beside what was said."""

    said: Feedback
    record_id: str
    is_new: bool


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


def store_folder(data: Path, task: Task) -> Path:
    """Where a task's feedback is kept."""
    return common_folder(data, "feedback") / STORE / task.folder


def stored_feedback(data: Path, task: Task, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Every row taken, in the order they came; columns of FEEDBACK, or those named. Raises ArtifactError if a file is
    damaged."""
    schema = FEEDBACK if columns is None else pa.schema([FEEDBACK.field(name) for name in columns])
    tables = [schema.empty_table()]
    for path in _parts(store_folder(data, task)):
        with damage_told(path, ArtifactError, REMEDY):
            tables.append(as_typed(pq.read_table(path, columns=schema.names), schema))
    rows = pa.concat_tables([table.cast(schema) for table in tables]).to_pylist()
    return pd.DataFrame(rows, columns=schema.names).astype(object)


def newest_requests(data: Path, task: Task) -> set[tuple[str, str]]:
    """(request, user) of the rows that were taken last: those of the store's newest file."""
    parts = _parts(store_folder(data, task))[-1:]
    with damage_told(parts[0], ArtifactError, REMEDY) if parts else nullcontext():
        rows = [row for path in parts for row in pq.read_table(path, columns=["request_id", "user_id"]).to_pylist()]
    return {(row["request_id"], row["user_id"]) for row in rows}


def standing_feedback(rows: pd.DataFrame) -> pd.DataFrame:
    """Of rows of `stored_feedback` those that count: the last of each request of a user."""
    return rows.drop_duplicates(["request_id", "user_id"], keep="last").reset_index(drop=True)


def append_feedback(data: Path, task: Task, kept: Sequence[Kept], taken_at: str) -> Path:
    """Write rows that the store lacks as its newest file."""
    folder = store_folder(data, task)
    rows = [_as_row(one, taken_at) for one in kept]
    table = pa.Table.from_pylist(rows, schema=FEEDBACK)
    number = max((int(path.stem.partition("-")[0]) for path in _parts(folder)), default=0) + 1
    name = content_digest("".join(one.said.row_id for one in kept))[:8]
    path = folder / f"{number:06d}-{name}.parquet"
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd")
    return path


def _as_row(one: Kept, taken_at: str) -> dict[str, Any]:
    said = asdict(one.said)
    more = {"row_id": one.said.row_id, "record_id": one.record_id, "is_new": one.is_new, "taken_at": taken_at}
    return {**said, **more, "chosen_record_ids": list(one.said.chosen_record_ids)}


def waiting_rows(data: Path) -> list[WaitingRow]:
    """Rows that wait for a prediction, oldest first. Raises ArtifactError if they cannot be read."""
    path = common_folder(data, "feedback") / WAITING
    if not path.exists():
        return []
    try:
        return [checked_as(WaitingRow, parse_json(line)) for line in path.read_bytes().splitlines() if line.strip()]
    except ValueError as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Send these rows again, and delete it.") from error


def n_waiting_rows(data: Path) -> int:
    """How many rows wait, whether or not they can be read."""
    path = common_folder(data, "feedback") / WAITING
    return sum(bool(line.strip()) for line in path.read_bytes().splitlines()) if path.exists() else 0


def save_waiting_rows(data: Path, rows: Sequence[WaitingRow]) -> None:
    """Replace the rows that wait; each value once, where it stood first."""
    distinct: dict[str, WaitingRow] = {}
    for row in rows:
        distinct.setdefault(json.dumps(row.value, sort_keys=True, default=str), row)
    with atomic_path(common_folder(data, "feedback") / WAITING) as partial:
        lines = [json.dumps(asdict(row), default=str) + "\n" for row in distinct.values()]  # ASCII, whatever they hold
        partial.write_text("".join(lines), "ascii")


def record_backers(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """(user, record id) of the rows that became records."""
    kept = rows[rows["record_id"] != ""]
    return set(zip(kept["user_id"], kept["record_id"], strict=True))


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))

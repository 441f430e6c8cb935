"""What users said of their answers, joined with the predictions, on disk: data/feedback/store/<task>/<n>-<id>.parquet.

Files are never changed; the last row of a request counts. What waits to be taken is `io.feedback`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import atomic_path
from hydra_ml.io.layout import common_folder, task_folder
from hydra_ml.io.parquet_rows import damage_told
from hydra_ml.io.tables import as_typed
from hydra_ml.learning.feedback import Feedback, choices_of
from hydra_ml.records import content_digest
from hydra_ml.tasks.task import Task

REMEDY = "Files of the store are never written twice: delete it and run `dvc checkout data/feedback/store`."
_SHOWN = pa.struct(
    [
        ("answer", pa.string()),
        ("votes", pa.int32()),
        ("personal", pa.float32()),
        ("shared", pa.float32()),
        ("greedy_share", pa.float32()),
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
_CHOICE = ("request_id", "user_id", "verdict", "answer", "candidates", "record_id")


@dataclass(frozen=True, slots=True)
class Kept:
    """One row as the store has it, beside what was said."""

    said: Feedback
    record_id: str
    is_new: bool


def store_folder(data: Path, task: Task) -> Path:
    """Where a task's feedback is kept."""
    return task_folder(data, "feedback/store", task)


def stored_feedback(data: Path, task: Task, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Every row taken, in the order they came; columns of FEEDBACK, or those named. Raises ArtifactError if a file is
    damaged."""
    return _stored(store_folder(data, task), FEEDBACK.names if columns is None else columns)


def stored_choices(folder: Path, queries: pd.DataFrame) -> pd.DataFrame:
    """What standing choices of a task's store say of these queries (QUERY_COLUMNS): `learning.feedback.choices_of`.
    None where the folder is missing. Raises as `stored_feedback`."""
    said = _stored(folder, _CHOICE, users=queries["user_id"].unique().tolist())
    return choices_of(standing_feedback(said), queries)


def _stored(folder: Path, columns: Sequence[str], users: Sequence[str] | None = None) -> pd.DataFrame:
    """The named columns of FEEDBACK of every row taken, or of these users' alone."""
    schema = pa.schema([FEEDBACK.field(name) for name in columns])
    tables = [schema.empty_table()]
    for path in _parts(folder):
        with damage_told(path, ArtifactError, REMEDY):
            table = as_typed(pq.read_table(path, columns=schema.names), schema)
            tables.append(
                table if users is None else table.filter(pc.is_in(table["user_id"], pa.array(users, pa.string())))
            )
    rows = pa.concat_tables([table.cast(schema) for table in tables]).to_pylist()
    return pd.DataFrame(rows, columns=schema.names).astype(object)


def n_newest(data: Path, task: Task) -> int:
    """How many rows were taken last: those of the store's newest file."""
    parts = _parts(store_folder(data, task))[-1:]
    with damage_told(parts[0], ArtifactError, REMEDY) if parts else nullcontext():
        return sum(pq.read_metadata(path).num_rows for path in parts)


def is_followed(data: Path, task: Task) -> bool:
    """Whether the history was brought up to the store's newest file, or there is none."""
    parts, note = _parts(store_folder(data, task))[-1:], _followed(data, task)
    return not parts or (note.exists() and note.read_text("utf-8") == parts[0].name)


def note_followed(data: Path, task: Task) -> None:
    """Note that the history is as the store's newest file says."""
    for part in _parts(store_folder(data, task))[-1:]:
        with atomic_path(_followed(data, task)) as partial:
            partial.write_text(part.name, "utf-8")


def _followed(data: Path, task: Task) -> Path:
    return common_folder(data, "feedback") / f".{task.folder}.followed"


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


def record_backers(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """(user, record id) of the rows that became records."""
    kept = rows[rows["record_id"] != ""]
    return set(zip(kept["user_id"], kept["record_id"], strict=True))


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))

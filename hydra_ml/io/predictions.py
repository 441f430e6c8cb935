"""Predictions as Parquet, and dead letters as JSON lines: what batch scoring leaves behind.

Holds ids, answers and figures; no text of a request or a record.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.bounded_json import checked_as, parse_json
from hydra_ml.io.files import atomic_path
from hydra_ml.io.parquet_rows import DAMAGE, damage_told, first_line
from hydra_ml.io.tables import as_typed
from hydra_ml.predictions import PREDICTIONS

log = logging.getLogger(__name__)
TASK = "task"  # a column of finished predictions beside these: the task's folder


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One request that cannot."""

    request_id: str  # "" where it has none that can be read
    line: int
    reason: str


def save_predictions(table: pd.DataFrame | pa.Table, path: Path) -> None:
    """Write predictions as Parquet; same rows give the same bytes."""
    arrow = table
    if isinstance(table, pd.DataFrame):
        arrow = pa.Table.from_pandas(table, schema=PREDICTIONS, preserve_index=False).replace_schema_metadata()
    with atomic_path(path) as partial:
        pq.write_table(arrow, partial, compression="zstd")


def joined_predictions(parts: Sequence[Path], lines: Mapping[str, int]) -> tuple[pa.Table, list[DeadLetter]]:
    """The predictions of several files by the lines of their requests, and a letter for each row without one. Raises
    ArtifactError if a file is damaged, or answers what was not asked."""
    tables = [PREDICTIONS.empty_table()]
    for part in parts:
        with damage_told(part, ArtifactError, "Delete it and score the same requests again: it alone is made anew."):
            tables.append(as_typed(pq.read_table(part), PREDICTIONS))
            for request_id in tables[-1]["request_id"].to_pylist():
                lines[request_id]  # a KeyError is damage too
    table = pa.concat_tables(tables)
    line = np.array([lines[request_id] for request_id in table["request_id"].to_pylist()], dtype=np.int64)
    table = table.take(pa.array(np.argsort(line)))
    unanswered = table.filter(pc.is_null(table["prediction"])).select(["request_id", "error"]).to_pylist()
    letters = [DeadLetter(row["request_id"], lines[row["request_id"]], row["error"]) for row in unanswered]
    return table.filter(pc.is_valid(table["prediction"])), letters


def load_predictions(path: Path) -> pd.DataFrame:
    """Predictions as they were written; lists as Python lists. Raises DataError if the file is missing or is none."""
    try:
        rows = as_typed(pq.read_table(path), PREDICTIONS).to_pylist()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. `hydra-ml score` prints where it wrote its predictions.") from None
    except DAMAGE as error:
        raise DataError(
            f"{path}: no predictions of ours ({first_line(error)}). Name the Parquet that `hydra-ml score` wrote."
        ) from error
    return pd.DataFrame(rows, columns=PREDICTIONS.names)


def find_predictions(home: Path, request_ids: Collection[str]) -> list[dict[str, Any]]:
    """Every prediction that a file below `home`, in a folder a task, has of these requests, those of the newest file
    last; by PREDICTION_COLUMNS, folder (of the task) and path. A damaged file is told in the log."""
    wanted = pa.array(sorted(set(request_ids)), pa.string())
    rows: list[dict[str, Any]] = []
    files = sorted(home.glob("*/*.parquet"), key=lambda path: path.stat().st_mtime) if len(wanted) else []
    for path in files:
        try:
            ids = pq.read_table(path, columns=["request_id"])["request_id"].cast(pa.string())
            if pc.any(pc.is_in(ids, wanted)).as_py():
                table = as_typed(pq.read_table(path), PREDICTIONS)
                found = table.filter(pc.is_in(table["request_id"], wanted)).to_pylist()
                rows += [{**row, "folder": path.parent.name, "path": path} for row in found]
        except DAMAGE as error:
            log.warning("%s is not looked through: %s", path, first_line(error))
    return rows


def predictions_json(path: Path) -> Iterator[str]:
    """The predictions of a file as JSON lines, in the order of their requests."""
    for row in load_predictions(path).astype(object).to_dict("records"):
        yield json.dumps(row, ensure_ascii=False, default=float)


def save_dead_letters(letters: Sequence[DeadLetter], path: Path) -> None:
    """Write one JSON object a line: request_id, line, reason. In ASCII: an id may hold what some readers take for the
    end of a line (U+2028, U+0085)."""
    with atomic_path(path) as partial:
        partial.write_text("".join(json.dumps(asdict(letter)) + "\n" for letter in letters), "ascii")


def load_dead_letters(path: Path) -> list[DeadLetter]:
    """The letters of a file that `save_dead_letters` wrote; none if there is no such file. Raises ArtifactError if it
    is damaged, with the line."""
    if not path.exists():
        return []
    letters = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            letters += [checked_as(DeadLetter, parse_json(line))] if line else []
        except ValueError as error:
            raise ArtifactError(
                f"{path}: line {number} is no dead letter ({error}). Delete the folder it lies in and score the same "
                "requests again: answers bought are kept in the response cache."
            ) from error
    return letters

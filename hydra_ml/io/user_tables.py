"""A few users' rows of a Parquet table sorted by user and cut into small row groups; the others are not read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError
from hydra_ml.io.parquet_rows import damage_told
from hydra_ml.io.tables import REMEDY, as_typed
from hydra_ml.records import QUERY_COLUMNS, RECORD_COLUMNS

ROW_GROUP = 2048  # rows read at least, for a single user


def rows_of_users(path: Path, user_ids: Collection[str], columns: Sequence[str]) -> pd.DataFrame:
    """The users' rows of a table, in its order. Raises ArtifactError if the table is missing or damaged."""
    wanted = sorted(set(user_ids))
    try:
        with damage_told(path, ArtifactError, REMEDY), pq.ParquetFile(path) as file:
            rows: pd.DataFrame = read_users(file, wanted, columns).to_pandas()
            return rows
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such table. Run `dvc pull` to get it, or `dvc repro` to make it.") from None


def row_groups_of(drop: pq.ParquetFile, wanted: Sequence[str]) -> list[int]:
    """Numbers of the row groups that may hold one of the wanted user ids (sorted), by the bounds the file states."""
    column = drop.schema_arrow.get_field_index("user_id")
    groups = []
    for number in range(drop.num_row_groups):
        bounds = bounds_of(drop, number, column)
        if bounds is None or not bounds.has_min_max:  # not stated for very long ids
            groups.append(number)
            continue
        next_wanted = bisect_left(wanted, bounds.min)  # text sorts by code point in Python, in Parquet by UTF-8: alike
        if next_wanted < len(wanted) and wanted[next_wanted] <= bounds.max:
            groups.append(number)
    return groups


def bounds_of(table: pq.ParquetFile, group: int, column: int) -> Any:
    """What the file states of a column in a row group: has_min_max, min, max; None if nothing. Raises ValueError where
    the two are of different kinds: to ask pyarrow for such bounds ends the interpreter."""
    chunk = table.metadata.row_group(group).column(column)
    if chunk.physical_type != table.schema.column(column).physical_type:
        raise ValueError(f"row group {group} holds another kind of column than the file says")
    return chunk.statistics


def read_users(table: pq.ParquetFile, wanted: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """The rows of the wanted user ids (sorted), in the file's order; columns must name user_id.

    One row group is held at a time: what is read around a user is not kept, so memory follows the rows that are.
    Raises one of DAMAGE if the table is damaged or has other columns.
    """
    ids = pa.array(wanted, pa.string())
    parts = [table.schema_arrow.empty_table().select(list(columns))]
    for group in row_groups_of(table, wanted):
        rows = table.read_row_group(group, list(columns), use_threads=False)
        parts.append(rows.filter(pc.is_in(rows["user_id"].cast(pa.string()), ids)))
    found = pa.concat_tables(parts)
    return as_typed(found, pa.schema([_field(found.schema.field(name)) for name in columns]))


def _field(found: pa.Field) -> pa.Field:
    """What a column holds: one of records or queries text, but for the list of a query's records."""
    if found.name not in {*RECORD_COLUMNS, *QUERY_COLUMNS}:
        return found
    kind = pa.list_(pa.string()) if found.name == "profile" else pa.string()
    return pa.field(found.name, kind, nullable=found.name == "gold")

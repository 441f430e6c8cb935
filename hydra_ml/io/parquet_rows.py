"""Rows of a Parquet file as Python values, whatever stands in it: what cannot become one is marked, the rest is read.

A file may hold what its own format allows and Python does not: a timestamp beyond the year 9999, text that is no UTF-8,
a zone that nobody knows. One such cell is one bad cell, not the end of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.errors import HydraError

ROWS_AT_ONCE = 8192
# What pyarrow raises where a value has no Python form; unknown zones come as LookupError.
NO_VALUE = (ValueError, ArithmeticError, LookupError, TypeError, pa.ArrowException)
# What reading a damaged file, or one of other columns, raises: also where a length it states is beyond any memory.
DAMAGE = (OSError, MemoryError, *NO_VALUE)


class Unreadable:
    """Stands for a cell that cannot become a Python value."""

    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE = Unreadable()


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Each row as a dictionary, cells that have no Python form as UNREADABLE; columns: those to read, None for all.

    Raises one of DAMAGE if the file is none of Parquet's, or is damaged.
    """
    with pq.ParquetFile(path) as file:
        wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted):
            yield from _rows(batch)


@contextmanager
def damage_told(path: Path, kind: type[HydraError], remedy: str) -> Iterator[None]:
    """What damaged Parquet raises in the block, as one error of ours; a missing file stays FileNotFoundError."""
    try:
        yield
    except (HydraError, FileNotFoundError):
        raise
    except DAMAGE as error:
        raise kind(f"{path}: cannot be read as Parquet ({first_line(error)}). {remedy}") from error


def first_line(error: BaseException) -> str:
    """What an error says first; its kind if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    try:
        rows = batch.to_pylist()
    except NO_VALUE:
        rows = None
    if rows is not None:
        yield from rows
        return
    cells = {name: [_cell(value) for value in column] for name, column in zip(batch.schema.names, batch, strict=True)}
    for place in range(batch.num_rows):
        yield {name: column[place] for name, column in cells.items()}


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except NO_VALUE:
        return UNREADABLE

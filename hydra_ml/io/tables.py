"""Parquet tables, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import atomic_path
from hydra_ml.io.parquet_rows import damage_told

REMEDY = "Delete it and run `dvc repro`."


def save_table(table: pd.DataFrame, path: Path, *, row_group_size: int | None = None, checksums: bool = False) -> None:
    """Write a table as Parquet (zstd), without its index; same rows give the same bytes.

    row_group_size: rows that are read at least; small ones let a sorted table be read in part. checksums: over every
    page, for `load_typed` to check.
    """
    with atomic_path(path) as partial:
        table.to_parquet(
            partial,
            index=False,
            compression="zstd",
            row_group_size=row_group_size,
            write_page_checksum=checksums,
        )


def load_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table at `path`, or its named columns only. Raises ArtifactError if it is missing or damaged."""
    try:
        with damage_told(path, ArtifactError, REMEDY):
            return pd.read_parquet(path, columns=list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such table. Run `dvc repro` to make it.") from None


def load_typed(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """The columns of the schema, of its types, which is what the table is expected to hold. Raises ArtifactError."""
    try:
        with damage_told(path, ArtifactError, REMEDY):
            found = pq.read_table(path, page_checksum_verification=True)
            table: pd.DataFrame = as_typed(found, schema).to_pandas()
            return table
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such table. Run `dvc repro` to make it.") from None


def as_typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema, of its types. Raises ValueError, LookupError or TypeError where the table has other
    ones, or an empty cell that the schema forbids."""
    typed = (
        table.select(schema.names).replace_schema_metadata().cast(pa.schema([f.with_nullable(True) for f in schema]))
    )
    for field in schema:
        if not field.nullable and typed[field.name].null_count:
            raise ValueError(f"column {field.name} has an empty cell")
    typed.validate(full=True)  # pandas would find text that is no UTF-8 only where it is used
    return typed

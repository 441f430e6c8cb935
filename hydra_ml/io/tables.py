"""Parquet tables, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import atomic_path


def save_table(table: pd.DataFrame, path: Path, *, row_group_size: int | None = None) -> None:
    """Write a table as Parquet (zstd), without its index; same rows give the same bytes.

    row_group_size: rows that are read at least; small ones let a sorted table be read in part.
    """
    with atomic_path(path) as partial:
        table.to_parquet(partial, index=False, compression="zstd", row_group_size=row_group_size)


def load_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table at `path`, or its named columns only. Raises ArtifactError if it is missing or damaged."""
    try:
        return pd.read_parquet(path, columns=list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such table. Run `dvc repro` to make it.") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read as Parquet ({error}). Delete it and run `dvc repro`.") from error

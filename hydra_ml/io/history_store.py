"""Records that came in after the LaMP files: `data/history/<task>/<drop>.parquet`, written once and never changed.

A drop is sorted by user and cut into small row groups, so that a few users' records are read without the others'.
Its name is a digest of its content. Checking what comes in is `jobs.ingest`'s work.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import atomic_path, load_json, save_json
from hydra_ml.io.layout import task_folder
from hydra_ml.io.parquet_rows import damage_told
from hydra_ml.io.rewriting import covered_rows
from hydra_ml.io.traces import Marks
from hydra_ml.io.user_tables import ROW_GROUP, bounds_of, read_users, rows_of_users
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks.task import Task

_SCHEMA = pa.schema([(name, pa.string()) for name in RECORD_COLUMNS])


def drop_names(folder: Path) -> list[str]:
    """Names of the drops in the folder, sorted; [] if there is no such folder."""
    return sorted(path.stem for path in folder.glob("*.parquet") if not path.name.startswith("."))


def changed_users(folder: Path, learned: Collection[str]) -> list[str]:
    """Sorted ids of the users with records in drops that are not in `learned`; reads the user ids of those alone."""
    users: set[str] = set()
    for name in drop_names(folder):
        if name not in learned:
            with opened_drop(folder, name) as drop:
                users.update(pc.unique(drop.read(["user_id"])["user_id"]).to_pylist())
    return sorted(users)


def records_of(folder: Path, user_ids: Collection[str], until: float | None = None) -> pd.DataFrame:
    """The users' records in all drops, each once, by user and then oldest first; columns RECORD_COLUMNS, all text.
    until: drops whose file is younger than this time are left out.

    Row groups without any of these users are not read. Empty if the folder, or every user, is unknown. Raises
    ArtifactError if a drop is damaged.
    """
    parts = [_SCHEMA.empty_table(), *_rows_of(folder, user_ids, RECORD_COLUMNS, until)]
    table = pa.concat_tables(parts).to_pandas()
    return _in_order(table.drop_duplicates(["user_id", "record_id"]))


def stored_records(data: Path, task: Task, user_ids: Iterable[str], until: float | None = None) -> pd.DataFrame:
    """What we keep of these users: RECORD_COLUMNS, each record once, each user's oldest first. until: as `records_of`.

    From data/prepare/<task>/records.parquet and the drops in data/history/<task>; row groups of other users are not
    read. Raises ArtifactError if a table is missing or damaged.
    """
    wanted = sorted(set(user_ids))
    if not wanted:
        return pd.DataFrame({name: [] for name in RECORD_COLUMNS}, dtype="str")
    prepared = rows_of_users(task_folder(data, "prepare", task) / "records.parquet", wanted, RECORD_COLUMNS)
    both = pd.concat([prepared, records_of(task_folder(data, "history", task), wanted, until)], ignore_index=True)
    both = both.drop_duplicates(["user_id", "record_id"])
    return both.sort_values(["user_id", "date"], kind="stable", ignore_index=True)


def n_records(folder: Path, name: str) -> int:
    """How many records the drop holds."""
    with opened_drop(folder, name) as drop:
        return int(drop.metadata.num_rows)


def append_drop(folder: Path, records: pd.DataFrame, *, but: Sequence[Path] = ()) -> str | None:
    """Name of the drop that now holds those of the records (RECORD_COLUMNS) the folder lacked; None if it lacked none.

    Known is what has the same user and record id in any drop: appending the same records again changes nothing. The
    drop is there whole or not at all. but: folders of drops whose records are not to come in either.
    """
    known = known_records([folder, *but], set(records["user_id"]))
    fresh = records.drop_duplicates(["user_id", "record_id"])
    fresh = fresh[[key not in known for key in zip(fresh["user_id"], fresh["record_id"], strict=True)]]
    if fresh.empty:
        return None
    return _write_drop(folder, fresh)


def known_records(folders: Sequence[Path], user_ids: Collection[str]) -> set[tuple[str, str]]:
    """The users' records in the drops of these folders, by (user, record id)."""
    tables = [table for folder in folders for table in _rows_of(folder, user_ids, ("user_id", "record_id"))]
    columns = ((table[name].to_pylist() for name in ("user_id", "record_id")) for table in tables)
    return {key for users, ids in columns for key in zip(users, ids, strict=True)}


def take_out(folder: Path, records: Collection[tuple[str, str]]) -> list[str]:
    """Take records, by (user, record id), out of the drops that hold them; the names of those drops.

    Each such drop is replaced by one of the records that stay, or goes where none do. For what a user has corrected:
    whole drops are withdrawn by `jobs.withdraw`. Run again after a kill, it ends the same.
    """
    gone, changed = set(records), []
    for name in drop_names(folder) if gone else []:
        with opened_drop(folder, name) as drop:
            table = drop.read().to_pandas()
        stays = [key not in gone for key in zip(table["user_id"], table["record_id"], strict=True)]
        if all(stays):
            continue
        if any(stays):
            _write_drop(folder, table[stays])
        (folder / f"{name}.parquet").unlink()
        changed.append(name)
    return changed


def rewrite_drops(folder: Path, marks: Marks) -> dict[str, str]:
    """Write every drop that holds what the marks cover anew without it, beside the old one; the new names by the old,
    "" where nothing is left. `remove_drops` then ends it: a kill between the two loses nothing."""
    renamed: dict[str, str] = {}
    for name in drop_names(folder):
        with opened_drop(folder, name) as drop:
            table = drop.read()
        gone = covered_rows(table, marks)
        if gone.any():
            left = table.to_pandas()[~gone]
            renamed[name] = _write_drop(folder, left) if len(left) else ""
            if renamed[name]:  # when it came says which heads cannot have learned it
                facts = (folder / f"{name}.parquet").stat()
                os.utime(folder / f"{renamed[name]}.parquet", ns=(facts.st_atime_ns, facts.st_mtime_ns))
            note = folder / f"{name}.json"  # of a withdrawn drop: why
            if note.exists() and renamed[name]:
                save_json(load_json(note), folder / f"{renamed[name]}.json")
    return renamed


def remove_drops(folder: Path, names: Iterable[str]) -> int:
    """Remove drops, and the notes beside them; how many there were."""
    paths = [folder / f"{name}.parquet" for name in names]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink()
        path.with_suffix(".json").unlink(missing_ok=True)
    return len(there)


def _write_drop(folder: Path, records: pd.DataFrame) -> str:
    """Write the records as a drop; its name."""
    table = pa.Table.from_pandas(_in_order(records), schema=_SCHEMA, preserve_index=False).replace_schema_metadata()
    name = _digest(table.columns)
    with atomic_path(folder / f"{name}.parquet") as partial:
        pq.write_table(table, partial, row_group_size=ROW_GROUP, compression="zstd")
    return name


@contextmanager
def opened_drop(folder: Path, name: str) -> Iterator[pq.ParquetFile]:
    """The drop's file, its footer read. Raises ArtifactError if that, or what the block reads, is damaged."""
    path = folder / f"{name}.parquet"
    remedy = (
        "Drops are never written twice, so the copy in DVC's cache is good: delete the file and run "
        f"`dvc checkout {folder}`, else `dvc pull {folder}`."
    )
    try:
        with damage_told(path, ArtifactError, remedy), pq.ParquetFile(path) as drop:
            _check_intact(path, drop)
            yield drop
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such drop. Run `dvc pull {folder}` to get it.") from None


_intact: dict[Path, tuple[int, int, int]] = {}  # drops that hold what their names say, and the file's state then


def _check_intact(path: Path, drop: pq.ParquetFile) -> None:
    """Raises ValueError unless the drop holds the records it is named for, and finds them: once in a process, and again
    when the file has changed. All of it is read, column by column, and not kept."""
    facts = path.stat()
    state = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    if _intact.get(path) == state:
        return
    if drop.schema_arrow.remove_metadata() != _SCHEMA:
        raise ValueError("its columns are not those of records")
    if drop.metadata.num_rows != sum(drop.metadata.row_group(i).num_rows for i in range(drop.num_row_groups)):
        raise ValueError("it counts its rows wrongly")
    column = _SCHEMA.get_field_index("user_id")
    for group in range(drop.num_row_groups):
        users = drop.read_row_group(group, ["user_id"], use_threads=False)["user_id"]
        bounds, ends = bounds_of(drop, group, column), pc.min_max(users).as_py()
        if bounds is not None and bounds.has_min_max and (bounds.min > ends["min"] or bounds.max < ends["max"]):
            raise ValueError(f"the bounds of row group {group} are not those of its users")
    if _digest(drop.read([name], use_threads=False)[name] for name in RECORD_COLUMNS) != path.stem:
        raise ValueError("its records are not those it was named for: damaged or edited")
    _intact[path] = state


def _rows_of(
    folder: Path, user_ids: Collection[str], columns: Sequence[str], until: float | None = None
) -> Iterator[pa.Table]:
    """The users' rows, drop by drop, of the row groups that may hold some."""
    wanted = sorted(set(user_ids))
    for name in drop_names(folder) if wanted else []:
        if until is not None and (folder / f"{name}.parquet").stat().st_mtime > until:
            continue
        with opened_drop(folder, name) as drop:
            table = read_users(drop, wanted, columns)
        yield table


def _in_order(records: pd.DataFrame) -> pd.DataFrame:
    """By user, oldest first; ties by record id, so that the order does not depend on which drop came first."""
    return records[list(RECORD_COLUMNS)].sort_values(["user_id", "date", "record_id"], ignore_index=True)


def _digest(columns: Iterable[pa.ChunkedArray]) -> str:
    """16 hex digits over all values of RECORD_COLUMNS, whatever version of Parquet writes them."""
    total = hashlib.blake2b(digest_size=8)
    for column in columns:
        if column.null_count:
            raise ValueError("it has an empty cell")
        for value in column.to_pylist():
            text = value.encode()
            total.update(len(text).to_bytes(8, "little"))
            total.update(text)
    return total.hexdigest()

"""A table of anybody's own records, as one task's data: checked row by row, sorted by user and time, split, and kept as
one Parquet file in data/raw/<task>.

Rows stream: they are dealt by a hash of the user to temporary parts, and each part is sorted alone, so memory follows
the largest part and not the table.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm import tqdm

from hydra_ml.errors import DataError
from hydra_ml.io.files import atomic_path
from hydra_ml.io.lamp.folders import SPLITS
from hydra_ml.io.record_reader import Fault, read_date, read_item, read_text
from hydra_ml.io.row_files import Row, read_rows
from hydra_ml.io.user_tables import ROW_GROUP
from hydra_ml.records import content_digest
from hydra_ml.tasks.task import Task

FILE = "records.parquet"
N_PARTS = 64
ROWS_AT_ONCE = 50_000  # held before they are dealt to their parts
FEWEST = 3  # records of a user who is asked anything: one at least is left to answer from
FIRST_DAY = date(1, 1, 1)  # of records without dates: their place stands for one, before all real ones
TOLD = 5  # refused rows shown


@dataclass
class Added:
    """What became of a table."""

    rows: int = 0
    users: int = 0
    splits: Counter[str] = field(default_factory=Counter)  # records by "train", "dev", "test"
    refused: Counter[str] = field(default_factory=Counter)  # rows by reason
    alone: int = 0  # test questions without any earlier record of their user
    repeated: int = 0  # rows that say what an earlier row of their user said
    first: list[str] = field(default_factory=list)  # the first refused rows

    @property
    def n_refused(self) -> int:
        """Rows that were left out for a fault."""
        return sum(self.refused.values())

    def text(self, task: Task) -> str:
        """For people."""
        kept = sum(self.splits.values())
        lines = [f"{task.name}: {kept:,} records of {self.users:,} users, of {self.rows:,} rows"]
        lines += [f"  {self.splits[name]:,} {told}" for name, told in _SPLITS.items()]
        if self.alone:
            lines.append(f"  {self.alone:,} of the test questions have no record of their user that is a day earlier")
        if self.repeated:
            lines.append(f"  {self.repeated:,} rows repeat an earlier one of their user and were left out")
        lines += [f"  {count:,} rows refused: {reason}" for reason, count in self.refused.most_common()]
        lines += [f"    {line}" for line in self.first]
        if task.date_key is None:
            lines.append("  no date column: each user's rows were taken in their order, oldest first")
        return "\n".join(lines)


_SPLITS = {"train": "to learn from", "dev": "to tune on (dev)", "test": "to report on (test)"}


def add_table(
    source: Path,
    raw: Path,
    task: Task,
    *,
    shares: tuple[float, float] = (0.1, 0.1),
    max_bad_share: float = 0.2,
    max_text_chars: int = 200_000,
) -> Added:
    """Put the records of a table into `raw`/records.parquet, in the place of what was there.

    shares: of each user's records, by time, the newest for test (second), those before for dev (first); users of fewer
    than FEWEST records are only learned from. Rows with a longer text than `max_text_chars` are bad. Raises DataError,
    and changes nothing, if the file cannot be read, more than `max_bad_share` of its rows are bad, nothing is left to
    learn from, or no question has a record before it.
    """
    if not (0 <= shares[0] < 1 and 0 < shares[1] < 1 and sum(shares) < 1):
        raise DataError(f"time split {shares[0]},{shares[1]}: shares of dev and test, test above 0, together below 1.")
    added = Added()
    parts = raw.parent / f".{raw.name}.parts"
    raw.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{parts}.lock"):  # of two at once the second waits
        try:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir()
            _deal(_sound_rows(source, task, added, max_text_chars), task, parts)
            _check_rows(added, source, max_bad_share)
            with atomic_path(raw / FILE) as partial:
                for left in raw.glob(f".{FILE}.*"):  # of runs that were killed
                    left.unlink()
                _write(parts, partial, task, shares, added)
                _check_questions(added, source, task)
        finally:
            shutil.rmtree(parts, ignore_errors=True)
        for name in SPLITS:  # LaMP files that were here before: one kind of data at a time
            shutil.rmtree(raw / name, ignore_errors=True)
    return added


def _sound_rows(source: Path, task: Task, added: Added, max_text_chars: int) -> Iterator[dict[str, str]]:
    """The rows that are records, as texts; `added` counts the others."""
    rows = tqdm(read_rows(source, ids=(task.user_key,)), desc=f"reading {source.name}", unit="row", leave=False)
    for row in rows:
        added.rows += 1
        try:
            user_id, item = checked_row(row, task)
            if long := [key for key, text in item.items() if len(text) > max_text_chars]:
                raise Fault("no text", f"{long[0]} has more than {max_text_chars:,} characters")
            yield {"user_id": user_id, **item}
        except Fault as fault:
            reason = str(fault)
            added.refused[reason] += 1
            if len(added.first) < TOLD:
                added.first.append(f"row {row.number}: {reason}")


def checked_row(row: Row, task: Task) -> tuple[str, dict[str, str]]:
    """User id, and the task's own fields with the date, "" where the task has none. Raises Fault."""
    if row.fault or not isinstance(row.value, dict):
        raise Fault("unreadable", row.fault or "is no object of columns")
    entry = task.row_names({str(key): value for key, value in row.value.items()})
    day = read_date(entry) if task.date_key is not None else ""
    return read_text(entry, "user_id"), {"date": day, **read_item(entry, task, dated=False)}


def _check_rows(added: Added, source: Path, max_bad_share: float) -> None:
    if not added.rows:
        raise DataError(f"{source}: holds no row.")
    if added.n_refused > max_bad_share * added.rows:
        told = "; ".join(f"{count:,} times: {reason}" for reason, count in added.refused.most_common(TOLD))
        raise DataError(
            f"{source}: {added.n_refused:,} of {added.rows:,} rows are bad, more than the {max_bad_share:.0%} that "
            f"`ingest.max_bad_share` allows ({told}). Nothing was added. The task's YAML says which columns it reads; "
            "`hydra-ml task check` shows what it makes of a table."
        )


def _check_questions(added: Added, source: Path, task: Task) -> None:
    found = f"{added.users:,} users, {sum(added.splits.values()):,} records"
    if not added.splits["test"]:
        raise DataError(
            f"{source}: no user has {FEWEST} records or more, so nothing can be asked of anybody ({found}). Is "
            f"{task.user_key!r} the column that says whose a row is?"
        )
    if not added.splits["train"]:
        raise DataError(f"{source}: the time split leaves nothing to learn from ({found}). Give smaller shares.")
    if added.alone == added.splits["test"]:
        raise DataError(
            f"{source}: no question has a record of its user that is a day earlier ({found}), so there is nothing to "
            f"answer from. Is {task.date_key!r} the column that says when? Without a date column rows count in order."
        )


def table_columns(task: Task) -> list[str]:
    """Of records.parquet, but for `split`: the task's own fields have names that no other column has."""
    return ["user_id", "date", *(f"item.{key}" for key in task.item_keys)]


def _schema(task: Task) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in table_columns(task)])


def _deal(rows: Iterable[Mapping[str, str]], task: Task, parts: Path) -> None:
    """Write each row to the part of its user, in order."""
    schema, names = _schema(task), ("user_id", "date", *task.item_keys)
    writers: dict[int, pq.ParquetWriter] = {}
    waiting: dict[int, list[list[str]]] = {}

    def flush() -> None:
        """Write what is held."""
        for part, held in waiting.items():
            if part not in writers:
                writers[part] = pq.ParquetWriter(parts / f"{part}.parquet", schema)
            columns = zip(*held, strict=True)
            writers[part].write_table(pa.table([list(column) for column in columns], schema=schema))
        waiting.clear()

    try:
        for count, row in enumerate(rows, start=1):
            part = int(content_digest(row["user_id"])[:8], 16) % N_PARTS
            waiting.setdefault(part, []).append([row[name] for name in names])
            if count % ROWS_AT_ONCE == 0:
                flush()
        flush()
    finally:
        for writer in writers.values():
            writer.close()


def _write(parts: Path, target: Path, task: Task, shares: tuple[float, float], added: Added) -> None:
    """The parts one after another, each sorted by user and time and split."""
    schema = _schema(task).append(pa.field("split", pa.string()))
    with pq.ParquetWriter(target, schema) as writer:
        for path in sorted(parts.glob("*.parquet"), key=lambda path: int(path.stem)):
            table = pq.read_table(path).to_pandas()
            n_rows = len(table)
            table = table.drop_duplicates(keep="first").sort_values(["user_id", "date"], kind="stable")
            added.repeated += n_rows - len(table)
            table["split"] = _splits(table["user_id"], shares)
            if task.date_key is None:
                place = table.groupby("user_id", sort=False).cumcount()
                table["date"] = [(FIRST_DAY + timedelta(days=int(days))).isoformat() for days in place]
            first = table["user_id"].map(table.groupby("user_id", sort=False)["date"].first())
            added.alone += int(((table["split"] == "test") & (table["date"] <= first)).sum())
            added.users += int(table["user_id"].nunique())
            added.splits.update(Counter(table["split"]))
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), row_group_size=ROW_GROUP)


def _splits(user_ids: pd.Series, shares: tuple[float, float]) -> list[str]:
    """The split of each row, users' rows together and oldest first."""
    counts = user_ids.groupby(user_ids, sort=False).transform("size").to_numpy()
    from_end = counts - 1 - user_ids.groupby(user_ids, sort=False).cumcount().to_numpy()
    found = []
    for count, behind in zip(counts.tolist(), from_end.tolist(), strict=True):
        n_test = max(1, round(count * shares[1])) if count >= FEWEST else 0
        n_dev = max(1, round(count * shares[0])) if shares[0] and count > FEWEST else 0
        found.append("test" if behind < n_test else "dev" if behind < n_test + n_dev else "train")
    return found

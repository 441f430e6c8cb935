"""Drops: written once, each record once, and a few users read without the others."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.history_store import (
    append_drop,
    changed_users,
    drop_names,
    n_records,
    opened_drop,
    records_of,
)
from hydra_ml.io.user_tables import ROW_GROUP, row_groups_of
from hydra_ml.records import RECORD_COLUMNS


def records(*keys: tuple[str, str, str]) -> pd.DataFrame:
    """One record per (user, record id, date)."""
    rows = [(user, record, f"text {record}", "asked", "comedy", date) for user, record, date in keys]
    return pd.DataFrame(rows, columns=list(RECORD_COLUMNS))


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    assert drop_names(folder) == []
    assert changed_users(folder, ()) == []
    none = records_of(folder, ["ann"])
    assert none.empty
    assert tuple(none.columns) == RECORD_COLUMNS
    assert append_drop(folder, records()) is None
    assert not folder.exists()


def test_records_come_back_once_and_oldest_first(tmp_path: Path) -> None:
    first = append_drop(tmp_path, records(("bob", "r3", "2020"), ("ann", "r2", "2021"), ("ann", "r1", "2020")))
    second = append_drop(tmp_path, records(("ann", "r0", "2022"), ("ann", "r1", "2020"), ("ann", "r0", "2022")))
    assert first is not None
    assert second is not None
    assert drop_names(tmp_path) == sorted([first, second])
    assert (n_records(tmp_path, first), n_records(tmp_path, second)) == (3, 1)
    got = records_of(tmp_path, ["ann", "stranger"])
    assert got["record_id"].tolist() == ["r1", "r2", "r0"]
    assert got.equals(records(("ann", "r1", "2020"), ("ann", "r2", "2021"), ("ann", "r0", "2022")).astype("str"))
    assert records_of(tmp_path, []).empty


def test_the_same_records_again_change_nothing(tmp_path: Path) -> None:
    some = records(("ann", "r1", ""), ("bob", "r1", ""))
    name = append_drop(tmp_path, some)
    path = tmp_path / f"{name}.parquet"
    before = (path.stat().st_mtime_ns, path.read_bytes())
    assert append_drop(tmp_path, some.iloc[::-1]) is None
    assert drop_names(tmp_path) == [name]
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_a_name_follows_the_content_alone(tmp_path: Path) -> None:
    some = records(("ann", "r1", ""), ("bob", "r1", ""))
    names = {append_drop(tmp_path / f"{i}", table) for i, table in enumerate((some, some.iloc[::-1], some.iloc[[0]]))}
    assert len(names) == 2
    moved = some.assign(text=["ab", "c"], input=["", "d"])
    swapped = some.assign(text=["a", "bc"], input=["", "d"])
    assert append_drop(tmp_path / "x", moved) != append_drop(tmp_path / "y", swapped)


def test_changed_users_are_those_of_drops_not_learned(tmp_path: Path) -> None:
    first = append_drop(tmp_path, records(("bob", "r1", ""), ("ann", "r1", "")))
    second = append_drop(tmp_path, records(("ann", "r2", ""), ("bob", "r1", "")))
    assert first is not None
    assert second is not None
    assert changed_users(tmp_path, ()) == ["ann", "bob"]
    assert changed_users(tmp_path, [first]) == ["ann"]
    assert changed_users(tmp_path, [first, second, "one that is gone"]) == []


def test_few_users_cost_few_row_groups(tmp_path: Path) -> None:
    n = 10 * ROW_GROUP
    ids = [f"user{i:06d}" for i in range(n)]
    name = append_drop(tmp_path, records(*((user, "r", "") for user in ids)))
    assert name is not None
    wanted = [ids[5], ids[ROW_GROUP * 3 + 1], "user000005x", "zzz"]
    with opened_drop(tmp_path, name) as drop:
        assert drop.num_row_groups == 10
        assert row_groups_of(drop, sorted(wanted)) == [0, 3]
        assert row_groups_of(drop, ["zzz"]) == []
        assert row_groups_of(drop, ids) == list(range(10))
    assert records_of(tmp_path, wanted)["user_id"].tolist() == [ids[5], ids[ROW_GROUP * 3 + 1]]


@pytest.mark.parametrize("odd", ["ä", "\U0001f600", "\ue000", "user/1", "x" * 5000, "a b"])
def test_any_user_id_is_found_by_its_bounds(tmp_path: Path, odd: str) -> None:
    append_drop(tmp_path, records(("ann", "r", ""), (odd, "r", ""), ("zoe", "r", "")))
    assert records_of(tmp_path, [odd])["user_id"].tolist() == [odd]
    assert append_drop(tmp_path, records((odd, "r", ""))) is None


def test_unfinished_writes_are_no_drops(tmp_path: Path) -> None:
    (tmp_path / ".abc.parquet.17.partial").write_bytes(b"PAR1")
    (tmp_path / ".abc.parquet").write_bytes(b"PAR1")
    assert drop_names(tmp_path) == []
    assert records_of(tmp_path, ["ann"]).empty


def test_damaged_drops_are_told_with_the_remedy(tmp_path: Path) -> None:
    name = append_drop(tmp_path, records(*((f"u{i}", "r", "") for i in range(500))))
    path = tmp_path / f"{name}.parquet"
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", whole[:4] + bytes(600) + whole[604:]):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=rf"{name}.parquet: cannot be read as Parquet.*dvc checkout"):
            records_of(tmp_path, ["u1"])


def test_the_file_is_plain_parquet(tmp_path: Path) -> None:
    name = append_drop(tmp_path, records(("ann", "r1", "2020")))
    table = pq.read_table(tmp_path / f"{name}.parquet")
    assert table.schema.equals(pa.schema([(column, pa.string()) for column in RECORD_COLUMNS]))


@pytest.mark.parametrize("column", RECORD_COLUMNS)
def test_a_drop_that_holds_other_records_than_it_is_named_for_is_refused(tmp_path: Path, column: str) -> None:
    name = append_drop(tmp_path, records(("ann", "r1", "2020"), ("bob", "r2", "2021")))
    path = tmp_path / f"{name}.parquet"
    table = pq.read_table(path)
    changed = pa.array([f"{value}x" for value in table[column].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, changed), path)
    with pytest.raises(ArtifactError, match=r"its records are not those it was named for.*dvc checkout"):
        records_of(tmp_path, ["ann"])
    with pytest.raises(ArtifactError, match="named for"):
        changed_users(tmp_path, ())


def test_a_drop_is_read_whole_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = append_drop(tmp_path, records(("ann", "r1", "2020")))
    whole = []
    monkeypatch.setattr("hydra_ml.io.history_store._digest", lambda columns: whole.append(list(columns)) or name)
    for _ in range(3):
        records_of(tmp_path, ["ann"])
    assert len(whole) == 1
    os.utime(tmp_path / f"{name}.parquet", (1, 1))
    records_of(tmp_path, ["ann"])
    assert len(whole) == 2


def test_a_drop_is_digested_as_ever(tmp_path: Path) -> None:
    """A drop keeps the name it was given by any earlier version: names are in releases and in DVC."""
    assert append_drop(tmp_path, records(("ann", "r1", "2020"), ("bob", "r2", ""))) == "51a3be56053adf59"

"""validate: leakage planted in sound tables is found, told by id, and stops the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.files import save_json
from hydra_ml.io.tables import save_table
from hydra_ml.learning.leaks import QUERY_CONTRACTS, query_contracts
from hydra_ml.params import Params, Validate
from hydra_ml.stages.validate import validate
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")


def record(user_id: str, name: str, day: int, *, held_out: bool = False) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "record_id": name,
        "text": f"film {name}",
        "input": MOVIES.templated(f"film {name}"),
        "answer": "comedy",
        "date": f"2020-01-{day:02d}",
        "held_out": held_out,
    }


def query(query_id: str, text: str, day: int, profile: list[str], **change: Any) -> dict[str, Any]:
    return {
        "query_id": query_id,
        "user_id": "ann",
        "role": "train",
        "cohort": "known",
        "source_record_id": "",
        "input": MOVIES.templated(text),
        "text": text,
        "gold": "comedy",
        "date": f"2020-01-{day:02d}",
        "profile": profile,
        **change,
    }


RECORDS = [
    record("ann", "a", 1),
    record("ann", "b", 2),
    record("ann", "c", 3),
    record("ann", "h", 1, held_out=True),
    record("bob", "a", 1),  # ids are unique per user only
    record("bob", "z", 1),
]
QUERIES = [
    query("e", "evaluated film", 9, ["a", "b", "h"], role="evaluate"),
    query("ann/b", "film b", 2, ["a"], source_record_id="b"),
    query("ann/c", "film c", 3, ["a", "b"], source_record_id="c"),
]


def contracts_broken(*more: dict[str, Any], dated: bool = True) -> dict[str, list[str]]:
    """Contract -> ids of the queries that break it."""
    queries = pd.DataFrame([*QUERIES, *more])
    columns = query_contracts(queries, pd.DataFrame(RECORDS), MOVIES, dated=dated)
    assert list(columns) == list(QUERY_CONTRACTS)
    return {
        name: [query_id for query_id, kept in zip(queries["query_id"], column, strict=True) if not kept]
        for name, column in columns.items()
        if not all(column)
    }


def write_tables(folder: Path, queries: list[dict[str, Any]], *, dated: bool = True) -> Path:
    save_table(pd.DataFrame(queries), folder / "queries.parquet")
    save_table(pd.DataFrame(RECORDS), folder / "records.parquet")
    save_json({"dated": dated}, folder / "manifest.json")
    return folder


@pytest.mark.parametrize(
    ("leak", "contract"),
    [
        (query("x", "t", 5, ["a", "z"]), "profile_is_own"),
        (query("x", "t", 5, ["a", "b"], source_record_id="b"), "profile_lacks_source"),
        (query("x", "Film  B", 5, ["a", "b"]), "profile_lacks_own_text"),
        (query("x", "film a", 5, ["a"], role="evaluate"), "profile_lacks_own_text"),
        (query("x", "t", 2, ["a", "b"], source_record_id="y"), "profile_is_earlier"),
        (query("x", "t", 2, ["b"], role="evaluate"), "profile_is_earlier"),
        (query("x", "t", 5, ["a"], date="", source_record_id="y"), "profile_is_earlier"),
        (query("x", "t", 5, ["h"]), "profile_may_be_learned"),
        (query("x", "EVALUATED film", 5, ["a"]), "text_may_be_learned"),
    ],
)
def test_planted_leaks_are_found(leak: dict[str, Any], contract: str) -> None:
    assert contracts_broken(leak) == {contract: ["x"]}


def test_what_is_no_leak() -> None:
    assert contracts_broken() == {}
    assert contracts_broken(query("x", "t", 1, ["b"], source_record_id="y"), dated=False) == {}
    assert (
        contracts_broken(query("x", "t", 1, ["b"], date="", role="evaluate")) == {}
    )  # official files: no question date
    assert contracts_broken(query("x", "t", 5, [])) == {}


def test_sound_tables_pass_and_are_reported(tmp_path: Path) -> None:
    prepared = write_tables(tmp_path / "prepared", QUERIES)
    summary = validate(prepared=prepared, out=tmp_path / "out", task=MOVIES, params=Params())
    assert summary["rows"] == 9
    assert summary["tolerated_bad_rows"] == 0
    findings = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(findings) == summary["expectations"]
    assert not any(finding["failed"] for finding in findings)
    assert "0 failed" in (tmp_path / "out" / "report.md").read_text()


def test_bad_rows_are_named_without_their_text(tmp_path: Path) -> None:
    bad = query("bad-one", "A private remark", 5, ["a"], gold="drama")
    prepared = write_tables(tmp_path / "prepared", [*QUERIES, bad])
    with pytest.raises(DataError) as caught:
        validate(prepared=prepared, out=tmp_path / "out", task=MOVIES, params=Params())
    told = str(caught.value)
    assert "1 of" in told
    assert "queries.parquet: gold is one of:" in told
    assert "not in 1 of 4 rows, first: bad-one" in told
    assert "report.md" in told
    for text in (told, *(path.read_text() for path in (tmp_path / "out").iterdir())):
        assert "private remark" not in text
    assert "FAILED | gold is one of" in (tmp_path / "out" / "report.md").read_text()


def test_tolerance_lets_rows_pass_but_no_leak(tmp_path: Path) -> None:
    lenient = Params(validate=Validate(max_bad_share=0.3))
    bad = query("bad", "t", 5, ["a"], gold="drama")
    prepared = write_tables(tmp_path / "rows", [*QUERIES, bad])
    assert validate(prepared=prepared, out=tmp_path / "out", task=MOVIES, params=lenient)["tolerated_bad_rows"] == 1
    assert "| tolerated |" in (tmp_path / "out" / "report.md").read_text()
    prepared = write_tables(tmp_path / "leak", [*QUERIES, query("x", "evaluated film", 5, ["a"])])
    with pytest.raises(DataError, match="text of a train row equals no evaluated text"):
        validate(prepared=prepared, out=tmp_path / "out", task=MOVIES, params=lenient)


def test_missing_column_is_told_before_anything_else(tmp_path: Path) -> None:
    without = [{key: value for key, value in row.items() if key != "gold"} for row in QUERIES]
    prepared = write_tables(tmp_path / "prepared", without)
    with pytest.raises(DataError, match=r"queries\.parquet: has column gold"):
        validate(prepared=prepared, out=tmp_path / "out", task=MOVIES, params=Params())

"""Every expectation has a row it refuses, and refuses no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from hydra_ml.io.gx.expectations import (
    Check,
    Finding,
    column_checks,
    query_checks,
    record_checks,
    run_checks,
)
from hydra_ml.learning.leaks import QUERY_CONTRACTS
from hydra_ml.tasks import get_task

MOVIES, HEADLINES, RATINGS, CITATIONS = (get_task(name) for name in ("LaMP_2", "LaMP_4", "LaMP_3", "LaMP_1"))


def queries(**change: Any) -> pd.DataFrame:
    """Three sound rows, the middle one changed."""
    good: dict[str, Any] = {
        "query_id": "q0",
        "user_id": "ann",
        "role": "train",
        "cohort": "known",
        "input": "Which tag? A robot",
        "text": "A robot",
        "gold": "comedy",
        "date": "2020-01-31",
        **dict.fromkeys(QUERY_CONTRACTS, True),
    }
    return pd.DataFrame([good, {**good, "query_id": "q1", **change}, {**good, "query_id": "q2", "date": ""}])


def records(**change: Any) -> pd.DataFrame:
    good = {
        "user_id": "ann",
        "record_id": "r0",
        "record_key": "ann/r0",
        "text": "A robot",
        "input": "Which tag? A robot",
        "answer": "comedy",
        "date": "2020",
    }
    changed = {**good, "record_id": "r1", "record_key": "ann/r1", **change}
    return pd.DataFrame([good, changed, {**good, "record_id": "r2", "record_key": "ann/r2"}])


def refused(table: pd.DataFrame, checks: list[Check]) -> dict[str, tuple[str, ...]]:
    row_ids = pd.Series([f"row{i}" for i in range(len(table))])
    return {f.check.name: f.sample for f in run_checks("some_table", table, row_ids, checks) if f.bad_rows}


BAD_QUERIES = [
    ({"query_id": None}, "query_id is not null"),
    ({"query_id": " "}, "query_id is not blank"),
    ({"user_id": None}, "user_id is not null"),
    ({"user_id": ""}, "user_id is not blank"),
    ({"role": "test"}, "role is one of: train, evaluate"),
    ({"cohort": "old"}, "cohort is one of: known, new"),
    ({"input": None}, "input is not null"),
    ({"input": "\n"}, "input is not blank"),
    ({"input": "x" * 31}, "input has at most 30 characters"),
    ({"text": None}, "text is not null"),
    ({"text": " \t "}, "text is not blank"),
    ({"text": "x" * 31}, "text has at most 30 characters"),
    ({"gold": None}, "gold is not null"),
    ({"gold": "Comedy"}, f"gold is one of: {', '.join(MOVIES.labels)}"),
    ({"date": "31.01.2020"}, "date is YYYY-MM-DD, a shorter form of it, or blank"),
    ({"date": "2020-1-1"}, "date is YYYY-MM-DD, a shorter form of it, or blank"),
    *(({column: False}, name) for column, name in QUERY_CONTRACTS.items()),
]
BAD_RECORDS = [
    ({"user_id": None}, "user_id is not null"),
    ({"user_id": " "}, "user_id is not blank"),
    ({"record_id": None}, "record_id is not null"),
    ({"record_id": ""}, "record_id is not blank"),
    ({"text": None}, "text is not null"),
    ({"text": ""}, "text is not blank"),
    ({"text": "x" * 31}, "text has at most 30 characters"),
    ({"input": None}, "input is not null"),
    ({"input": ""}, "input is not blank"),
    ({"input": "x" * 31}, "input has at most 30 characters"),
    ({"answer": None}, "answer is not null"),
    ({"answer": "drama"}, f"answer is one of: {', '.join(MOVIES.labels)}"),
    ({"date": "yesterday"}, "date is YYYY-MM-DD, a shorter form of it, or blank"),
]


@pytest.mark.parametrize(
    ("rows", "key", "checks", "cases"),
    [
        (queries, "query_id", query_checks(MOVIES, 30), BAD_QUERIES),
        (records, "record_key", record_checks(MOVIES, 30), BAD_RECORDS),
    ],
    ids=["queries", "records"],
)
def test_each_check_refuses_its_bad_rows_and_no_other(
    rows: Callable[..., pd.DataFrame], key: str, checks: list[Check], cases: list[tuple[dict[str, Any], str]]
) -> None:
    """One table with one bad row per case: told together, so that Great Expectations starts but once."""
    bad = [rows(**{key: f"key{i}", **change}).iloc[1] for i, (change, _) in enumerate(cases)]
    expected: dict[str, tuple[str, ...]] = {}
    for i, (_, name) in enumerate(cases):
        expected[name] = (*expected.get(name, ()), f"row{i}")
    assert refused(pd.DataFrame(bad), checks) == expected
    assert {check.name for check in checks if "unique" not in check.name} == expected.keys()  # every check has a case


def test_repeated_keys_are_refused_on_both_rows() -> None:
    assert refused(queries(query_id="q0"), query_checks(MOVIES, 30)) == {"query_id is unique": ("row0", "row1")}
    repeated = refused(records(record_key="ann/r0"), record_checks(MOVIES, 30))
    assert repeated == {"record_id is unique per user": ("row0", "row1")}


def test_sound_tables_pass() -> None:
    assert refused(queries(), query_checks(MOVIES, 30)) == {}
    assert refused(records(), record_checks(MOVIES, 30)) == {}


def test_answers_are_checked_by_kind_of_task() -> None:
    free = refused(queries(gold="Any headline"), query_checks(HEADLINES, 30))
    assert free == {}
    assert refused(queries(gold=" "), query_checks(HEADLINES, 30)) == {"gold is not blank": ("row1",)}
    ratings = queries(gold="nan").assign(gold=["1", "nan", "5"])
    assert refused(ratings, query_checks(RATINGS, 30)) == {"gold is one of: 1, 2, 3, 4, 5": ("row1",)}
    assert refused(records(answer="").assign(answer=""), record_checks(CITATIONS, 30)) == {}  # history answers nothing


def test_missing_column_fails_the_whole_table() -> None:
    table = queries().drop(columns="gold")
    findings = run_checks("t", table, table["query_id"], column_checks(["query_id", "gold"]))
    assert [(f.check.name, f.bad_rows, f.fails(0.9)) for f in findings] == [
        ("has column query_id", 0, False),
        ("has column gold", 3, True),
    ]


def test_index_labels_of_the_table_do_not_matter() -> None:
    table = queries(role="x").set_index(pd.Index([7, 7, 7]))
    findings = run_checks("t", table, table["query_id"], query_checks(MOVIES, 30))
    assert [f.sample for f in findings if f.bad_rows] == [("q1",)]


def test_tolerance_is_for_rows_not_for_structure() -> None:
    def finding(bad_rows: int, structural: bool) -> Finding:
        return Finding("t", Check("x", "x", "X", structural=structural), 100, bad_rows, ())

    assert not finding(5, False).fails(0.05)
    assert finding(6, False).fails(0.05)
    assert finding(1, False).fails(0.0)
    assert finding(1, True).fails(0.5)
    assert not finding(0, True).fails(0.0)

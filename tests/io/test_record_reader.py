"""One row is one record, whichever way it comes in."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.gx.drop_checks import judge_rows
from hydra_ml.io.gx.expectations import new_context
from hydra_ml.io.lamp.files import questions_path, read_questions
from hydra_ml.io.record_reader import Fault, read_date, read_text
from hydra_ml.io.requests import Unfit, read_history
from hydra_ml.io.row_files import Row, read_rows
from hydra_ml.learning.history import read_record
from hydra_ml.records import RECORD_COLUMNS, Record
from hydra_ml.tasks import get_task

MOVIES, REVIEWS = get_task("LaMP_2"), get_task("LaMP_3")
BERLIN = dt.timezone(dt.timedelta(hours=1))

DATES = {  # as written -> as kept; None: refused, "": missing
    "2020-01-05": "2020-01-05",
    "2020-1-5": "2020-01-05",
    "2020-01": "2020-01",
    "1999": "1999",
    1999: "1999",
    "20200105": "2020-01-05",
    "2020-01-05 10:30": "2020-01-05",
    "2020-01-05T10:30:00Z": "2020-01-05",
    "2020-01-05T00:30:00+01:00": "2020-01-04",
    " 2020-01-05 ": "2020-01-05",
    "2020-02-31": None,
    "2020-13-01": None,
    "2020-02-30 10:00": None,
    "yesterday": None,
    "1701010812345": None,
    1701010812345: None,
    "1701010812": None,
    1701010812.5: None,
    20200105.0: "2020-01-05",
    "NaT": "",
    "nan": "",
    None: "",
    "": "",
    True: None,
}


@pytest.mark.parametrize(("written", "kept"), DATES.items(), ids=map(repr, DATES))
def test_dates(written: Any, kept: str | None) -> None:
    if kept:
        assert read_date({"date": written}) == kept
        return
    with pytest.raises(Fault) as caught:
        read_date({"date": written})
    assert (caught.value.kind in ("missing", "empty")) == (kept == "")


def test_dates_as_tables_hold_them() -> None:
    assert read_date({"date": dt.date(2020, 1, 5)}) == "2020-01-05"
    assert read_date({"date": dt.datetime(2020, 1, 5, 23, 30)}) == "2020-01-05"
    assert read_date({"date": dt.datetime(2020, 1, 5, 0, 30, tzinfo=BERLIN)}) == "2020-01-04"


@pytest.mark.parametrize("text", ["1701010812345", "1701010812"])
def test_a_count_of_seconds_is_told_as_such(text: str) -> None:
    with pytest.raises(Fault, match=r"seconds or milliseconds since 1970, write the day") as caught:
        read_date({"date": text})
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a", "a"),
        (41, "41"),
        (41.0, "41"),
        (2**53 + 1, str(2**53 + 1)),
        (-3.0, "-3"),
        ("4.0", "4.0"),
        ("007", "007"),
        (Decimal("9007199254740993"), "9007199254740993"),  # NUMBER and NUMERIC of warehouses are exact
        (Decimal("41.00"), "41"),
        ("Zoe\u0308", "Zo\u00eb"),
    ],
)
def test_ids(value: Any, kept: str) -> None:
    assert read_text({"user_id": value}, "user_id") == kept


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (4.5, "no text"),
        (Decimal("4.5"), "no text"),
        (float("inf"), "no text"),
        (pd.NaT, "missing"),
        (2.0**53, "rounded"),
        (True, "no text"),
        ([], "no text"),
        (" ", "empty"),
        ("\ud800", "no Unicode"),
    ],
)
def test_no_ids(value: Any, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        read_text({"user_id": value}, "user_id")
    assert caught.value.kind == kind


def test_only_ids_dates_and_scores_may_be_numbers() -> None:
    with pytest.raises(Fault, match="text is not a text"):
        read_text({"text": 4}, "text")


def by_file(task: Any, item: dict[str, Any], folder: Path) -> Record | None:
    path = questions_path(folder, "train")
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = {"id": "q", "user_id": "ann", "input": task.templated("x"), "profile": [{"id": "1", **item}]}
    path.write_text(json.dumps([asked]))
    try:
        (question,) = read_questions(path, task)
    except DataError:
        return None
    return read_record(task, "ann", question.profile[0])


def by_request(task: Any, item: dict[str, Any]) -> Record | None:
    try:
        return read_history(json.dumps([item]), "ann", task)[0]
    except Unfit:
        return None


def by_drop(task: Any, items: list[dict[str, Any]]) -> list[Record | None]:
    rows = [
        Row(i, json.loads(json.dumps({"task": task.name, "user_id": "ann", **item}))) for i, item in enumerate(items)
    ]
    judged = judge_rows(rows, max_text_chars=999, today=dt.date(2026, 1, 1), context=new_context(), run_name="r")
    found = iter(judged.records[task.folder][list(RECORD_COLUMNS)].to_dict("records"))
    return [
        None if i in judged.reasons else Record(**{str(k): v for k, v in next(found).items()}) for i in range(len(rows))
    ]


@pytest.mark.parametrize("task", [MOVIES, REVIEWS], ids=lambda task: task.name)
def test_files_drops_and_requests_make_the_same_record_of_the_same_row(task: Any, tmp_path: Path) -> None:
    """Every written date with every way to write the task's fields: same id, same date, same texts, or refused by all
    three."""
    labels = [task.labels[0], "no label", f" {task.labels[0]}", 4, 4.0, 4.5, None]
    texts = ["a film", "Ein Film über Käse", "  ", 5, "half \ud800", "x\ny"]
    text_key = next(key for key in task.item_keys if key not in ("tag", "score"))
    label_key = next(key for key in task.item_keys if key in ("tag", "score"))
    items = []
    for n, (date, text, label) in enumerate(product(DATES, texts, labels)):
        unique = f"{text} {n}" if isinstance(text, str) and text.strip() else text  # a drop refuses repeats
        items.append({"date": date, text_key: unique, label_key: label})
    items = [item for n, item in enumerate(items) if n % 3 == 0 or item["date"] == "2020-01-05 10:30"]
    taken = by_drop(task, items)
    for n, (item, dropped) in enumerate(zip(items, taken, strict=True)):
        assert by_request(task, item) == dropped, item
        if n % 5 == 0 and DATES[item["date"]] != "":  # a file that names users must date every item
            assert by_file(task, item, tmp_path) == dropped, item
    assert sum(record is not None for record in taken) > 10


def test_rows_of_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "drop.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n[2]\n{"b": NaN\n{"c": "\xff"}\r\n{"d": "\\ud800"}')
    rows = list(read_rows(path))
    assert rows[0] == Row(1, {"a": 1})
    assert rows[1] == Row(4, [2])
    assert rows[2] == Row(5, '{"b": NaN', "not JSON at character 9")
    assert rows[3] == Row(6, '{"c": "\\xff"}', "not UTF-8 at byte 7 of the line")
    assert rows[4] == Row(7, {"d": "\ud800"})
    path.write_bytes(b"[" * 100_000)
    assert next(read_rows(path)).fault == "not JSON (nested too deep)"
    path.write_bytes(b"")
    assert list(read_rows(path)) == []


def test_rows_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "drop.parquet"
    pd.DataFrame(
        {"user_id": ["a", None], "date": pd.to_datetime(["2020-01-02", None]), "score": [4.0, None]}
    ).to_parquet(path)
    rows = list(read_rows(path))
    assert [row.number for row in rows] == [1, 2]
    assert rows[0].value["user_id"] == "a"
    assert rows[0].value["date"].isoformat().startswith("2020-01-02")
    assert rows[1].value == {}


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", b"{}"])
def test_unreadable_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "drop.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"drop.parquet: cannot be read .*Write the file again"):
        list(read_rows(path))

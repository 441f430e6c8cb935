"""Requests are read leniently where nothing hangs on it, and refused one by one with a reason that quotes nothing."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.history_store import append_drop, stored_records
from hydra_ml.io.requests import Unfit, read_history, read_request, read_requests
from hydra_ml.io.tables import save_table
from hydra_ml.learning.history import read_record
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")
FILM = TASK.templated("A robot falls in love.")
ITEM = {"id": "7", "tag": "comedy", "description": "A clown.", "date": "2021-3-4"}
GOOD = {"request_id": "r", "user_id": "u", "task": "LaMP-2", "input": FILM}


def test_both_formats_give_the_same_requests(tmp_path):
    entries = [{**GOOD, "history": [ITEM]}, {**GOOD, "request_id": "s", "history": None}, {**GOOD, "request_id": 3}]
    jsonl = tmp_path / "r.jsonl"
    jsonl.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(map(json.dumps, entries)).encode())
    rows = [{**entry, "request_id": str(entry["request_id"]), "history": entry.get("history")} for entry in entries]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    from_jsonl, from_parquet = (read_requests(tmp_path / f"r.{ending}", TASK) for ending in ("jsonl", "parquet"))
    assert [request.line for request in from_jsonl[0]] == [1, 3, 5]
    assert [request.line for request in from_parquet[0]] == [1, 2, 3]
    for one, other in zip(from_jsonl[0], from_parquet[0], strict=True):
        assert (one.request_id, one.user_id, one.input, one.history) == (
            other.request_id,
            other.user_id,
            other.input,
            other.history,
        )
    assert from_jsonl[0][0].history == (read_record(TASK, "u", {**ITEM, "date": "2021-03-04"}),)
    assert [request.history for request in from_jsonl[0][1:]] == [None, None]
    assert from_jsonl[1] == from_parquet[1] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"request_id": None}, "lacks request_id"),
        ({"user_id": ""}, "user_id is empty"),
        ({"input": 5}, "input is not a text"),
        ({"input": "half \ud800"}, "input holds half a character"),
        ({"task": "movies"}, "task is none that is known here"),
        ({"task": "lamp_3"}, "is for LaMP-3; this batch scores LaMP-2"),
        ({"input": get_task("LaMP_2N").templated("A vote.")}, "is a question of LaMP-2N, not of LaMP-2"),
        ({"history": "[oops"}, "history is not JSON"),
        ({"history": "[" * 100_000}, "history is not JSON"),
        ({"history": 4}, "history is not a list"),
        ({"history": ["x"]}, "history item 1 is not an object"),
        ({"history": [ITEM, {"id": "8", "tag": "comedy"}]}, "item 2 is no record of LaMP-2"),
        ({"history": [{**ITEM, "tag": "secret words"}]}, "its answer one of the task's"),
        ({"history": [ITEM, {**ITEM, "date": None}]}, "needs the texts description, tag, date"),
        ({"history": [{"input": FILM, "answer": "secret words"}]}, "needs the texts input, answer"),
        ({"history": [{"input": FILM, "answer": "comedy", "date": "yesterday"}]}, "input, answer, date"),
    ],
)
def test_a_reason_says_what_is_wrong_and_quotes_nothing(change, reason):
    with pytest.raises(Unfit, match=reason) as caught:
        read_request({**GOOD, **change}, TASK)
    assert "secret" not in str(caught.value)


def test_what_tables_write_where_nothing_is_counts_as_nothing():
    nothing = float("nan")
    request = read_request({**GOOD, "user_id": 41.0, "history": nothing}, TASK)
    assert (request.user_id, request.history) == ("41", None)
    assert read_request({**GOOD, "history": [{**ITEM, "date": nothing}]}, TASK).history[0].date == ""
    with pytest.raises(Unfit, match="lacks user_id"):
        read_request({**GOOD, "user_id": nothing}, TASK)


def test_a_user_is_the_same_in_both_spellings_of_the_name():
    one, other = (
        read_request({**GOOD, "user_id": name, "history": [ITEM]}, TASK) for name in ("Zo\u00eb", "Zoe\u0308")
    )
    assert one == other


def test_bad_lines_are_told_by_number_and_id(tmp_path):
    path = tmp_path / "r.jsonl"
    lines = [json.dumps(GOOD).encode(), b"\xff\xfe", b"[" * 100_000, json.dumps(GOOD).encode(), b'{"request_id": "x"}']
    path.write_bytes(b"\n".join(lines))
    requests, dead = read_requests(path, TASK)
    assert [request.request_id for request in requests] == ["r"]
    assert [(letter.request_id, letter.line, letter.reason) for letter in dead] == [
        ("", 2, "not UTF-8 at byte 0 of the line"),
        ("", 3, "not JSON (nested too deep)"),
        ("r", 4, "request_id repeated; it stands on line 1 already"),
        ("x", 5, "lacks task"),
    ]


def test_a_cell_that_python_cannot_hold_is_one_bad_request(tmp_path):
    rows = pa.Table.from_pylist([{**GOOD, "request_id": f"r{i}"} for i in range(3)])
    offsets = pa.array([0, 6, 8, 14], pa.int32()).buffers()[1]
    tasks = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"LaMP-2\xff\xfeLaMP-2"))  # the second is no UTF-8
    pq.write_table(rows.set_column(rows.schema.names.index("task"), "task", tasks), tmp_path / "r.parquet")
    requests, dead = read_requests(tmp_path / "r.parquet", TASK)
    assert [request.request_id for request in requests] == ["r0", "r2"]
    assert [(letter.request_id, letter.line, letter.reason) for letter in dead] == [("r1", 2, "task cannot be read")]


@pytest.mark.parametrize("zone", [None, "Mars/Olympus"])
def test_a_column_that_nobody_asked_for_may_hold_anything(tmp_path, zone):
    rows = pa.Table.from_pylist([{**GOOD, "request_id": f"r{i}"} for i in range(3)])
    seen = pa.array([9_000_000_000_000_000_000] * 3, pa.int64()).cast(pa.timestamp("us", tz=zone))
    pq.write_table(rows.append_column("seen", seen), tmp_path / "r.parquet")
    assert len(read_requests(tmp_path / "r.parquet", TASK)[0]) == 3


def test_in_the_shared_folder_another_tasks_requests_are_left_to_it(tmp_path):
    entries = [
        GOOD,
        {**GOOD, "request_id": "s", "task": "LaMP-3"},
        {**GOOD, "task": "LaMP-3", "user_id": None},
        {**GOOD, "request_id": "t", "task": "movies"},
    ]
    for folder, told in {
        "requests": ["t"],
        "requests/2026-11": ["t"],
        "requests/LaMP_2": ["s", "r", "t"],
        "elsewhere": ["s", "r", "t"],
    }.items():
        path = tmp_path / folder / "mixed.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, entries)))
        requests, dead = read_requests(path, TASK)
        assert [request.request_id for request in requests] == ["r"]
        assert [letter.request_id for letter in dead] == told
    path = tmp_path / "requests/foreign.jsonl"
    path.write_text(json.dumps(GOOD))
    with pytest.raises(DataError, match="holds no request for LaMP-4"):
        read_requests(path, get_task("LaMP_4"))


def test_a_file_that_holds_no_requests_is_refused_whole(tmp_path):
    for name, content, match in (
        ("a.txt", b"", "end in .jsonl, .ndjson, .json, .csv"),
        ("a.jsonl", b"\n \n", "holds no request"),
        ("a.parquet", b"PAR1", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=match):
            read_requests(tmp_path / name, TASK)
    with pytest.raises(DataError, match="no such file"):
        read_requests(tmp_path / "none.jsonl", TASK)


def test_a_sent_record_has_the_id_that_its_content_has_anywhere():
    item = read_history([ITEM], "u", TASK)
    sent = read_history(
        json.dumps(
            [{"record_id": "mine", "input": TASK.templated("A clown."), "answer": "comedy", "date": "2021-03-04"}]
        ),
        "u",
        TASK,
    )
    assert item == sent
    assert read_history([ITEM, {**ITEM, "id": "8"}], "u", TASK) == item  # the same thing twice is one record
    assert read_history([ITEM], "v", TASK)[0].record_id != item[0].record_id
    assert read_history([], "u", TASK) == []


def test_stored_records_are_what_prepare_and_the_drops_hold_of_these_users(tmp_path):
    def record(user: str, text: str, date: str) -> dict:
        return dict(zip(RECORD_COLUMNS, (user, f"{user}{text}", text, FILM, "comedy", date), strict=True))

    prepared = pd.DataFrame([record("ann", "b", "2021"), record("ann", "c", "2022"), record("bob", "a", "2020")])
    save_table(prepared.assign(held_out=False), tmp_path / "prepare/LaMP_2/records.parquet")
    found = stored_records(tmp_path, TASK, ["ann", "nobody"])
    assert found["record_id"].tolist() == ["annb", "annc"]
    arrived = pd.DataFrame([record("ann", "c", "2022"), record("ann", "a", "2020"), record("cat", "a", "2020")])
    append_drop(tmp_path / "history/LaMP_2", arrived)
    found = stored_records(tmp_path, TASK, ["cat", "ann"])
    assert found["record_id"].tolist() == ["anna", "annb", "annc", "cata"]
    assert list(found.columns) == list(RECORD_COLUMNS)
    assert stored_records(tmp_path, TASK, []).empty


def test_records_that_are_not_there_are_no_empty_history(tmp_path):
    with pytest.raises(ArtifactError, match="dvc pull"):
        stored_records(tmp_path, TASK, ["ann"])
    path = tmp_path / "prepare/LaMP_2/records.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"torn")
    with pytest.raises(ArtifactError, match="cannot be read as Parquet"):
        stored_records(tmp_path, TASK, ["ann"])

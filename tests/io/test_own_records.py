"""A table of one's own records: read row by row, split by time, and what `prepare` then asks of whom."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io import own_records
from hydra_ml.io.own_questions import OwnQuestions
from hydra_ml.io.own_records import FILE, add_table
from hydra_ml.tasks.definition import parse_definition
from hydra_ml.tasks.task import Task


def made_task(**columns: Any) -> Task:
    told = {"user": "who", "date": "day", "input": "asked", "answer": "said", **columns}
    definition, found = parse_definition(
        {"name": "own", "kind": "text", "instruction": "Q: {input}", "columns": {k: v for k, v in told.items() if v}}
    )
    assert definition is not None
    assert not found
    return definition.task()


TASK = made_task()


def rows_of(user: str, n: int, first_day: int = 1) -> list[dict[str, Any]]:
    return [
        {"who": user, "day": f"2026-01-{first_day + i:02}", "asked": f"q{i}", "said": f"{user} {i}"} for i in range(n)
    ]


def written(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stored(raw: Path) -> pd.DataFrame:
    return pq.read_table(raw / FILE).to_pandas()


def test_each_users_newest_records_are_asked(tmp_path: Path) -> None:
    table = written(tmp_path, [*rows_of("ann", 20), *rows_of("bob", 4), *rows_of("cy", 3), *rows_of("di", 2)][::-1])
    added = add_table(table, tmp_path / "raw", TASK, shares=(0.1, 0.2))
    found = stored(tmp_path / "raw")
    splits = found.groupby(["user_id", "split"]).size().unstack(fill_value=0)[["train", "dev", "test"]]
    assert splits.loc["ann"].tolist() == [14, 2, 4]
    assert splits.loc["bob"].tolist() == [2, 1, 1]
    assert splits.loc["cy"].tolist() == [2, 0, 1]
    assert splits.loc["di"].tolist() == [2, 0, 0], "too few to ask anything"
    for _, own in found.groupby("user_id"):
        assert own["date"].is_monotonic_increasing
        assert own["split"].tolist() == sorted(own["split"], key=["train", "dev", "test"].index)
    assert (added.rows, added.users, added.n_refused) == (29, 4, 0)
    assert "29 records of 4 users" in added.text(TASK)


def test_the_same_rows_in_any_parts_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = written(tmp_path, [row for i in range(30) for row in rows_of(f"u{i}", 7)])
    add_table(table, tmp_path / "a", TASK)
    monkeypatch.setattr(own_records, "ROWS_AT_ONCE", 11)
    add_table(table, tmp_path / "b", TASK)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()


def test_bad_rows_are_left_out_and_counted_by_reason(tmp_path: Path) -> None:
    bad = [
        {"who": "ann", "day": "2026-02-30", "asked": "q", "said": "s"},
        {"who": "ann", "day": "2026-01-01", "said": "s"},
    ]
    table = written(tmp_path, [*rows_of("ann", 12), *bad])
    added = add_table(table, tmp_path / "raw", TASK)
    assert added.n_refused == 2
    assert sum(added.splits.values()) == 12
    assert added.first == ["row 13: date is no day of the calendar", "row 14: lacks asked"]
    with pytest.raises(DataError, match=r"2 of 14 rows are bad, more than the 10%"):
        add_table(table, tmp_path / "other", TASK, max_bad_share=0.1)
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


def test_a_refused_table_leaves_what_was_there(tmp_path: Path) -> None:
    add_table(written(tmp_path, rows_of("ann", 9)), tmp_path / "raw", TASK)
    before = (tmp_path / "raw" / FILE).read_bytes()
    for rows in ([], rows_of("ann", 2), [{"who": "ann"}] * 5):
        with pytest.raises(DataError):
            add_table(written(tmp_path, rows), tmp_path / "raw", TASK)
    assert (tmp_path / "raw" / FILE).read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".parts")], "no parts are left behind"


def test_equal_rows_of_a_user_are_one_record(tmp_path: Path) -> None:
    added = add_table(written(tmp_path, [*rows_of("ann", 5), *rows_of("ann", 5)]), tmp_path / "raw", TASK)
    assert added.repeated == 5
    assert len(stored(tmp_path / "raw")) == 5


def test_without_a_date_column_rows_are_in_order(tmp_path: Path) -> None:
    task = made_task(date=None)
    rows = [{"who": "ann", "asked": f"q{i}", "said": f"s{i}"} for i in (3, 1, 2, 0)]
    add_table(written(tmp_path, rows), tmp_path / "raw", task)
    found = stored(tmp_path / "raw")
    assert found["item.asked"].tolist() == ["q3", "q1", "q2", "q0"]
    assert found["date"].tolist() == ["0001-01-01", "0001-01-02", "0001-01-03", "0001-01-04"]
    assert found["split"].tolist() == ["train", "train", "dev", "test"]


@pytest.mark.parametrize("shares", [(0.1, 0.0), (0.5, 0.5), (-0.1, 0.2), (0.1, float("nan"))])
def test_shares_that_leave_nothing_are_refused(tmp_path: Path, shares: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="time split"):
        add_table(written(tmp_path, rows_of("ann", 9)), tmp_path / "raw", TASK, shares=shares)


def test_questions_see_strictly_earlier_records_alone(tmp_path: Path) -> None:
    rows = [
        *rows_of("ann", 10),
        {"who": "ann", "day": "2026-01-10", "asked": "same day", "said": "x"},
        *rows_of("bob", 2),
    ]
    add_table(written(tmp_path, rows), tmp_path / "raw", TASK, shares=(0.1, 0.2))
    for split, _n_history in (("test", 8), ("dev", 8)):
        own = OwnQuestions.of(tmp_path / "raw", TASK, split)
        assert own is not None
        asked = own.asked()
        assert asked.dated
        assert not asked.train
        assert list(asked.evaluate) == ["ann"]
        filled, before = own.with_profiles(asked, ["ann", "bob"])
        for question in filled.evaluate["ann"]:
            assert question.profile
            assert all(item["date"] < question.date for item in question.profile)
            assert question.input.startswith(("q", "same"))
            assert asked.golds[question.question_id]
        dates = [record.date for record in before["ann"]]
        assert dates == sorted(dates)
        assert len(before["bob"]) == 2
        assert all(date <= min(q.date for q in filled.evaluate["ann"]) for date in dates), split
        assert own.user_ids() == {"ann", "bob"}


def test_a_task_whose_columns_changed_is_told_to_add_its_table_again(tmp_path: Path) -> None:
    add_table(written(tmp_path, rows_of("ann", 9)), tmp_path / "raw", TASK)
    own = OwnQuestions.of(tmp_path / "raw", made_task(answer="reply"), "test")
    assert own is not None
    with pytest.raises(DataError, match=r"has no item\.reply.*hydra-ml data add"):
        own.asked()
    (tmp_path / "raw" / FILE).write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        own.asked()
    assert OwnQuestions.of(tmp_path / "nothing", TASK, "test") is None


def test_grades_may_be_numbers_and_labels_stand_in_space(tmp_path: Path) -> None:
    told = {"name": "own", "kind": "rating", "instruction": "Q: {input}", "scale": [1, 5]}
    definition, _ = parse_definition(
        {**told, "columns": {"user": "who", "date": "day", "input": "asked", "answer": "said"}}
    )
    assert definition is not None
    rows = [{**row, "said": said} for row, said in zip(rows_of("ann", 6), (1, 2.0, " 3", "4.0", 5, "1 "), strict=True)]
    bad = [{**rows_of("ann", 7)[-1], "said": said} for said in (6, 2.5, True)]
    added = add_table(written(tmp_path, [*rows, *bad]), tmp_path / "raw", definition.task(), max_bad_share=0.5)
    assert added.n_refused == 3
    assert sorted(stored(tmp_path / "raw")["item.said"]) == ["1", "1", "2", "3", "4.0", "5"]


def test_what_cannot_be_asked_is_told_before_anything_runs(tmp_path: Path) -> None:
    same_day = [{**row, "day": "2026-01-01"} for row in rows_of("ann", 9)]
    with pytest.raises(DataError, match=r"no question has a record of its user that is a day earlier.*'day'"):
        add_table(written(tmp_path, same_day), tmp_path / "raw", TASK)
    with pytest.raises(DataError, match="leaves nothing to learn from"):
        add_table(written(tmp_path, rows_of("ann", 4)), tmp_path / "raw", TASK, shares=(0.5, 0.49))
    added = add_table(written(tmp_path, [*same_day, *rows_of("bob", 9)]), tmp_path / "raw", TASK)
    assert added.alone == 1
    assert "1 of the test questions have no record of their user" in added.text(TASK)


def test_a_text_that_validate_would_stop_at_is_one_bad_row(tmp_path: Path) -> None:
    rows = [*rows_of("ann", 9), {**rows_of("ann", 1)[0], "said": "x" * 101}]
    added = add_table(written(tmp_path, rows), tmp_path / "raw", TASK, max_text_chars=100)
    assert added.refused == {"said has more than 100 characters": 1}


def test_whole_ids_that_pandas_wrote_as_floats_are_the_same_user(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(
        "who,day,asked,said\n"
        + "".join(f"{who},2026-01-{i + 1:02},q{i},s\n" for i in range(4) for who in ("41.0", "42"))
    )
    add_table(tmp_path / "table.csv", tmp_path / "raw", TASK)
    assert set(stored(tmp_path / "raw")["user_id"]) == {"41", "42"}


def test_two_at_once_take_turns(tmp_path: Path) -> None:
    table = written(tmp_path, [row for i in range(40) for row in rows_of(f"u{i}", 9)])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: add_table(table, tmp_path / "raw", TASK), range(4)))
    assert len(stored(tmp_path / "raw")) == 360


def test_labels_that_changed_since_are_told_with_the_remedy(tmp_path: Path) -> None:
    told = {"name": "own", "kind": "label", "instruction": "Q: {input}", "labels": ["yes", "no"]}
    columns = {"user": "who", "date": "day", "input": "asked", "answer": "said"}
    before, _ = parse_definition({**told, "columns": columns})
    after, _ = parse_definition({**told, "columns": columns, "labels": ["yes", "maybe"]})
    assert before is not None
    assert after is not None
    rows = [{**row, "said": "no"} for row in rows_of("ann", 9)]
    add_table(written(tmp_path, rows), tmp_path / "raw", before.task())
    own = OwnQuestions.of(tmp_path / "raw", after.task(), "test")
    assert own is not None
    with pytest.raises(DataError, match=r"none of own's labels now, the first 'no'.*tasks/own\.yaml.*data add"):
        own.asked()

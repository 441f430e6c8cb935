"""prepare on LaMP files: what lies on disk afterwards, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.forgotten import remember
from hydra_ml.io.history_store import append_drop
from hydra_ml.io.lamp.files import Question, write_split
from hydra_ml.io.params_file import load_params
from hydra_ml.io.tables import load_table
from hydra_ml.io.traces import KINDS, Fields, Marks
from hydra_ml.io.user_tables import ROW_GROUP
from hydra_ml.learning.guard import guard_of
from hydra_ml.learning.history import held_out, read_record
from hydra_ml.params import Params, Prepare
from hydra_ml.records import QUERY_COLUMNS, RECORD_COLUMNS
from hydra_ml.stages.prepare import main, prepare
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
ON_TEST = Params(prepare=Prepare(new_user_share=0.5))
ON_DEV = Params(prepare=Prepare(evaluate_split="dev"))


def items(user: int, days: range, *, dated: bool) -> tuple[dict[str, str], ...]:
    return tuple(
        {"id": f"{user}{day}", "description": f"film {day} of {user}", "tag": "comedy"}
        | ({"date": f"2020-01-{day:02d}"} if dated else {})
        for day in days
    )


def write_lamp(raw: Path, *, dated: bool, splits: tuple[str, ...] = ("train", "dev", "test")) -> None:
    """Four users a split with 3, 5 or 7 films each; every question asks a film that no profile holds."""
    for number, split in enumerate(splits):
        questions = []
        for user in range(4):
            profile = items(user if dated else 10 * number + user, range(1, 4 + 2 * number), dated=dated)
            person, date = (f"u{user}", f"2020-02-0{1 + number}") if dated else (None, "")
            asked = MOVIES.templated(f"{split} film {user}")
            questions.append(Question(f"{split}-{user}", asked, profile, person, date))
        write_split(raw, split, MOVIES, questions, {question.question_id: "action" for question in questions})


def prepare_into(tmp_path: Path, out: str, params: Params = ON_TEST) -> dict[str, Any]:
    """The manifest of what lies below tmp_path, prepared into the folder of that name."""
    folders = {name: tmp_path / name for name in ("raw", "history", "feedback")}
    return prepare(**folders, out=tmp_path / out, task=MOVIES, params=params)


def tables(out: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    return (
        pd.read_parquet(out / "queries.parquet"),
        pd.read_parquet(out / "records.parquet"),
        json.loads((out / "manifest.json").read_text()),
    )


def test_dated_files(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    prepare_into(tmp_path, "out", ON_TEST)
    queries, records, manifest = tables(tmp_path / "out")
    assert tuple(queries.columns) == QUERY_COLUMNS
    assert tuple(records.columns) == (*RECORD_COLUMNS, "held_out")
    assert queries["query_id"].is_unique
    assert manifest["counts"] == {
        "users": 4,
        "known_users": 2,
        "new_users": 2,
        "evaluated_users": 4,
        "evaluated_queries": 4,
        "evaluated_queries_without_profile": 0,
        "pseudo_queries": 4 * 6,  # the first of seven films has none before it
        "train_questions": 2,  # of the known users
        "records": 4 * 7,
        "held_out_records": 0,
    }
    assert manifest["task"] == "LaMP_2"
    assert manifest["kind"] == "label"
    assert manifest["dated"] is True
    assert manifest["evaluate_split"] == "test"
    assert manifest["dropped"] == {"records with nothing to see as a pseudo-query": 4}
    dates = dict(zip(records["user_id"] + records["record_id"], records["date"], strict=True))
    for row in queries[queries["source_record_id"] != ""].itertuples():
        seen = [dates[row.user_id + record_id] for record_id in row.profile]
        assert max(seen) < row.date
        assert dates[row.user_id + row.source_record_id] == row.date


def test_undated_files(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=False)
    manifest = prepare_into(tmp_path, "out", ON_TEST)
    queries, records, _ = tables(tmp_path / "out")
    assert manifest["dated"] is False
    assert manifest["counts"]["users"] == 8  # one per question
    assert set(queries.loc[queries["cohort"] == "known", "user_id"]) == {f"train-{i}" for i in range(4)}
    assert set(queries.loc[queries["role"] == "evaluate", "user_id"]) == {f"test-{i}" for i in range(4)}
    assert set(queries.loc[queries["role"] == "evaluate", "cohort"]) == {"new"}
    own = records.groupby("user_id")["record_id"].agg(set)
    assert all(
        set(profile) <= own[user_id] for user_id, profile in zip(queries["user_id"], queries["profile"], strict=True)
    )


def test_other_splits_are_not_read(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True, splits=("train", "dev"))
    (tmp_path / "raw" / "test").mkdir()
    (tmp_path / "raw" / "test" / "test_questions.json").write_text("<html>")
    first = prepare_into(tmp_path, "out", ON_DEV)
    (tmp_path / "raw" / "test" / "test_questions.json").write_text("other")
    assert prepare_into(tmp_path, "out", ON_DEV) == first
    assert first["evaluate_split"] == "dev"


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    for out in ("one", "two"):
        prepare_into(tmp_path, out, ON_TEST)
    for name in ("queries.parquet", "records.parquet", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_data_version_follows_the_content(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    before = prepare_into(tmp_path, "out", ON_TEST)["data_version"]
    path = tmp_path / "raw" / "test" / "test_questions.json"
    path.write_text(path.read_text().replace("test film 0", "test film null"))
    assert prepare_into(tmp_path, "out", ON_TEST)["data_version"] != before


def test_user_caps(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=False)
    params = Params(prepare=Prepare(train_users=3, evaluate_users=2, history=2))
    counts = prepare_into(tmp_path, "out", params)["counts"]
    assert (counts["known_users"], counts["evaluated_users"], counts["records"]) == (3, 2, 10)


def test_missing_test_answers_point_to_dev(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    (tmp_path / "raw" / "test" / "test_outputs.json").unlink()
    with pytest.raises(DataError, match=r"test_outputs.json: no such file.*`prepare.evaluate_split: dev`"):
        prepare_into(tmp_path, "out", ON_TEST)
    assert not (tmp_path / "out").exists()


def test_ids_in_both_splits_are_refused(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    for kind in ("questions", "outputs"):
        path = tmp_path / "raw" / "test" / f"test_{kind}.json"
        path.write_text(path.read_text().replace("test-1", "train-1"))
    with pytest.raises(DataError, match=r"1 question id\(s\) stand in train and in test, the first 'train-1'"):
        prepare_into(tmp_path, "out", ON_TEST)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    given = ["--task", "LaMP-2", "--params", str(tmp_path / "params.yaml"), "--out", str(tmp_path / "out")]
    given += ["--history", str(tmp_path / "history")]
    assert main([*given, "--raw", str(tmp_path / "raw")]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["evaluated_queries"] == 4
    assert main([*given, "--raw", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def arrive(history: Path, *records: tuple[str, str, str]) -> str:
    """A drop of films, (user, description, date) each; its name."""
    made = [
        read_record(MOVIES, user, {"description": text, "tag": "comedy", "date": day}) for user, text, day in records
    ]
    name = append_drop(history, pd.DataFrame([asdict(record) for record in made], columns=list(RECORD_COLUMNS)))
    assert name is not None
    return name


def prepared(tmp_path: Path, name: str, params: Params = ON_TEST) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    prepare_into(tmp_path, name, params)
    return tables(tmp_path / name)


def test_an_empty_history_changes_nothing(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    prepared(tmp_path, "absent")
    (tmp_path / "history").mkdir()
    _, _, manifest = prepared(tmp_path, "empty")
    assert manifest["history"] == []
    for name in ("queries.parquet", "records.parquet", "guard.parquet", "manifest.json"):
        assert (tmp_path / "absent" / name).read_bytes() == (tmp_path / "empty" / name).read_bytes()


def test_arrived_records_are_learned_from_by_the_rules(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    before_queries, before_records, _ = prepared(tmp_path, "before")
    name = arrive(
        tmp_path / "history",
        ("u0", "an earlier film", "2020-01-20"),
        ("u0", "a film of the day", "2020-02-03"),  # the evaluated questions are of this day
        ("u0", "a later film", "2020-03-01"),
        ("u1", "test film 2", "2020-01-20"),  # what another user is asked in the evaluation
        ("u1", "film 3 of 1", "2020-01-03"),  # in the files already
        ("u2", "film of no day", ""),
        ("u3", "a film of a shorter day", "2020-02"),
    )
    queries, records, manifest = prepared(tmp_path, "after")
    assert manifest["history"] == [name]
    assert manifest["dropped"]["arrived records that an evaluated question repeats or precedes"] == 5
    added = set(records["text"]) - set(before_records["text"])
    assert added == {"an earlier film"}
    assert len(records) == len(before_records) + 1
    fresh = queries[queries["text"] == "an earlier film"]
    assert fresh["role"].tolist() == ["train"]
    assert len(fresh["profile"].iloc[0]) == 7
    evaluated, as_before = (table[table["role"] == "evaluate"] for table in (queries, before_queries))
    pd.testing.assert_frame_equal(evaluated.reset_index(drop=True), as_before.reset_index(drop=True))


def test_arrivals_crowd_no_evaluated_profile_out(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    params = Params(prepare=Prepare(new_user_share=0.5, history=3))
    before, _, _ = prepared(tmp_path, "before", params)
    arrive(tmp_path / "history", *(("u0", f"film number {i}", f"2020-01-{20 + i}") for i in range(5)))
    after, records, _ = prepared(tmp_path, "after", params)
    first, second = (table.loc[table["role"] == "evaluate", "profile"].map(list).tolist() for table in (before, after))
    assert first == second
    assert {len(profile) for profile in first} == {3}
    assert sorted(records.loc[records["user_id"] == "u0", "date"])[-3:] == ["2020-01-22", "2020-01-23", "2020-01-24"]


def test_users_that_only_arrived_can_be_learned_from(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    arrive(tmp_path / "history", *(("zoe", f"film number {i}", f"2020-05-{1 + i:02d}") for i in range(4)))
    queries, records, manifest = prepared(tmp_path, "all")
    assert set(queries.loc[queries["user_id"] == "zoe", "cohort"]) == {"known"}
    assert (queries["user_id"] == "zoe").sum() == 3  # the oldest film sees nothing
    assert (records["user_id"] == "zoe").sum() == 4
    assert manifest["counts"]["known_users"] == 3
    few, _, _ = prepared(tmp_path, "few", Params(prepare=Prepare(new_user_share=0.5, train_users=2)))
    assert "zoe" not in set(few["user_id"])  # evaluated users are learned from first


def test_arrivals_of_undated_users(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=False)
    _, before, _ = prepared(tmp_path, "before")
    arrive(tmp_path / "history", ("test-1", "one more film", ""), ("zoe", "a film of nobody asked", ""))
    _, records, _ = prepared(tmp_path, "after")
    assert set(records["text"]) - set(before["text"]) == {"one more film"}


def test_the_guard_knows_the_whole_evaluated_split(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    prepared(tmp_path, "out", Params(prepare=Prepare(evaluate_users=1)))
    guard = guard_of(pd.read_parquet(tmp_path / "out/guard.parquet"), dated=True)
    films = [("test film 0", True), ("TEST  film 3", True), ("train film 0", False), ("dev film 0", False)]
    records = [read_record(MOVIES, "zoe", {"description": text, "tag": "comedy"}) for text, _ in films]
    assert held_out(MOVIES, records, guard.evaluated).tolist() == [held for _, held in films]


def test_records_lie_by_user_in_small_row_groups(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    arrive(tmp_path / "history", *(("zoe", f"film number {i}", "2020-05-01") for i in range(ROW_GROUP + 5)))
    _, records, _ = prepared(tmp_path, "out", Params(prepare=Prepare(history=2 * ROW_GROUP)))
    assert records["user_id"].is_monotonic_increasing
    assert pq.ParquetFile(tmp_path / "out/records.parquet").num_row_groups == 2


def test_who_was_forgotten_is_left_out_however_they_came_back(chain, tmp_path):
    data, task = tmp_path / "data", get_task(chain.task)
    raw, params = data / "raw" / task.folder, load_params(chain.root / "params.yaml")
    shutil.copytree(chain.root / "raw", raw)
    gone, stays = (Marks(user, "", {kind: {user} for kind in KINDS}, Fields.now()) for user in ("user-000", "user-001"))
    remember(data, task.folder, gone, "2026-11-28")
    remember(data, "LaMP_3", stays, "2026-11-28")
    store = data / "feedback/store" / task.folder
    prepare(
        raw=raw, history=data / "history" / task.folder, feedback=store, out=tmp_path / "out", task=task, params=params
    )
    for table in ("queries", "records"):
        users = set(load_table(tmp_path / "out" / f"{table}.parquet")["user_id"])
        assert ("user-000" in users, "user-001" in users) == (False, True)

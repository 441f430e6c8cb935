"""prepare on LaMP files: what lies on disk afterwards, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.lamp_files import Question, write_split
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


def tables(out: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    return (
        pd.read_parquet(out / "queries.parquet"),
        pd.read_parquet(out / "records.parquet"),
        json.loads((out / "manifest.json").read_text()),
    )


def test_dated_files(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_TEST)
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
    manifest = prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_TEST)
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
    first = prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_DEV)
    (tmp_path / "raw" / "test" / "test_questions.json").write_text("other")
    assert prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_DEV) == first
    assert first["evaluate_split"] == "dev"


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    for out in ("one", "two"):
        prepare(raw=tmp_path / "raw", out=tmp_path / out, task=MOVIES, params=ON_TEST)
    for name in ("queries.parquet", "records.parquet", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_data_version_follows_the_content(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    before = prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_TEST)["data_version"]
    path = tmp_path / "raw" / "test" / "test_questions.json"
    path.write_text(path.read_text().replace("test film 0", "test film null"))
    assert prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_TEST)["data_version"] != before


def test_user_caps(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=False)
    params = Params(prepare=Prepare(train_users=3, evaluate_users=2, history=2))
    counts = prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=params)["counts"]
    assert (counts["known_users"], counts["evaluated_users"], counts["records"]) == (3, 2, 10)


def test_missing_test_answers_point_to_dev(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    (tmp_path / "raw" / "test" / "test_outputs.json").unlink()
    with pytest.raises(DataError, match=r"test_outputs.json: no such file.*`prepare.evaluate_split: dev`"):
        prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_TEST)
    assert not (tmp_path / "out").exists()


def test_ids_in_both_splits_are_refused(tmp_path: Path) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    for kind in ("questions", "outputs"):
        path = tmp_path / "raw" / "test" / f"test_{kind}.json"
        path.write_text(path.read_text().replace("test-1", "train-1"))
    with pytest.raises(DataError, match=r"1 question id\(s\) stand in train and in test, the first 'train-1'"):
        prepare(raw=tmp_path / "raw", out=tmp_path / "out", task=MOVIES, params=ON_TEST)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lamp(tmp_path / "raw", dated=True)
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    given = ["--task", "LaMP-2", "--params", str(tmp_path / "params.yaml"), "--out", str(tmp_path / "out")]
    assert main([*given, "--raw", str(tmp_path / "raw")]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["evaluated_queries"] == 4
    assert main([*given, "--raw", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err

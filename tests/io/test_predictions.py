"""Predictions and dead letters on disk: joined by the requests' lines, nothing lost, the same bytes each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.predictions import (
    PREDICTIONS,
    DeadLetter,
    joined_predictions,
    load_dead_letters,
    load_predictions,
    save_dead_letters,
    save_predictions,
)
from hydra_ml.predictions import whole_candidates


def row(request_id: str, prediction: str | None = "comedy", error: str = "") -> dict:
    candidates = [{"answer": "comedy", "votes": 3, "personal": np.float32(0.5), "shared": -0.25, "greedy_share": 0.5}]
    score = 0.5 if prediction else np.nan
    values = (
        request_id,
        "u",
        prediction,
        score,
        prediction,
        "shared",
        2,
        ["a", "b"],
        candidates,
        "1",
        4,
        100,
        9,
        error,
    )
    return dict(zip(PREDICTIONS.names, values, strict=True))


def test_a_table_comes_back_as_it_was_and_gives_the_same_bytes(tmp_path):
    table = pd.DataFrame([row("1"), {**row("2"), "chosen_record_ids": [], "candidates": []}])
    for name in ("a", "b"):
        save_predictions(table, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    found = load_predictions(tmp_path / "a.parquet")
    assert found.to_dict("records") == table.to_dict("records")


def test_parts_are_joined_by_line_and_what_has_no_prediction_becomes_a_letter(tmp_path):
    save_predictions(pd.DataFrame([row("c"), row("a")]), tmp_path / "0.parquet")
    save_predictions(pd.DataFrame([row("b", None, "all failed"), row("d")]), tmp_path / "1.parquet")
    parts = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    table, letters = joined_predictions(parts, {"a": 1, "b": 2, "c": 5, "d": 9})
    assert table["request_id"].to_pylist() == ["a", "c", "d"]
    assert letters == [DeadLetter("b", 2, "all failed")]
    assert joined_predictions([], {}) == (PREDICTIONS.empty_table(), [])


def test_dead_letters_come_back(tmp_path):
    letters = [DeadLetter("", 3, "not JSON"), DeadLetter("é", 4, "lacks input")]
    save_dead_letters(letters, tmp_path / "dead.jsonl")
    assert load_dead_letters(tmp_path / "dead.jsonl") == letters
    assert load_dead_letters(tmp_path / "none.jsonl") == []


def test_what_is_no_file_of_predictions_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_predictions(tmp_path / "none.parquet")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no predictions of ours"):
        load_predictions(tmp_path / "other.parquet")


def test_an_id_that_holds_the_end_of_a_line_is_read_back(tmp_path):
    letters = [DeadLetter(f"a{end}b", line, "lacks task") for line, end in enumerate("\u2028\x85\r\n\x0c\x1c", start=1)]
    save_dead_letters(letters, tmp_path / "letters.jsonl")
    assert load_dead_letters(tmp_path / "letters.jsonl") == letters
    kept_unescaped = '{"request_id": "a\u2028b", "line": 1, "reason": "lacks task"}\n'  # as they were once written
    (tmp_path / "old.jsonl").write_text(kept_unescaped, "utf-8")
    assert load_dead_letters(tmp_path / "old.jsonl") == letters[:1]


def test_candidates_of_before_greedy_shares_were_kept_are_whole_and_damaged_ones_are_not():
    kept = {"answer": "comedy", "votes": 3, "personal": 0.5, "shared": 0.0, "greedy_share": None}
    assert whole_candidates([kept, None, {**kept, "votes": None}]) == [kept]
    assert whole_candidates(None) == []

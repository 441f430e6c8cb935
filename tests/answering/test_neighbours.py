"""The ranking that shows other users' records: of whom, until when, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.neighbours import EACH, USERS, best_records, earlier_than, rank_neighbours

WORDS = ("sea", "love", "war")


def encode(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors along the words a text holds."""
    vectors = np.array([[1e-3 + text.count(word) for word in WORDS] for text in texts], dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(*facts: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(facts, columns=["user_id", "record_id", "text", "date"]).assign(held_out=False)


def ranked(records: pd.DataFrame, known: set[str], date: str = "2020-05-01", **change: Any) -> list[tuple[str, str]]:
    query = {"query_id": "q", "user_id": "ann", "text": "sea", "date": date, "profile": ["a"], **change}
    table = rank_neighbours(pd.DataFrame([query]), records, known, encode, n=9)
    assert table["rank"].tolist() == list(range(len(table)))
    return list(zip(table["owner_id"], table["record_id"], strict=True))


RECORDS = rows(
    ("ann", "a", "love love sea", "2020-01-01"),
    ("ann", "later", "sea", "2020-06-01"),
    ("bob", "a", "sea", "2020-01-01"),
    ("bob", "b", "love", "2020-01-01"),
    ("bob", "late", "sea", "2020-05-01"),
    ("new", "n", "sea", "2020-01-01"),
)


def test_known_users_earlier_records_stand_beside_ones_own_the_likest_first() -> None:
    assert ranked(RECORDS, {"ann", "bob"}) == [("bob", "a"), ("ann", "a"), ("bob", "b")]
    assert ranked(RECORDS, {"ann", "bob", "new"})[:2] == [("bob", "a"), ("new", "n")]
    assert ranked(RECORDS, set()) == [("ann", "a")]


def test_a_record_held_out_from_learning_is_shown_to_nobody_else() -> None:
    held = RECORDS.assign(held_out=RECORDS["record_id"].eq("a"))
    assert ranked(held, {"ann", "bob"}) == [("ann", "a"), ("bob", "b")]  # one's own profile is one's own


def test_who_has_no_history_has_no_neighbours() -> None:
    assert ranked(RECORDS, {"bob"}, profile=[]) == []


def test_the_users_most_alike_are_ranked_alone_and_a_few_records_of_each() -> None:
    far = [(f"far{i}", f"r{j}", "war", "2020-01-01") for i in range(3) for j in range(2)]
    near = [(f"near{i}", f"r{j}", "love love sea", "2020-01-01") for i in range(USERS - 1) for j in range(EACH + 3)]
    records = pd.concat([RECORDS.iloc[:1], rows(*far, *near)], ignore_index=True)
    vectors = encode(records["text"].tolist())
    by_user = {user: np.flatnonzero(records["user_id"] == user) for user in records["user_id"].unique()}
    found = best_records(encode(["war"])[0], vectors, "ann", by_user)
    assert {records["user_id"][row].rstrip("0123456789") for row, _ in found} == {"ann", "near"}
    assert len(found) == 1 + (USERS - 1) * EACH


def test_the_score_weighs_the_question_and_the_user() -> None:
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    found = best_records(np.array([0, 1], dtype=np.float32), vectors, "u", {"u": np.array([0]), "v": np.array([1])})
    assert found == [(1, pytest.approx(0.9)), (0, pytest.approx(0.1))]  # .9 of the question, .1 of its user


@pytest.mark.parametrize(
    ("date", "own", "found"),
    [
        ("2020-05-02", [], [True, False, True]),
        ("2020-05", [], [False, False, True]),
        ("", ["2020-05-01"], [True, False, True]),
        ("", ["", ""], [True, True, True]),
    ],
)
def test_a_question_without_a_date_lies_after_its_own_records(date: str, own: list[str], found: list[bool]) -> None:
    dates = np.array(["2020-05-01", "2020-05-02", "2020-04"], dtype=object)
    assert earlier_than(date, np.array(own, dtype=object))(dates).tolist() == found

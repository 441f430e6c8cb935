"""What users said, counted by hand; and what it says of two releases."""

from __future__ import annotations

import pandas as pd
import pytest

from hydra_ml.evaluation.feedback import ENOUGH, approval_by_release, edit_distance, judge_feedback

COLUMNS = ["release", "answer", "prediction", "generic_prediction"]


def test_edit_distance_is_none_to_all():
    assert edit_distance("A  quiet Night", "a quiet night") == 0.0
    assert edit_distance("abc", "xyz") == 1.0
    assert edit_distance("abcd", "abxd") == pytest.approx(1 - 2 * 3 / 8)
    assert edit_distance("", "") == 0.0


def test_approval_counted_by_hand_newest_release_first():
    rows = pd.DataFrame(
        [
            ("9", "a", "a", "a"),  # taken, generic the same
            ("9", "a", "a", "b"),  # taken, and the generic answer would have been wrong
            ("9", "b", "a", "b"),  # changed to what the generic answer was
            ("9", "abxd", "abcd", None),  # edited
            ("9", None, "a", "b"),  # rejected
            ("10", "a", "a", None),
        ],
        columns=COLUMNS,
    )
    newest, older = approval_by_release(rows)
    assert (newest.release, newest.n, newest.accepted, newest.edit_distance) == ("10", 1, 1, None)
    assert (older.n, older.accepted, older.edited, older.rejected) == (5, 2, 2, 1)
    assert older.edit_distance == pytest.approx((1.0 + 0.25) / 2)
    assert (older.n_personal, older.personal_wins, older.generic_wins) == (2, 1, 1)
    assert approval_by_release(rows.iloc[:0]) == []


def test_evidence_is_told_from_thirty_on_and_refuses_nothing():
    final, served = ["a"] * ENOUGH, ["a"] * (ENOUGH - 10) + ["b"] * 10
    worse: list[str | None] = ["a"] * 15 + ["b"] * 14 + [None]
    assert judge_feedback(final[1:], served[1:], final[1:], worse[1:]) == []
    (told,) = judge_feedback(final, served, final, worse)
    assert told.passed
    assert "100.0% -> 50.0% of 30 requests; 100.0% -> 0.0% of 10 requests" in told.text

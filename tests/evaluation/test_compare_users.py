"""Measures by user, by cohort, and the pairing of two heads versions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.evaluation.compare_users import USER_COLUMNS, cohort_measures, compare_heads, user_measures
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
RATING = get_task("LaMP_3")


def predictions(rows: list[tuple], golds: dict[str, str]) -> pd.DataFrame:
    """rows: method, query, user, cohort, n_history, prediction."""
    table = pd.DataFrame(rows, columns=["method", "query_id", "user_id", "cohort", "n_history", "prediction"])
    return table.assign(gold=table["query_id"].map(golds))


TABLE = predictions(
    [
        ("hydra", "q1", "u1", "known", 4, "comedy"),
        ("hydra", "q2", "u1", "known", 12, "action"),
        ("hydra", "q3", "u2", "new", 40, None),
        ("rag_k4", "q1", "u1", "known", 4, "action"),
        ("rag_k4", "q2", "u1", "known", 12, "action"),
        ("rag_k4", "q3", "u2", "new", 40, "classic"),
        ("hydra_shared", "q1", "u1", "known", 4, "action"),
        ("zero_shot", "q1", "u1", "known", 4, "comedy"),
    ],
    {"q1": "comedy", "q2": "action", "q3": "classic"},
)


def users_of(values: dict[str, float], n: int = 1, measure: str = "accuracy") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": list(values),
            "cohort": "known",
            "n_history": 5,
            "band": "1-10",
            "n": n,
            "measure": measure,
            "hydra": list(values.values()),
            "hydra_shared": 0.0,
            "rag_k4": 0.0,
        }
    )


def test_each_user_has_one_row_with_the_mean_under_each_method():
    users = user_measures(TABLE, MOVIES, bands=[10, 30])
    assert list(users.columns) == list(USER_COLUMNS)
    first, second = users.to_dict("records")
    assert (first["user_id"], first["cohort"], first["n_history"], first["band"], first["n"]) == (
        "u1",
        "known",
        12,
        "11-30",
        2,
    )
    assert (first["hydra"], first["rag_k4"], first["hydra_shared"]) == (1.0, 0.5, 0.0)
    assert (second["hydra"], second["rag_k4"], second["band"]) == (0.0, 1.0, "31+")  # unparsable is a miss
    assert np.isnan(second["hydra_shared"])


def test_the_order_of_rows_does_not_matter():
    pd.testing.assert_frame_equal(
        user_measures(TABLE.sample(frac=1, random_state=1), MOVIES, bands=[10]),
        user_measures(TABLE, MOVIES, bands=[10]),
    )


def test_without_hydra_there_is_nothing_to_measure():
    with pytest.raises(DataError, match="no row of hydra"):
        user_measures(TABLE[TABLE["method"] != "hydra"], MOVIES, bands=[10])


def test_cohorts_weigh_queries_and_the_worst_decile_weighs_users():
    found = cohort_measures(user_measures(TABLE, MOVIES, bands=[10, 30]))
    assert found == {
        "cohort/n_users": 2.0,
        "cohort/accuracy.all": pytest.approx(2 / 3),
        "cohort/gain.all": pytest.approx(0.0),
        "cohort/accuracy.known": 1.0,
        "cohort/gain.known": 0.5,
        "cohort/accuracy.new": 0.0,
        "cohort/gain.new": -1.0,
        "cohort/accuracy.history_11-30": 1.0,
        "cohort/gain.history_11-30": 0.5,
        "cohort/accuracy.history_31_up": 0.0,
        "cohort/gain.history_31_up": -1.0,
        "cohort/accuracy.worst_decile": 0.0,
        "cohort/gain.worst_decile": -1.0,
    }


def test_where_lower_is_better_the_worst_are_the_highest_and_a_gain_is_still_positive():
    rows = [("hydra", f"q{i}", f"u{i}", "known", 3, str(1 + i % 2)) for i in range(20)]
    rows += [("rag_k4", f"q{i}", f"u{i}", "known", 3, "3") for i in range(20)]
    found = cohort_measures(user_measures(predictions(rows, {f"q{i}": "1" for i in range(20)}), RATING, bands=[10]))
    assert found["cohort/mae.all"] == 0.5
    assert found["cohort/mae.worst_decile"] == 1.0
    assert found["cohort/gain.all"] == 1.5


def test_a_comparison_pairs_users_and_names_the_most_changed_first():
    before = users_of({"a": 0.5, "b": 1.0, "c": 0.0, "gone": 1.0})
    after = users_of({"a": 0.75, "b": 0.5, "c": 0.0, "new": 1.0, "newer": 1.0})
    found = compare_heads(before, after, resamples=200, seed=1)
    assert found.users["user_id"].tolist() == ["b", "a", "c"]
    assert found.users["change"].tolist() == [-0.5, 0.25, 0.0]
    assert (found.better, found.worse, found.equal, found.left_out) == (1, 1, 1, 3)
    assert found.means == (0.5, pytest.approx(1.25 / 3))
    gap = found.difference
    assert gap.difference == pytest.approx(-0.25 / 3)
    assert gap.ci_low <= gap.difference <= gap.ci_high


def test_the_interval_tells_a_steady_gain_from_none():
    rng = np.random.default_rng(1)
    start = dict(zip([f"u{i}" for i in range(60)], rng.uniform(0.2, 0.6, 60), strict=True))
    up = {user: value + rng.uniform(0.0, 0.2) for user, value in start.items()}
    gained = compare_heads(users_of(start), users_of(up), resamples=500, seed=1)
    assert gained.difference.ci_low > 0.05
    assert gained.difference.p < 0.01
    same = compare_heads(users_of(start), users_of(start), resamples=500, seed=1)
    assert (same.difference.difference, same.difference.p, same.equal) == (0.0, 1.0, 60)


def test_better_follows_the_measure():
    found = compare_heads(
        users_of({"a": 1.0}, measure="mae"), users_of({"a": 0.5}, measure="mae"), resamples=200, seed=1
    )
    assert (found.better, found.worse) == (1, 0)
    assert np.isnan(found.difference.ci_low)  # one user alone leaves nothing to resample


def test_different_questions_are_noticed():
    found = compare_heads(users_of({"a": 1.0}, n=2), users_of({"a": 1.0}, n=3), resamples=200, seed=1)
    assert not found.same_queries


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ArtifactError, match="no user was evaluated under both"):
        compare_heads(users_of({"a": 1.0}), users_of({"b": 1.0}), resamples=200, seed=1)
    with pytest.raises(ArtifactError, match="measured by accuracy and mae"):
        compare_heads(users_of({"a": 1.0}), users_of({"a": 1.0}, measure="mae"), resamples=200, seed=1)

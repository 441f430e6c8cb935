"""pref: which question is asked next, by hand."""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rival_heads import Basis
from hydra_ml.evaluation.rivals.pref import (
    mean_likings,
    probabilities,
    questions,
    table_of,
    widest,
)
from tests.evaluation.rivals.planted import CANDIDATES, planted


def test_the_widest_pair_by_hand() -> None:
    said = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]])  # differences (1, 0), (0, 3), (1, -3)
    assert np.allclose(widest(said, np.array([np.diag([1.0, 1.0])])), [10.0])
    assert np.allclose(widest(said, np.array([np.diag([16.0, 0.1])])), [16.9])


def test_tables_of_rows_and_softmax() -> None:
    place, is_row = table_of(np.array([0, 0, 0, 1]))
    assert place.tolist() == [[0, 1, 2], [3, 3, 3]]
    assert is_row.tolist() == [[True, True, True], [True, False, False]]
    assert np.allclose(probabilities(np.array([0.0, np.log(3.0), 5.0]), np.array([0, 0, 1])), [0.25, 0.75, 1.0])


def test_a_liking_is_what_was_chosen_less_what_was_expected() -> None:
    lesson = planted(n_users=1, queries_per_user=1).lesson
    x = np.eye(CANDIDATES)
    assert np.allclose(mean_likings(x, lesson)[0], lesson.targets - 1 / CANDIDATES)


def test_each_user_is_asked_as_often_as_may_be_and_first_where_it_is_least_sure() -> None:
    lesson = planted(n_users=3).lesson
    basis = Basis(np.eye(16, dtype=np.float32), np.zeros(16, dtype=np.float32), np.ones(16, dtype=np.float32))
    one = questions(lesson.said, lesson, basis, 1.0, 1)
    apart = widest(lesson.said.reshape(-1, CANDIDATES, 16), np.tile(np.eye(16), (len(lesson.user_ids), 1, 1)))
    for user_id in ("u00", "u01", "u02"):
        own = np.flatnonzero(lesson.user_ids == user_id)
        assert one[own].sum() == 1
        assert apart[own][one[own]] == apart[own].max()  # before any answer all directions are alike
        assert questions(lesson.said, lesson, basis, 1.0, 5)[own].sum() == 5
    assert questions(lesson.said, lesson, basis, 1.0, 99).all()


def test_an_answer_makes_its_own_direction_sure() -> None:
    lesson = planted(n_users=1, queries_per_user=3).lesson
    x = np.zeros((len(lesson.query), 2), dtype=np.float32)
    x[lesson.query < 2, 0] = np.tile([3.0, -3.0], CANDIDATES)  # two queries on one direction, a shorter one on another
    x[lesson.query == 2, 1] = np.tile([2.5, -2.5], CANDIDATES // 2)
    basis = Basis(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32), np.ones(2, dtype=np.float32))
    assert questions(x, lesson, basis, 1.0, 2).tolist() == [True, False, True]

"""user_clusters finds a taste that was planted, and none where there is none; its formulas by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rivals.user_clusters import METHOD, fit, history_vectors, k_means, nearest, user_vectors
from tests.evaluation.rivals.planted import CANDIDATES, Planted, planted


@cache
def learned() -> tuple[Planted, Choose]:
    given = planted()
    return given, fit(given.lesson, 0)


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_part() -> None:
    given, choose = learned()
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > 0.5 > strange
    again = fit(given.lesson, 0)
    assert (again(given.pool) == choose(given.pool)).all()  # same seed, same bits


def test_it_finds_nothing_where_there_is_nothing() -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


def test_k_means_finds_two_heaps() -> None:
    points = np.array([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0]], dtype=np.float32)
    centres = k_means(points, 2, seed=0)
    assert sorted(centres.tolist()) == [[0.0, 1.0], [10.0, 1.0]]
    assert k_means(points[:1], 5, seed=0).tolist() == [[0.0, 0.0]]  # no more clusters than users


def test_the_nearest_centre() -> None:
    centres = np.array([[0.0, 0.0], [4.0, 0.0]])
    assert nearest(np.array([[1.9, 5.0], [2.1, -5.0]]), centres).tolist() == [0, 1]


def test_a_history_is_the_direction_of_its_mean_answer_and_of_its_mean_question() -> None:
    pool = planted().pool
    answered = pool.book.answers[pool.history[0]].mean(axis=0)
    found = history_vectors(pool)
    assert np.allclose(found[0, :16], answered / np.linalg.norm(answered), atol=1e-6)
    assert np.allclose(np.linalg.norm(found[:, 16:], axis=1), 1.0, atol=1e-5)
    assert np.allclose(user_vectors(pool)[0], found[pool.user_ids == "u00"].mean(axis=0), atol=1e-6)


def test_users_without_history_are_served_too() -> None:
    given = planted()
    nothing = np.zeros(0, dtype=np.int64)
    bare = replace(given.pool, history=tuple(nothing for _ in given.pool.history))
    assert not history_vectors(bare).any()
    assert np.isfinite(fit(given.lesson, 0)(bare)).all()


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "HLLM-Creator; arXiv 2610.08330"

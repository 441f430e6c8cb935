"""user_clusters: its clusters by hand, and what names a user's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hydra_ml.evaluation.rivals.user_clusters import fit, history_vectors, k_means, nearest, user_vectors
from tests.evaluation.rivals.planted import planted


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

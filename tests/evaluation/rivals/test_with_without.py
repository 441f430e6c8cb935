"""with_without: effects, the map between them and their shrinking, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hydra_ml.answering.arms import ZERO_SHOT
from hydra_ml.evaluation.rivals.with_without import (
    METHOD,
    SHARPNESS,
    SHRINK,
    cross_fitted,
    effects_of,
    fit,
    ridge_map,
    true_effects,
    users_effects,
)
from tests.evaluation.rivals.planted import planted


def test_effects_are_differences_to_the_generic_answer_and_zero_without_one() -> None:
    pool = planted(2, 1).pool
    generic, served = pool.greedy["zero_shot"].copy(), pool.asked
    generic[1] = 0.0
    found = effects_of(replace(pool, greedy={"zero_shot": generic, "hydra": served, "rag_k4": 0 * served}))
    first = pool.query == 0
    assert found.candidates[first] == pytest.approx(pool.said[first] - generic[0])
    assert found.model[0] == pytest.approx((served[0] - generic[0]) / 2)  # the other prompt has no answer: no effect
    assert found.history[0] == pytest.approx(pool.book.answers[:8].mean(axis=0) - generic[0], abs=1e-6)
    assert not found.candidates[~first].any()
    assert not found.model[1].any()
    assert not found.history[1].any()


def test_the_truth_has_the_effect_of_what_should_have_been_chosen() -> None:
    lesson = planted(2, 2).lesson
    effects = effects_of(lesson).candidates
    assert true_effects(lesson, effects) == pytest.approx(effects[lesson.targets == 1])


def test_a_users_other_effects_are_averaged_by_likeness_and_shrunk() -> None:
    lesson = planted(1, 3).lesson
    true = np.eye(3, lesson.asked.shape[1], dtype=np.float32)
    weight = np.exp(SHARPNESS * (lesson.asked[0] @ lesson.asked.T - 1))
    expected = weight[[1, 2]] / weight[[1, 2]].sum() * 2 / (2 + SHRINK)
    assert users_effects(lesson, lesson, true)[0, :3] == pytest.approx([0.0, *expected], abs=1e-6)


def test_the_map_by_hand_and_never_from_the_users_own_queries() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[2.0], [4.0]])
    assert ridge_map(x, y, 1.0).tolist() == [[10.0 / 6.0]]
    users, wild = np.array([f"u{i}" for i in range(8)]), np.ones((8, 1))
    told, _ = cross_fitted(np.ones((8, 1)), wild, users, 0)
    wild[3] = 1000.0
    moved, _ = cross_fitted(np.ones((8, 1)), wild, users, 0)
    assert moved[3] < 20 * told[3]


def test_without_generic_answers_it_goes_by_the_evidence() -> None:
    given = planted(6, 6)
    bare = replace(given.lesson, greedy={})
    choose = fit(bare, 0)
    assert np.allclose(choose(given.pool), choose(replace(given.pool, greedy={})))


def test_it_asks_training_queries_without_records() -> None:
    assert METHOD.paper == "arXiv 2506.02368"
    assert METHOD.taught == (ZERO_SHOT,)

"""generated_head: its guidance by hand, and that nothing is fitted to the user who is served."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hydra_ml.evaluation.rivals.generated_head import TEMPERATURE, fit, guidance
from tests.evaluation.rivals.planted import planted


def test_guidance_by_hand() -> None:
    known = np.array([[1.0, 0.0], [0.0, 2.0]])
    found = guidance(np.array([[3.0, 0.0]]), known, None)
    away = np.exp(-1 / TEMPERATURE)  # likeness 1 and 0
    assert np.allclose(found, [[1 / (1 + away), away / (1 + away)]])
    assert guidance(np.array([[3.0, 0.0]]), known, np.array([0])).tolist() == [[0.0, 1.0]]  # not by oneself
    assert guidance(known[:1], known[:1], np.array([0])).tolist() == [[0.0]]  # nobody else is there


def test_only_the_nearest_guide() -> None:
    angles = np.linspace(0, 1, 9)
    known = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert (guidance(known[:1], known, None) > 0).tolist() == [[True] * 5 + [False] * 4]


def test_without_history_the_shared_score_stands() -> None:
    given = planted(6, 6)
    nothing = np.zeros(0, dtype=np.int64)
    bare = replace(given.pool, history=tuple(nothing for _ in given.pool.history))
    assert (fit(given.lesson, 0)(bare) == given.pool.shared).all()


def test_nothing_is_fitted_to_the_user_who_is_served() -> None:
    given = planted(6, 6)
    choose = fit(given.lesson, 0)
    renamed = replace(given.pool, user_ids=np.array([f"not {user_id}" for user_id in given.pool.user_ids]))
    assert (choose(renamed) == choose(given.pool)).all()

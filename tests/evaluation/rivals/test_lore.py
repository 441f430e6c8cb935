"""lore: its softmax, and weights that go to what explains the user."""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rivals.lore import softmax_rows, user_weights
from tests.evaluation.rivals.planted import planted


def test_softmax_by_hand() -> None:
    assert np.allclose(softmax_rows(np.array([[0.0, np.log(3.0)]])), [[0.25, 0.75]])


def test_weights_go_to_the_reward_that_explains_the_user_and_add_up_to_one() -> None:
    lesson = planted(n_users=3).lesson
    owner = np.unique(lesson.owners, return_inverse=True)[1]
    base = np.stack([4 * lesson.targets, -4 * lesson.targets], axis=1).astype(np.float32)
    average = np.zeros(2, dtype=np.float32)
    free = user_weights(base, lesson, owner, average, pull=0.0)
    assert np.allclose(free.sum(axis=1), 1.0, atol=1e-6)
    assert (free[:, 0] > 0.95).all()
    held = user_weights(base, lesson, owner, average, pull=1e6)
    assert np.allclose(held, 0.5, atol=0.01)

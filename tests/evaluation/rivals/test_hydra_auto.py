"""hydra_auto: HYDRA stays unless a rival surely earns more on queries that neither has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rivals.hydra_auto import favoured, fit, rewards_of
from tests.evaluation.rivals.planted import planted


def knowing(lesson: Lesson, seed: int) -> Choose:
    """Reads a taste that stands in the evidence."""
    return lambda pool: pool.evidence[:, 0]


def test_the_reward_of_a_choice_is_that_of_the_highest_row() -> None:
    lesson = planted().lesson
    assert np.allclose(rewards_of(lesson, lesson.rewards), lesson.rewards.reshape(-1, 6).max(axis=1))


def test_a_gain_within_its_error_is_none() -> None:
    users = np.array(["a", "a", "b", "b"])
    assert favoured({"luck": np.array([1.0, 1.0, -0.9, -0.9])}, users) is None
    assert favoured({"sure": np.array([0.1, 0.1, 0.1, 0.2]), "worse": np.full(4, 0.05)}, users) == "sure"


def test_the_better_rival_is_taken_and_hydra_stays_where_it_is_as_good() -> None:
    given = planted()
    seen = np.where(given.lesson.targets > 0, 1.0, 0.0).astype(np.float32)
    lesson = replace(given.lesson, evidence=seen[:, None])
    pool: Pool = replace(given.pool, evidence=np.arange(len(given.pool.query), dtype=np.float32)[:, None])
    assert (fit(lesson, 0, {"knowing": knowing})(pool) == pool.evidence[:, 0]).all()
    good = replace(lesson, unseen=seen)
    assert (fit(good, 0, {"knowing": knowing})(pool) == pool.personal).all()


def test_without_new_users_or_scores_there_is_nothing_to_judge_by() -> None:
    given = planted()
    for lesson in (
        replace(given.lesson, is_known=np.ones_like(given.lesson.is_known)),
        replace(given.lesson, unseen=np.full_like(given.lesson.unseen, np.nan)),
    ):
        assert (fit(lesson, 0, {"knowing": knowing})(given.pool) == given.pool.personal).all()

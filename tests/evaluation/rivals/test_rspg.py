"""rspg: answers count by the arms that gave them, and an arm that answers better is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hydra_ml.evaluation.rivals.rspg import ARMS, NOT_SAID, arm_goal, fit, said_by
from tests.evaluation.rivals.planted import CANDIDATES, planted


def test_the_goal_is_the_softmax_of_the_arms_rewards() -> None:
    said = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)  # two arms, one arm, none
    goal = arm_goal(np.array([1.0, 0.0, 1.0]), said, np.zeros(3, dtype=np.int64))
    e = np.e
    assert np.allclose(goal, [2 * e / (2 * e + 1), 1 / (2 * e + 1), 0.0])


def test_it_keeps_the_arm_that_is_right_and_no_answer_that_none_gave() -> None:
    given = planted()
    pools = []
    for pool, best in ((given.lesson, np.flatnonzero(given.lesson.targets)), (given.pool, given.best)):
        first = np.arange(len(pool.user_ids)) * CANDIDATES
        good = np.where(best == first, first + 1, first)  # what the others say is never the best
        greedy = {arm.name: pool.said[good] for arm in ARMS} | {"rag_k4": pool.said[best]}
        pools.append(replace(pool, greedy=greedy))
    pool = pools[1]
    lesson = replace(given.lesson, greedy=pools[0].greedy, rewards=given.lesson.targets)
    choose = fit(lesson, 0)
    assert replace(given, pool=pool).share_right(choose) > 0.9
    none = said_by(pool).sum(axis=1) == 0
    assert (choose(pool)[none] == np.float32(NOT_SAID)).all()
    assert none.any()

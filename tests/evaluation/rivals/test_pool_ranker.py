"""pool_ranker finds a taste that shows in the history, and none where there is none."""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rival_training import standardised
from hydra_ml.evaluation.rivals.pool_ranker import METHOD, fit, profiles
from tests.evaluation.rivals.planted import CANDIDATES, planted


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_profile() -> None:
    given = planted()
    choose = fit(given.lesson, 0)
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > 0.5 > strange
    again = fit(given.lesson, 0)
    assert (again(given.pool) == choose(given.pool)).all()  # same seed, same bits


def test_it_finds_nothing_where_there_is_nothing() -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


def test_a_profile_is_the_mean_of_the_answers_given_before() -> None:
    pool = planted().pool
    assert np.allclose(profiles(pool)[0], pool.book.answers[:8].mean(axis=0), atol=1e-6)


def test_rewards_are_standardised_within_their_query() -> None:
    found = standardised(np.array([0.0, 1.0, 0.5, 0.5]), np.array([0, 0, 1, 1]))
    assert found.tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "arXiv 2609.35695"

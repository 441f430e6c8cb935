"""pool_ranker: what it reads of a profile, and what it learns."""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rival_training import standardised
from hydra_ml.evaluation.rivals.pool_ranker import profiles
from tests.evaluation.rivals.planted import planted


def test_a_profile_is_the_mean_of_the_answers_given_before() -> None:
    pool = planted().pool
    assert np.allclose(profiles(pool)[0], pool.book.answers[:8].mean(axis=0), atol=1e-6)


def test_rewards_are_standardised_within_their_query() -> None:
    found = standardised(np.array([0.0, 1.0, 0.5, 0.5]), np.array([0, 0, 1, 1]))
    assert found.tolist() == [-1.0, 1.0, 0.0, 0.0]

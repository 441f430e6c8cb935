"""self_training: few labels are drawn per user, sure words count, and a planted taste is found."""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rivals.self_training import fit, labelled_queries, sure_targets
from tests.evaluation.rivals.planted import CANDIDATES, planted


def test_a_tenth_of_each_users_labels_is_kept_and_at_least_one() -> None:
    users = np.array(["ann"] * 20 + ["bob"] * 3)
    kept = labelled_queries(users, 0)
    assert (kept[:20].sum(), kept[20:].sum()) == (2, 1)
    assert (labelled_queries(users, 0) == kept).all()


def test_only_what_the_teacher_is_sure_of_is_a_word() -> None:
    scores = np.log(np.array([0.9, 0.1, 0.6, 0.4]))
    assert sure_targets(scores, np.array([0, 0, 1, 1])).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_head() -> None:
    given = planted(n_users=9, queries_per_user=60, strength=3.0)
    choose = fit(given.lesson, 0)
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > 1.5 / CANDIDATES
    assert own > strange + 0.1


def test_it_finds_nothing_where_there_is_nothing() -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12

"""self_training: few labels are drawn per user, and only sure words count."""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rivals.self_training import labelled_queries, sure_targets


def test_a_tenth_of_each_users_labels_is_kept_and_at_least_one() -> None:
    users = np.array(["ann"] * 20 + ["bob"] * 3)
    kept = labelled_queries(users, 0)
    assert (kept[:20].sum(), kept[20:].sum()) == (2, 1)
    assert (labelled_queries(users, 0) == kept).all()


def test_only_what_the_teacher_is_sure_of_is_a_word() -> None:
    scores = np.log(np.array([0.9, 0.1, 0.6, 0.4]))
    assert sure_targets(scores, np.array([0, 0, 1, 1])).tolist() == [1.0, 0.0, 0.0, 0.0]

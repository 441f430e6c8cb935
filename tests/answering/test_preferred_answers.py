"""Which answers should be chosen: parsed answers compared, free text weighed within its query."""

import numpy as np
import pytest

from hydra_ml.answering.preferred_answers import preferred_answers
from hydra_ml.tasks import get_task


def test_closed_sets_need_the_very_answer():
    task = get_task("LaMP_2")
    found = preferred_answers(task, ["comedy", "", "dark comedy"], ["dark comedy"] * 3, ["q"] * 3)
    assert found.targets.tolist() == [0, 0, 1]  # a substring or an empty answer is no hit
    assert found.rewards.tolist() == [0, 0, 1]


def test_equally_right_rows_share_the_target_and_a_query_without_one_has_none():
    task = get_task("LaMP_2")
    found = preferred_answers(task, ["comedy", "comedy", "action", "action"], ["comedy"] * 4, ["q", "q", "q", "r"])
    assert found.targets.tolist() == [0.5, 0.5, 0, 0]


def test_free_text_groups_by_query_not_by_neighbours_and_weighs_by_how_much_better():
    task = get_task("LaMP_4")
    golds = ["the big storm", "small town news"] * 2
    answers = ["the big storm", "small town gossip", "a big calm", "other words entirely"]
    found = preferred_answers(task, answers, golds, ["a", "b", "a", "b"])
    assert (found.targets[[0, 1]] > 0.5).all()
    assert (found.targets[[2, 3]] > 0).all()
    np.testing.assert_allclose(found.targets[[0, 1]] + found.targets[[2, 3]], 1, rtol=1e-6)
    # Of two, the better one stands one standard deviation above the mean, the other one below.
    assert found.targets[0] == pytest.approx(np.e / (np.e + 1 / np.e))


def test_texts_that_are_all_as_good_share_alike():
    found = preferred_answers(get_task("LaMP_4"), ["x y", "z w"], ["a b", "a b"], ["q", "q"])
    assert found.targets.tolist() == [0.5, 0.5]

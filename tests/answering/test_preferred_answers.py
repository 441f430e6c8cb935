"""Positive rows: parsed answers compared, free text judged within its query."""

from hydra_ml.answering.preferred_answers import positive_labels
from hydra_ml.tasks import get_task


def test_closed_sets_need_the_very_answer():
    task = get_task("LaMP_2")
    labels = positive_labels(task, ["comedy", "", "dark comedy"], ["dark comedy"] * 3, ["q"] * 3)
    assert labels.tolist() == [0, 0, 1]  # a substring or an empty answer is no hit


def test_free_text_groups_by_query_not_by_neighbours():
    task = get_task("LaMP_4")
    golds = ["the big storm", "small town news"] * 2
    answers = ["the big storm", "small town gossip", "a big calm", "other words entirely"]
    labels = positive_labels(task, answers, golds, ["a", "b", "a", "b"])
    assert labels.tolist() == [1, 1, 0, 0]

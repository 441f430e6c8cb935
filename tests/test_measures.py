"""Measures against hand-worked cases, and against the libraries that LaMP's official evaluator uses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import f1_score

from hydra_ml.errors import DataError
from hydra_ml.measures import (
    MEASURES,
    _errors,
    higher_is_better,
    is_parsable,
    measure_values,
    per_query,
    rewards,
)
from hydra_ml.tasks import TASKS, get_task

MOVIES, RATING, HEADLINE, CITATION = (get_task(name) for name in ("LaMP_2", "LaMP_3", "LaMP_4", "LaMP_1"))


def test_every_measure_a_task_asks_for_is_known() -> None:
    asked = {measure for task in TASKS.values() for measure in task.measures}
    assert asked == set(MEASURES)


def test_errors_are_better_low_and_the_rest_high() -> None:
    assert [m for m in MEASURES if not higher_is_better(m)] == ["mae", "rmse"]


def test_labels_by_hand() -> None:
    golds = ["comedy", "comedy", "action", "classic"]
    values = measure_values(MOVIES, ["comedy", "action", "action", None], golds)
    assert values["accuracy"] == 0.5
    # comedy: 1 hit, 1 predicted, 2 gold: 2/3. action: 1 hit, 2 predicted, 1 gold: 2/3. The other 13 labels: 0.
    assert values["f1"] == pytest.approx((2 / 3 + 2 / 3) / 15)


@pytest.mark.parametrize("prediction", ["Comedy", "a comedy", "", "sports", None])
def test_only_the_exact_label_is_a_hit(prediction: str | None) -> None:
    assert measure_values(MOVIES, [prediction], ["comedy"])["accuracy"] == 0.0


def test_white_space_around_a_label_does_not_count() -> None:
    assert measure_values(MOVIES, [" comedy\n"], ["comedy"])["accuracy"] == 1.0


def test_choices_are_measured_as_labels() -> None:
    values = measure_values(CITATION, ["[1]", "[1]", "[2]", None], ["[1]", "[2]", "[2]", "[2]"])
    assert values["accuracy"] == 0.5
    # [1]: 1 hit, 2 predicted, 1 gold: 2/3. [2]: 1 hit, 1 predicted, 3 gold: 1/2.
    assert values["f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_f1_equals_scikit_learn_with_invalid_predictions_and_absent_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_labels = len(MOVIES.labels)
    gold = rng.integers(0, n_labels - 3, size=80)  # the last three labels are never gold
    predicted = rng.integers(-1, n_labels - 1, size=80)  # -1 is unparsable; the last label is never predicted either
    ours = measure_values(
        MOVIES, [None if p < 0 else MOVIES.labels[p] for p in predicted], [MOVIES.labels[g] for g in gold]
    )["f1"]
    theirs = f1_score(gold, predicted, labels=list(range(n_labels)), average="macro", zero_division=0)
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_ratings_by_hand() -> None:
    # Errors: unparsable at gold 3 stands at 5.0: 2; 4.5 is not rounded: 3.5; 7 is not clipped: 2; exact: 0.
    values = measure_values(RATING, [None, "4.5", "7", "2"], ["3", "1", "5", "2"])
    assert values["mae"] == pytest.approx((2 + 3.5 + 2 + 0) / 4)
    assert values["rmse"] == pytest.approx(math.sqrt((4 + 12.25 + 4 + 0) / 4))


@pytest.mark.parametrize("unparsable", [None, "", "five", "nan", "inf"])
def test_an_unparsable_rating_goes_to_the_farther_end(unparsable: str | None) -> None:
    errors = {gold: measure_values(RATING, [unparsable], [gold])["mae"] for gold in RATING.labels}
    assert errors == {"1": 4.0, "2": 3.0, "3": 2.0, "4": 3.0, "5": 4.0}


def test_at_the_middle_of_the_scale_the_farther_end_is_five() -> None:
    # Both ends are 2 away, so no measure can show which was taken: only the signed error does.
    assert _errors(RATING, [None], ["3"]).tolist() == [5.0 - 3.0]


def test_rouge_by_hand() -> None:
    # "d c b" against "a b c d": three common words, so precision 3/3, recall 3/4; longest common subsequence is 1 word.
    parts = per_query(HEADLINE, ["d c b", "A b, C d!", "", "cat"], ["a b c d", "a b c d", "a b", "cats"])
    np.testing.assert_allclose(parts["rouge_1"][:, 0], [6 / 7, 1, 0, 0])
    np.testing.assert_allclose(parts["rouge_l"][:, 0], [2 / 7, 1, 0, 0])


def test_rouge_counts_a_repeated_word_as_often_as_both_sides_have_it() -> None:
    # "the the cat" against "the cat sat": the once, cat once: precision 2/3, recall 2/3.
    assert measure_values(HEADLINE, ["the the cat"], ["the cat sat"])["rouge_1"] == pytest.approx(2 / 3)


def test_rouge_equals_the_official_package_and_is_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["Why", "we", "won't", "sleep", "(again)", "the", "the", "naïve", "U.S.", "2024", "—"])
    predictions = [" ".join(rng.choice(words, size=rng.integers(0, 9))) for _ in range(150)]
    golds = [" ".join(rng.choice(words, size=rng.integers(1, 9))) for _ in range(150)]
    official = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    scores = [official.score(gold, prediction) for gold, prediction in zip(golds, predictions, strict=True)]
    parts = per_query(HEADLINE, predictions, golds)
    np.testing.assert_array_equal(parts["rouge_1"][:, 0], [s["rouge1"].fmeasure for s in scores])
    np.testing.assert_array_equal(parts["rouge_l"][:, 0], [s["rougeL"].fmeasure for s in scores])
    mean = np.mean([s["rougeL"].fmeasure for s in scores])
    assert measure_values(HEADLINE, predictions, golds)["rouge_l"] == pytest.approx(mean)


def test_a_missing_text_scores_as_an_empty_one() -> None:
    assert measure_values(HEADLINE, [None, "a b"], ["a b", "a b"])["rouge_1"] == 0.5


@pytest.mark.parametrize("task", [MOVIES, RATING, HEADLINE], ids=lambda task: task.name)
def test_no_query_is_nan_not_an_error(task) -> None:
    assert all(math.isnan(value) for value in measure_values(task, [], []).values())


def test_totals_of_parts_add_up_to_the_whole() -> None:
    golds = ["comedy", "action", "classic", "comedy", "fantasy"]
    predictions = ["comedy", "comedy", None, "comedy", "fantasy"]
    for measure, parts in per_query(MOVIES, predictions, golds).items():
        totals = parts[:2].sum(axis=0) + parts[2:].sum(axis=0)
        whole = MEASURES[measure].aggregate(totals, np.array(5.0))
        assert whole == measure_values(MOVIES, predictions, golds)[measure]


@pytest.mark.parametrize(
    ("task", "prediction", "expected"),
    [
        (MOVIES, "comedy", True),
        (MOVIES, "Comedy", False),
        (MOVIES, None, False),
        (RATING, " 4 ", True),
        (RATING, "7", True),
        (RATING, "nan", False),
        (HEADLINE, "x", True),
        (HEADLINE, " \n", False),
        (HEADLINE, None, False),
    ],
)
def test_what_counts_as_an_answer(task, prediction: str | None, expected: bool) -> None:
    assert is_parsable(task, prediction) is expected


def test_rewards_by_hand() -> None:
    assert rewards(MOVIES, ["comedy", "dark comedy", None], ["comedy"] * 3).tolist() == [1.0, 0.0, 0.0]
    # 1 - |answer - gold| / 4; "9" is 5 away from 4 and may not go below 0.
    assert rewards(RATING, ["5", "4.5", "1", None, "9"], ["5", "5", "5", "5", "4"]).tolist() == [1, 0.875, 0, 0, 0]
    assert rewards(HEADLINE, ["d c b"], ["a b c d"])[0] == pytest.approx((6 / 7 + 2 / 7) / 2)
    assert rewards(HEADLINE, [None], ["a b c d"])[0] == 0.0


def test_rewards_of_a_batch_equal_single_rewards_with_duplicates() -> None:
    answers = ["a b", "b c", "a b", None, "a b"] * 3
    golds = ["a c", "a c", "a c", "a c", "b"] * 3
    single = [rewards(HEADLINE, [a], [g])[0] for a, g in zip(answers, golds, strict=True)]
    assert rewards(HEADLINE, answers, golds).tolist() == single


@pytest.mark.parametrize(("task", "gold"), [(MOVIES, "sports"), (RATING, "great"), (CITATION, "1")])
def test_a_gold_answer_outside_the_task_is_refused(task, gold: str) -> None:
    with pytest.raises(DataError, match=f"{task.name}: gold answer '{gold}' is not"):
        measure_values(task, ["x"], [gold])


@pytest.mark.parametrize("score", [measure_values, rewards])
def test_lists_of_unequal_length_are_refused(score) -> None:
    with pytest.raises(DataError, match="2 predictions for 1 gold answers"):
        score(RATING, ["1", "2"], ["1"])


def test_an_unknown_measure_names_the_known_ones() -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match=r"'bleu'; known measures are accuracy, f1, mae"):
        measure_values(replace(HEADLINE, measures=("bleu",)), ["a"], ["a"])

"""Whether answers change with the user, on a handful of questions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_ml.evaluation.responsiveness import responsiveness

USERS = np.array([0, 0, 1, 1])


def test_changed_answers_are_counted_and_their_worth_is_the_mean_over_them_alone() -> None:
    own, strangers = ["a", "b", None, "d"], ["a", "x", "c", "d"]
    found = responsiveness(own, strangers, np.array([0.0, 1.0, -0.5, 0.0]), USERS, resamples=300, seed=1)
    assert (found.changed.value, found.n_changed, found.n) == (0.5, 2, 4)
    assert found.gain.value == 0.25
    assert found.gain.ci_low <= 0.25 <= found.gain.ci_high


def test_a_method_that_says_the_same_to_everybody_responds_to_nobody() -> None:
    found = responsiveness(["a"] * 4, ["a"] * 4, np.zeros(4), USERS, resamples=100, seed=1)
    assert (found.changed.value, found.changed.ci_high, found.n_changed) == (0.0, 0.0, 0)
    assert math.isnan(found.gain.value)


def test_another_answer_as_good_counts_as_changed_and_gains_nothing() -> None:
    found = responsiveness(["a", "b"], ["c", "d"], np.zeros(2), np.array([0, 1]), resamples=100, seed=1)
    assert found.changed.value == 1.0
    assert found.gain.value == pytest.approx(0.0)

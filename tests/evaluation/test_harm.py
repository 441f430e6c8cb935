"""Who fares badly, on figures small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_ml.evaluation.harm import VERDICTS, n_worst, verdict_shares, worst_decile
from hydra_ml.evaluation.statistics import unit_weights


def test_a_tenth_is_rounded_up_and_never_nobody() -> None:
    assert [n_worst(n) for n in (1, 9, 10, 11, 20, 21)] == [1, 1, 1, 2, 2, 3]


def test_the_worst_decile_is_the_mean_of_the_worst_users_of_each_method() -> None:
    scores = np.stack([np.arange(20.0), np.arange(20.0)[::-1] / 2], axis=1)  # [U, M]: other users are worst off
    one, other = worst_decile(scores, resamples=200, rng=np.random.default_rng(0))
    assert (one.value, other.value) == (0.5, 0.25)
    assert one.ci_low <= one.value <= one.ci_high


def test_its_interval_is_that_of_users_drawn_one_by_one() -> None:
    scores = np.random.default_rng(3).normal(size=(25, 1))
    (found,) = worst_decile(scores, resamples=300, rng=np.random.default_rng(7))
    weights = unit_weights(25, 300, np.random.default_rng(7)).astype(int)
    drawn = [np.sort(np.repeat(scores[:, 0], row))[:3].mean() for row in weights]
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_one_user_alone_has_no_interval() -> None:
    (found,) = worst_decile(np.array([[0.5]]), resamples=100, rng=np.random.default_rng(0))
    assert found.value == 0.5
    assert math.isnan(found.ci_low)
    assert math.isnan(found.ci_high)


def test_shares_by_hand_for_each_method_apart() -> None:
    gaps = np.array([[-1.0, 0.0], [0.0, 1e-12], [2.0, 0.5], [0.5, 0.5]])  # [N, M]
    shares = verdict_shares(gaps, np.array([0, 0, 1, 1]), resamples=200, seed=1)
    told = [[share[verdict].value for verdict in VERDICTS] for share in shares]
    assert told == [[0.25, 0.25, 0.5], [0.0, 0.5, 0.5]]
    assert shares[1]["worse"].ci_high == 0.0  # nobody is, whoever is drawn

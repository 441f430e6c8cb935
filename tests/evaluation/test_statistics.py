"""Intervals, paired differences and tests against naive loops, simulations and hand values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_ml.evaluation.statistics import (
    bootstrap_interval,
    detectable_difference,
    holm_adjusted,
    mcnemar_exact,
    paired_difference,
    ratio_of,
    resample,
)
from hydra_ml.measures import MEASURES, per_query
from hydra_ml.tasks import get_task

MEAN = MEASURES["accuracy"].aggregate


def clustered_scores(rng: np.random.Generator, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores [Q] with mean 0 and users [Q]: every user has a level of their own and 2 to 8 queries."""
    users = np.repeat(np.arange(n_users), rng.integers(2, 9, size=n_users))
    return rng.normal(size=n_users)[users] + 0.5 * rng.normal(size=len(users)), users


@pytest.mark.parametrize("measure", ["accuracy", "f1"])
def test_weights_equal_a_naive_loop_over_the_same_draws(measure: str) -> None:
    task = get_task("LaMP_2")
    rng = np.random.default_rng(3)
    users = rng.permutation(np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 7]))
    golds = [task.labels[i] for i in rng.integers(4, size=28)]
    methods = [[task.labels[i] for i in rng.integers(5, size=28)] for _ in range(3)]
    parts = np.stack([per_query(task, method, golds)[measure] for method in methods], axis=1)  # [Q, M, C]
    found = resample(parts, users, MEASURES[measure].aggregate, resamples=50, rng=np.random.default_rng(11))

    draws = np.random.default_rng(11).integers(7, size=(50, 7))
    for row, drawn_users in enumerate(draws):
        queries = np.concatenate([np.flatnonzero(users == user) for user in drawn_users])
        count = np.array(float(len(queries)))
        for method in range(3):
            naive = MEASURES[measure].aggregate(parts[queries, method].sum(axis=0), count)
            assert found.resamples[row, method] == pytest.approx(float(naive), abs=1e-12)


def test_values_are_those_of_the_data_itself() -> None:
    errors = np.array([1.0, 4.0, 9.0, 0.0])[:, None, None]
    found = resample(
        errors, np.array([0, 1, 1, 2]), MEASURES["rmse"].aggregate, resamples=10, rng=np.random.default_rng(0)
    )
    assert found.values.tolist() == [math.sqrt(14 / 4)]


def test_blocks_of_resamples_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, users = clustered_scores(np.random.default_rng(0), 10)
    whole = resample(scores[:, None, None], users, MEAN, resamples=101, rng=np.random.default_rng(1))
    monkeypatch.setattr("hydra_ml.evaluation.statistics.WEIGHTS_AT_ONCE", 70)
    parts = resample(scores[:, None, None], users, MEAN, resamples=101, rng=np.random.default_rng(1))
    np.testing.assert_allclose(parts.resamples, whole.resamples, atol=1e-12)


def test_intervals_over_users_cover_at_the_nominal_rate_and_over_queries_do_not() -> None:
    rng = np.random.default_rng(5)
    covered = {"users": 0, "queries": 0}
    n_trials = 300
    for _ in range(n_trials):
        scores, users = clustered_scores(rng, 50)
        for kind, units in (("users", users), ("queries", np.arange(len(scores)))):
            drawn = resample(scores[:, None, None], units, MEAN, resamples=300, rng=rng)
            estimate = bootstrap_interval(drawn, 0)
            covered[kind] += estimate.ci_low <= 0.0 <= estimate.ci_high
    # The binomial deviation of a rate of .95 over 300 trials is .0126; four of them below and what few users cost.
    assert 0.89 <= covered["users"] / n_trials <= 0.99
    assert covered["queries"] / n_trials < 0.80


def test_equal_methods_differ_by_nothing() -> None:
    scores, users = clustered_scores(np.random.default_rng(1), 30)
    both = np.stack([scores] * 9, axis=1)[:, :, None]  # columns enough for a blocked matrix product
    drawn = resample(both, users, MEAN, resamples=500, rng=np.random.default_rng(1))
    found = paired_difference(drawn, 0, 8)
    assert (found.difference, found.ci_low, found.ci_high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_sees_a_small_steady_gain_that_single_intervals_hide() -> None:
    rng = np.random.default_rng(2)
    scores, users = clustered_scores(rng, 40)
    better = scores + 0.1 + 0.05 * rng.normal(size=len(scores))
    drawn = resample(np.stack([better, scores], axis=1)[:, :, None], users, MEAN, resamples=999, rng=rng)
    found = paired_difference(drawn, 0, 1)
    assert 0.05 < found.ci_low < 0.1 < found.ci_high + 0.02
    assert found.p == pytest.approx(2 / 1000)  # the least that 999 resamples can say
    assert bootstrap_interval(drawn, 1).ci_high > bootstrap_interval(drawn, 0).ci_low  # the intervals overlap
    swapped = paired_difference(drawn, 1, 0)
    assert (swapped.difference, swapped.p) == (-found.difference, found.p)


def test_p_is_seldom_small_where_methods_are_equally_good() -> None:
    rng = np.random.default_rng(8)
    small = 0
    for _ in range(300):
        gaps, users = clustered_scores(rng, 40)
        pair = np.stack([gaps, np.zeros_like(gaps)], axis=1)[:, :, None]
        small += paired_difference(resample(pair, users, MEAN, resamples=300, rng=rng), 0, 1).p < 0.05
    assert small / 300 < 0.11


def test_one_user_gives_a_value_without_an_interval() -> None:
    pair = np.array([[[1.0], [0.0]], [[0.0], [0.0]]])  # [Q, M, C]
    drawn = resample(pair, np.array([0, 0]), MEAN, resamples=100, rng=np.random.default_rng(0))
    estimate, found = bootstrap_interval(drawn, 0), paired_difference(drawn, 0, 1)
    assert (estimate.value, found.difference) == (0.5, 0.5)
    assert all(math.isnan(x) for x in (estimate.ci_low, estimate.ci_high, found.ci_low, found.p))


def test_same_seed_same_interval() -> None:
    scores, users = clustered_scores(np.random.default_rng(4), 20)
    first, second, other = (
        bootstrap_interval(
            resample(scores[:, None, None], users, MEAN, resamples=200, rng=np.random.default_rng(seed)), 0
        )
        for seed in (7, 7, 8)
    )
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 2 / 32),  # 2 * (1/2)^5
        (1, 7, 2 * (1 + 8) / 256),  # 2 * (C(8,0) + C(8,1)) / 2^8
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    agreed = 13
    hits_a = np.array([True] * only_a + [False] * only_b + [True] * agreed)
    hits_b = np.array([False] * only_a + [True] * only_b + [True] * agreed)
    assert mcnemar_exact(hits_a, hits_b) == pytest.approx(p)
    assert mcnemar_exact(hits_b, hits_a) == pytest.approx(p)


def test_detectable_difference_by_hand() -> None:
    assert detectable_difference(1.0) == pytest.approx(1.95996 + 0.84162, abs=1e-4)
    # 3.4 points with a tenth of the answers changed: about 670 pairs, as (2.8016 * sd / .034)^2 says.
    sd = math.sqrt(0.1 - 0.034**2)
    assert detectable_difference(sd / math.sqrt(671)) == pytest.approx(0.034, abs=1e-4)


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(6)
    n, found = 200, 0
    gain = detectable_difference(1 / math.sqrt(n))
    for _ in range(300):
        pair = np.stack([rng.normal(gain, 1.0, size=n), np.zeros(n)], axis=1)[:, :, None]
        drawn = resample(pair, np.arange(n), MEAN, resamples=200, rng=rng)
        found += paired_difference(drawn, 0, 1).p < 0.05
    assert 0.72 <= found / 300 <= 0.88


def test_holm_by_hand() -> None:
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1: .04, .06, .06, .04; never below one before it.
    assert holm_adjusted([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm_adjusted([0.6, 0.9]) == [1.0, 1.0]
    assert holm_adjusted([0.03]) == [0.03]
    assert holm_adjusted([]) == []


def test_holm_counts_only_comparisons_that_could_be_made() -> None:
    adjusted = holm_adjusted([0.01, math.nan, 0.04])
    assert math.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == pytest.approx([0.02, 0.04])


def test_holm_keeps_false_finds_of_a_family_at_alpha() -> None:
    rng = np.random.default_rng(5)
    found = [min(holm_adjusted(rng.random(8).tolist())) < 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(found) < 0.07  # 1 in 20; without it 1 in 3


def test_a_ratio_over_no_rows_is_nan() -> None:
    assert ratio_of(np.array([[3.0, 2.0], [0.0, 0.0]]), np.array([4.0, 4.0])).tolist() == [
        1.5,
        pytest.approx(math.nan, nan_ok=True),
    ]

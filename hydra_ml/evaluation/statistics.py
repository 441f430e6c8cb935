"""How sure a measured value or difference is: cluster bootstrap, paired comparison, McNemar's test, power.

The queries of one user depend on each other, so users are resampled, not queries. A resample is a row of weights over
units; all methods share the rows, which pairs them. Knows nothing of tasks, measures or methods.
Letters: Q queries, U units (users), M methods, C components of a measure, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
Aggregate = Callable[[FloatArray, FloatArray], FloatArray]  # totals [..., C], counts [...] -> values [...]

WEIGHTS_AT_ONCE = 4_000_000  # numbers of a block of resamples: 32 MB
ROUNDING = 1e-12  # a matrix product may sum equal columns in different orders; equal methods must still tie


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; the ends are NaN where fewer than two units leave nothing to resample."""

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Difference:
    """A difference between two methods on the same queries, first less second."""

    difference: float
    ci_low: float
    ci_high: float
    p: float  # two-sided; never below 2 / (R + 1)
    standard_error: float


@dataclass(frozen=True)
class Resampled:
    """One measure of M methods on the same queries: exact values [M], and the same under R resamples [R, M]."""

    values: FloatArray
    resamples: FloatArray


def resample(
    components: FloatArray, units: NDArray[np.int64], aggregate: Aggregate, *, resamples: int, rng: np.random.Generator
) -> Resampled:
    """The measure of every method, on the queries as they are and with units drawn anew, with replacement, R times.

    components: [Q, M, C] per-query parts; units: [Q], codes 0..U-1, every code in use (user codes for a cluster
    bootstrap, `np.arange(Q)` to resample queries). A query weighs what its unit weighs, so a value is a ratio of
    weighted totals to weighted counts, and users with more queries count for more, as in the official measures. The
    same generator state gives every call the same draws.
    """
    n_units = int(units.max()) + 1
    order = np.argsort(units, kind="stable")
    counts = np.bincount(units, minlength=n_units).astype(np.float64)  # [U]
    starts = np.concatenate([[0], np.cumsum(counts[:-1])]).astype(np.int64)
    totals = np.add.reduceat(components[order], starts, axis=0)  # [Q, M, C] -> [U, M, C]
    values = aggregate(totals.sum(axis=0), counts.sum())

    flat = totals.reshape(n_units, -1)  # [U, M * C]
    drawn = np.empty((resamples, totals.shape[1]), dtype=np.float64)
    block = max(1, WEIGHTS_AT_ONCE // n_units)
    for start in range(0, resamples, block):
        weights = unit_weights(n_units, min(block, resamples - start), rng)  # [block, U]
        weighted = (weights @ flat).reshape(len(weights), *totals.shape[1:])  # [block, M, C]
        drawn[start : start + len(weights)] = aggregate(weighted, (weights @ counts)[:, None])
    if n_units < 2:
        drawn[:] = math.nan
    return Resampled(values=values, resamples=drawn)


def unit_weights(n_units: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """[R, U]: how often each unit was drawn in each resample; a multinomial, drawn the fast way."""
    draws = rng.integers(n_units, size=(resamples, n_units))
    draws += np.arange(resamples)[:, None] * n_units  # row r counts in cells r * U .. r * U + U - 1
    return np.bincount(draws.ravel(), minlength=resamples * n_units).reshape(resamples, n_units).astype(np.float64)


def bootstrap_interval(resampled: Resampled, method: int) -> Estimate:
    """The method's value with its 95 % percentile interval; too narrow where there are few units (under about 20)."""
    low, high = _percentiles(resampled.resamples[:, method])
    return Estimate(value=float(resampled.values[method]), ci_low=low, ci_high=high)


def paired_difference(resampled: Resampled, first: int, second: int) -> Difference:
    """First method less second, paired by sharing every resample, with a two-sided bootstrap p value.

    p is twice the smaller share of resamples on either side of zero, zero included on both sides and the observed
    data counted as one resample more; methods with equal answers get 0 and p = 1. NaN throughout, except for the
    difference, where fewer than two units leave nothing to resample.
    """
    drawn = resampled.resamples[:, first] - resampled.resamples[:, second]  # [R]
    drawn[np.abs(drawn) < ROUNDING] = 0.0
    low, high = _percentiles(drawn)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1)) if not math.isnan(low) else math.nan
    return Difference(
        difference=float(resampled.values[first] - resampled.values[second]),
        ci_low=low,
        ci_high=high,
        p=p,
        standard_error=float(drawn.std(ddof=1)),
    )


def _percentiles(drawn: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def mean_of(totals: FloatArray, counts: FloatArray) -> FloatArray:
    """The Aggregate of a plain mean: the total of the first component by the count."""
    mean: FloatArray = totals[..., 0] / counts
    return mean


def ratio_of(totals: FloatArray, counts: FloatArray) -> FloatArray:
    """The Aggregate of a mean over some of the rows: the total of the first component by that of the second, which
    counts those rows; NaN where there are none."""
    ratio: FloatArray = np.divide(
        totals[..., 0], totals[..., 1], out=np.full_like(totals[..., 0], math.nan), where=totals[..., 1] > 0
    )
    return ratio


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """The p values of one family of comparisons, adjusted for their number; in the order given, NaN where p is NaN.

    Below alpha: the comparison is found at a chance of alpha of even one false find in the family, however the
    comparisons depend on each other. NaN is no comparison and does not count. Source: Holm, A simple sequentially
    rejective multiple test procedure, 1979.
    """
    p = np.array(p_values, dtype=np.float64)
    adjusted = np.full_like(p, math.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in adjusted]


def mcnemar_exact(hits_a: NDArray[np.bool_], hits_b: NDArray[np.bool_]) -> float:
    """Two-sided p of McNemar's exact test: is either method right more often where only one of them is right?

    1.0 where they never disagree. Takes queries for independent, which several queries of one user are not; read it
    beside the cluster bootstrap.
    """
    only_a = int((hits_a & ~hits_b).sum())
    only_b = int((hits_b & ~hits_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def detectable_difference(standard_error: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true paired difference that a two-sided test at `alpha` finds with the given power.

    standard_error: of the paired difference, as observed; for n independent pairs sd / sqrt(n), for clustered ones
    `Difference.standard_error`. Normal approximation.
    """
    return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * standard_error)

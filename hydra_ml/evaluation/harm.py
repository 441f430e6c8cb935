"""Who fares badly: the users a method serves worst, and those and the questions it serves worse than a plain method.

Takes scores that are higher where better, whatever the measure. Knows nothing of tasks, methods' names or files.
Letters: N rows (users or questions), U users, M methods, R resamples.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hydra_ml.evaluation.statistics import (
    WEIGHTS_AT_ONCE,
    Estimate,
    FloatArray,
    Resampled,
    bootstrap_interval,
    mean_of,
    resample,
    unit_weights,
)

TIE = 1e-9  # scores that differ by less are equal
WORST_SHARE = 0.1  # the users whose mean is the "worst decile"
VERDICTS = ("worse", "equal", "better")


def n_worst(n_users: int) -> int:
    """How many users the worst decile holds: a tenth rounded up, one at least."""
    return max(1, math.ceil(WORST_SHARE * n_users))


def worst_decile(per_user: FloatArray, *, resamples: int, rng: np.random.Generator) -> list[Estimate]:
    """For each method the mean over its worst decile of users, from their scores [U, M]; every user counts the same.

    Each method has worst users of its own, as they are in each resample of users. The interval is a percentile one of
    an extreme of the sample: narrow where users are few.
    """
    n_users, n_methods = per_user.shape
    least = n_worst(n_users)
    order = np.argsort(per_user, axis=0, kind="stable")  # [U, M]
    drawn = np.empty((resamples, n_methods), dtype=np.float64)
    block = max(1, WEIGHTS_AT_ONCE // n_users)
    for start in range(0, resamples, block):
        weights = unit_weights(n_users, min(block, resamples - start), rng)  # [block, U]
        for method in range(n_methods):
            times = weights[:, order[:, method]]  # how often each was drawn, the worst first
            before = np.cumsum(times, axis=1) - times
            taken = np.clip(least - before, 0, times)  # how often each is among the worst `least` of the resample
            drawn[start : start + len(weights), method] = taken @ per_user[order[:, method], method] / least
    if n_users < 2:
        drawn[:] = math.nan
    values = np.take_along_axis(per_user, order[:least], axis=0).mean(axis=0)  # [least, M] -> [M]
    return [bootstrap_interval(Resampled(values, drawn), method) for method in range(n_methods)]


def verdict_shares(
    gaps: FloatArray, units: NDArray[np.int64], *, resamples: int, seed: int
) -> list[dict[str, Estimate]]:
    """For each method the share of rows that are worse, equal and better than under the method it is held against.

    gaps: [N, M], a row's score less its score under that method. units: [N], user codes; users are resampled.
    """
    holds = {"worse": gaps < -TIE, "equal": np.abs(gaps) <= TIE, "better": gaps > TIE}
    drawn = {
        verdict: resample(
            holds[verdict].astype(np.float64)[:, :, None],
            units,
            mean_of,
            resamples=resamples,
            rng=np.random.default_rng(seed),  # anew: the three shares move together
        )
        for verdict in VERDICTS
    }
    return [
        {verdict: bootstrap_interval(drawn[verdict], index) for verdict in VERDICTS} for index in range(gaps.shape[1])
    ]

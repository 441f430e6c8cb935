"""Whether a method's answer changes with the user at all, and what the change is worth.

The question is PerSEval's (Dasgupta et al., arXiv 2407.00453): a method that says the same to everybody personalizes
nothing, however good it is. This is not their measure: theirs sets how far several readers' summaries of one document
lie apart against how far those readers' own do, which needs several users' right answers to one question. LaMP has
one, so a question is answered once with its user's own part and once with a stranger's, and both are held against the
right answer. As they say of responsiveness: needed for personalization, not enough for it; hence the gain beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hydra_ml.evaluation.statistics import Estimate, FloatArray, bootstrap_interval, mean_of, ratio_of, resample


@dataclass(frozen=True)
class Responsiveness:
    """How one method's answers differ from its control's, where a stranger's part stood for the user's own."""

    changed: Estimate  # share of questions answered differently
    gain: Estimate  # mean over these of own score less the stranger's, above 0 where better; NaN where none changed
    n_changed: int
    n: int


def responsiveness(
    own: Sequence[str | None],
    strangers: Sequence[str | None],
    gaps: FloatArray,
    users: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> Responsiveness:
    """Answers to the same Q questions, at least one, under the user's own part and under a stranger's.

    gaps: [Q], the own answer's score less the stranger's, higher is better; users: [Q] user codes, which are resampled.
    """
    changed = np.array([a != b for a, b in zip(own, strangers, strict=True)], dtype=np.float64)
    parts = np.stack([gaps * changed, changed], axis=1)[:, None, :]  # [Q, 1, 2]
    share, gain = (
        bootstrap_interval(resample(rows, users, rule, resamples=resamples, rng=np.random.default_rng(seed)), 0)
        for rows, rule in ((parts[:, :, 1:], mean_of), (parts, ratio_of))
    )
    return Responsiveness(share, gain, int(changed.sum()), len(changed))

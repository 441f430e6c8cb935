"""hydra_auto: HYDRA, or the rival that the training rows favour on this task. Ours, after AutoML's model choice.

Judged on new users' training queries, which HYDRA's base has not learned from: HYDRA by its cross-fitted scores, each
rival fitted on everything but half of those queries and judged on that half. HYDRA stays unless a rival earns more
reward by more than one standard error, users being drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hydra_ml.evaluation.rival import Choose, Fit, rival
from hydra_ml.evaluation.rival_pool import Lesson
from hydra_ml.evaluation.rivals import low_rank_head, pool_ranker, pref, user_clusters

CONSIDERED: Mapping[str, Fit] = {
    "low_rank_head": low_rank_head.fit,
    "pref": pref.fit,
    "user_clusters": user_clusters.fit,
    "pool_ranker": pool_ranker.fit,
}
HALVES = 2


def rewards_of(lesson: Lesson, scores: np.ndarray) -> np.ndarray:
    """What the row with the highest score is worth in each query, float64 [Q]; scores [N]."""
    order = np.lexsort((-scores, lesson.query))
    first = np.flatnonzero(np.diff(lesson.query, prepend=-1))  # rows of a query stand together
    found: np.ndarray = lesson.rewards[order[first]].astype(np.float64)
    return found


def favoured(gains: Mapping[str, np.ndarray], user_ids: np.ndarray) -> str | None:
    """The one whose mean gain [Q] is largest, if it exceeds its standard error over users; else None."""
    users, owner = np.unique(user_ids, return_inverse=True)
    best, largest = None, 0.0
    for name, gain in gains.items():
        apart = np.bincount(owner, gain - gain.mean(), len(users))
        error = float(np.sqrt((apart**2).sum())) / max(1, len(gain))
        if gain.mean() > max(largest, error):
            best, largest = name, float(gain.mean())
    return best


def fit(lesson: Lesson, seed: int, considered: Mapping[str, Fit] = CONSIDERED) -> Choose:
    """Whichever is favoured, learned from everything."""
    judged = ~lesson.is_known & ~np.isnan(unseen_sums(lesson))
    if not judged.any():
        return lambda pool: pool.personal
    place = np.cumsum(judged) % HALVES  # a user's queries stand together: every user has some in each half
    own = rewards_of(lesson, lesson.unseen)
    gains = {}
    for name, learn in considered.items():
        reward = own.copy()
        for half in range(HALVES):
            apart = judged & (place == half)
            choose = learn(lesson.take(~apart), seed)
            part = lesson.take(apart)
            reward[apart] = rewards_of(part, choose(part))
        gains[name] = (reward - own)[judged]
    ahead = favoured(gains, lesson.user_ids[judged])
    return (lambda pool: pool.personal) if ahead is None else considered[ahead](lesson, seed)


def unseen_sums(lesson: Lesson) -> np.ndarray:
    """Of each query, the sum of HYDRA's unseen scores, [Q]; nan where one is missing."""
    sums: np.ndarray = np.bincount(lesson.query, lesson.unseen, len(lesson.user_ids))
    return sums


METHOD = replace(
    rival(
        "hydra_auto",
        fit,
        "hydra, or the rival that training rows favour on this task, chosen by cross-fitting",
        paper="ours",
        has_control=False,
    ),
    family="hydra",  # no baseline that hydra is to beat
)

"""self_training: a tenth of each user's labels, the rest told by the model itself.

After work on personal jargon that needs a tenth of the labels: a teacher learned from those few names what the user
would choose in the other queries; where it is sure, its word is taken for the user's, and everything is learned anew.
Our form: a conditional logit over the evidence and the answers' main directions, shared weights and a head per user.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.model.fit_heads import HeadRows, fit_heads, fit_shared
from hydra_ml.model.heads import Heads, score_rows

LABELLED = 0.1  # share of a user's queries, at least one
SURE = 0.8  # the teacher's probability above which its word counts
DIRECTIONS = 16
SHARED_RIDGE, HEAD_RIDGE = 1.0, 10.0
Read = Callable[[Pool], np.ndarray]  # what the model reads of each row, float32 [N, F]


def labelled_queries(user_ids: np.ndarray, seed: int) -> np.ndarray:
    """Which queries keep their label, bool [Q]: LABELLED of each user's, drawn by seed, at least one."""
    random = np.random.default_rng(seed)
    kept = np.zeros(len(user_ids), dtype=bool)
    for user_id in np.unique(user_ids):
        own = np.flatnonzero(user_ids == user_id)
        kept[random.permutation(own)[: max(1, round(LABELLED * len(own)))]] = True
    return kept


def sure_targets(scores: np.ndarray, query: np.ndarray) -> np.ndarray:
    """1 on the row that softmax(scores) gives more than SURE in its query, else 0; float32 [N]."""
    highest = np.full(int(query.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(highest, query, scores)
    weight = np.exp(scores - highest[query])
    found: np.ndarray = (weight / np.bincount(query, weight)[query] > SURE).astype(np.float32)
    return found


def reader(lesson: Lesson) -> Read:
    """The evidence, and the answers along the DIRECTIONS in which those of the lesson differ most."""
    centre = lesson.said.mean(axis=0)
    directions = np.linalg.svd(lesson.said - centre, full_matrices=False)[2][:DIRECTIONS]  # [K, D]
    spread = (lesson.said - centre) @ directions.T
    scale = np.maximum(spread.std(axis=0), 1e-6)

    def read(pool: Pool) -> np.ndarray:
        along = (pool.said - centre) @ directions.T / scale  # [N, K]
        return np.concatenate([pool.evidence, along], axis=1, dtype=np.float32)

    return read


def learn(x: np.ndarray, lesson: Lesson, targets: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, Heads]:
    """Shared weights float32 [F], from known users' queries among `queries` (bool [Q]), and heads of everybody's."""
    rows = queries[lesson.query]
    known = rows & lesson.is_known[lesson.query]
    shared = fit_shared(x[known], targets[known], lesson.query[known], ridge=SHARED_RIDGE)
    head_rows = HeadRows(x, x @ shared, targets, lesson.query, lesson.owners).take(rows)
    prior = np.ones(len(shared), dtype=np.float32)
    return shared, fit_heads(head_rows, kind="residual", ridge=HEAD_RIDGE, theta_0=shared, prior=prior)


def fit(lesson: Lesson, seed: int) -> Choose:
    """Teacher, its words, and the model learned from both."""
    read = reader(lesson)
    x = read(lesson)
    labelled = labelled_queries(lesson.user_ids, seed)
    shared, heads = learn(x, lesson, lesson.targets, labelled)
    told = sure_targets(score_rows(heads, shared, x, heads.user_idx(lesson.owners)), lesson.query)
    targets = np.where(labelled[lesson.query], lesson.targets, told)
    is_told = np.bincount(lesson.query, targets, len(lesson.user_ids)) > 0
    shared, heads = learn(x, lesson, targets, is_told)

    def choose(pool: Pool) -> np.ndarray:
        return score_rows(heads, shared, read(pool), heads.user_idx(pool.owners))

    return choose


METHOD = rival(
    "self_training",
    fit,
    "heads learned from a tenth of the labels, and from what the model is sure of itself",
    paper="self-training on personal jargon",
)

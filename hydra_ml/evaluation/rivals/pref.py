"""pref (arXiv 2503.06358): a user is a few weights on shared preference features, found from about ten answers.

The paper's features start from an SVD of who preferred which answer and are then trained; a new user is asked next
where the posterior of the weights is least sure, by the largest v'Sv of a pair's difference v and their covariance S.
Here no two users have a query in common, so the SVD is of each user's mean difference of liked from likely candidates;
a question is one of the user's own training queries, of which at most ten are learned from, and tells its best answer.
"""

from __future__ import annotations

import numpy as np

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_heads import (
    Basis,
    choose_along,
    cross_fitted,
    head_inputs,
    own_heads,
    personal,
    principal,
    retrained,
)
from hydra_ml.evaluation.rival_pool import Lesson
from hydra_ml.model.heads import Heads

SIZES = (2, 4, 8)
RIDGES = (1.0, 3.0, 10.0)  # of the weights, each in units of its spread among known users
ANSWERS = 10  # that a user is asked for
STEPS = 250


def fit(lesson: Lesson, seed: int) -> Choose:
    """The features from known users, then everybody's weights."""
    inputs = head_inputs(lesson)

    def learn(taught: Lesson, size: int) -> Basis:
        x = inputs(taught)
        start = principal(mean_likings(x, taught), size)
        codes = own_heads(x @ start.directions.T, taught, ridge=10.0).table  # [U, K]
        return retrained(x, taught, start, codes, steps=STEPS, seed=seed)

    def finish(basis: Basis, own: Lesson, ridge: float) -> Choose:
        """The weights of the users, each from a few answers."""
        x = inputs(own) @ basis.directions.T
        asked = questions(x, own, basis, ridge, ANSWERS)
        heads = weights_from(x, own, basis, ridge, asked)
        return choose_along(basis, heads, inputs)

    size, ridge = cross_fitted(lesson, SIZES, RIDGES, learn, finish)
    return finish(learn(lesson.take(lesson.is_known), size), lesson, ridge)


def mean_likings(x: np.ndarray, lesson: Lesson) -> np.ndarray:
    """By how much what each user likes differs from what the shared score expects, mean over the user's queries,
    [U, F]: which way the user's weights go first."""
    p = probabilities(lesson.shared, lesson.query)
    owner = np.unique(lesson.owners, return_inverse=True)[1]
    total = np.zeros((int(owner.max(initial=-1)) + 1, x.shape[1]))
    np.add.at(total, owner, (lesson.targets - p)[:, None] * x)
    return total / np.maximum(np.unique(lesson.user_ids, return_counts=True)[1][:, None], 1)


def weights_from(x: np.ndarray, own: Lesson, basis: Basis, ridge: float, asked: np.ndarray) -> Heads:
    """The most probable weights of each user given the answers to the queries that were asked, bool [Q]."""
    told = x[asked[own.query]], own.take(asked)
    return own_heads(*told, ridge=ridge, prior=basis.variance, middle=basis.middle)


def questions(x: np.ndarray, own: Lesson, basis: Basis, ridge: float, n: int) -> np.ndarray:
    """Which queries are asked, bool [Q]: of each user one after another, the one with the pair of candidates that is
    least certain given the answers before. x [N, K]."""
    owner = np.unique(own.user_ids, return_inverse=True)[1]  # [Q]
    n_users, asked = int(owner.max(initial=-1)) + 1, np.zeros(len(owner), dtype=bool)
    place, is_row = table_of(own.query)  # [Q, C] each
    said = x[place]  # [N, K] -> [Q, C, K]
    for _ in range(n):
        if asked.all():
            break
        heads = weights_from(x, own, basis, ridge, asked)
        scores = own.shared + personal(heads.table, heads.user_idx(own.owners), x, rest=basis.middle)
        p = probabilities(scores, own.query)[place] * is_row  # [N] -> [Q, C]
        mean = np.einsum("qc,qck->qk", p, said)
        told = np.einsum("qc,qck,qcl->qkl", p, said, said) - mean[:, :, None] * mean[:, None, :]  # [Q, K, K]
        known = np.tile(np.diag(ridge / basis.variance.astype(np.float64)), (n_users, 1, 1))  # [U, K, K]
        np.add.at(known, owner[asked], told[asked])
        unsure = np.where(asked, -np.inf, widest(said, np.linalg.inv(known)[owner]))  # [U, K, K] -> [Q, K, K]
        order = np.lexsort((-unsure, owner))  # each user's least certain query first
        first = order[np.unique(owner[order], return_index=True)[1]]
        asked[first] = True  # of users with nothing left one that was asked before
    return asked


def widest(said: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The largest v'Sv of a query's pairs of candidates, v their difference, [Q]. said [Q, C, K], S [Q, K, K]."""
    like = np.einsum("qck,qkl,qdl->qcd", said, covariance, said, optimize=True)  # [Q, C, C]
    alone = np.einsum("qcc->qc", like)
    found: np.ndarray = (alone[:, :, None] + alone[:, None, :] - 2 * like).max(axis=(1, 2))
    return found


def table_of(query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of each query's rows, int64 [Q, C], the last one repeated where it has fewer, and which are real,
    bool [Q, C]. query int64 [N], ascending from 0."""
    counts = np.bincount(query)
    column = np.arange(counts.max(initial=0))
    return (np.cumsum(counts) - counts)[:, None] + np.minimum(column, counts[:, None] - 1), column < counts[:, None]


def probabilities(scores: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Softmax within each query, [N]."""
    highest = np.full(int(query.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(highest, query, scores)
    raised = np.exp(scores - highest[query])
    found: np.ndarray = raised / np.bincount(query, raised)[query]
    return found


METHOD = rival(
    "pref",
    fit,
    "a few weights a user on shared preference features, from ten answers where they are least sure",
    paper="arXiv 2503.06358",
)

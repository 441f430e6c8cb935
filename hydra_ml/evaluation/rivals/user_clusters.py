"""user_clusters (HLLM-Creator; MoF's CBS): users with alike histories are served alike.

HLLM-Creator clusters users by their embeddings and generates once for each cluster. Here k-means runs over the mean
vectors of users' histories, and each cluster has one head on HYDRA's features, fitted exactly on the queries of its
known users beside the shared score. Nothing is fitted per user: a query's history names its cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_heads import cross_fitted, head_inputs, personal
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.model.fit_heads import HeadRows, fit_heads

SIZES = (2, 3, 5, 10)
RIDGES = (1.0, 10.0, 100.0, 1000.0)
STARTS, ROUNDS = 8, 50  # of k-means: the best of so many, each of at most so many rounds


@dataclass(frozen=True)
class Clusters:
    """Centres float32 [K, 2 D] of clusters, and the queries of the known users who made them."""

    centres: np.ndarray
    taught: Lesson


def fit(lesson: Lesson, seed: int) -> Choose:
    """Clusters of known users' histories, and their heads."""
    inputs = head_inputs(lesson)

    def learn(taught: Lesson, size: int) -> Clusters:
        return Clusters(k_means(user_vectors(taught), size, seed), taught)

    def finish(clusters: Clusters, own: Lesson, ridge: float) -> Choose:
        """The heads of the clusters, exact."""
        taught = clusters.taught
        cluster = nearest(history_vectors(taught), clusters.centres)[taught.query]  # [N]
        rows = HeadRows(inputs(taught), taught.shared, taught.targets, taught.query, cluster.astype(str))
        alike = np.ones(rows.features.shape[1], dtype=np.float32)
        heads = fit_heads(rows, kind="residual", ridge=ridge, theta_0=np.zeros_like(alike), prior=alike)

        def choose(pool: Pool) -> np.ndarray:
            near = nearest(history_vectors(pool), clusters.centres)[pool.query].astype(str)  # [N]
            scores: np.ndarray = (pool.shared + personal(heads.table, heads.user_idx(near), inputs(pool))).astype(
                np.float32
            )
            return scores

        return choose

    size, ridge = cross_fitted(lesson, SIZES, RIDGES, learn, finish)
    return finish(learn(lesson.take(lesson.is_known), size), lesson, ridge)


def history_vectors(pool: Pool) -> np.ndarray:
    """Each query's history: the mean of what it answered beside the mean of what it was asked, each of unit length,
    float32 [Q, 2 D]; zeros without history."""
    parts = [mean_vectors(vectors, pool) for vectors in (pool.book.answers, pool.book.texts)]
    return np.concatenate(parts, axis=1)


def mean_vectors(vectors: np.ndarray, pool: Pool) -> np.ndarray:
    """The direction of the mean of each query's history in vectors [R, D], float32 [Q, D]."""
    none = np.zeros(vectors.shape[1], dtype=np.float32)
    means = np.array([vectors[seen].mean(axis=0) if len(seen) else none for seen in pool.history])
    means = means.reshape(-1, vectors.shape[1])  # [Q, D], no queries too
    found: np.ndarray = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return found.astype(np.float32)


def user_vectors(pool: Pool) -> np.ndarray:
    """The mean of each user's `history_vectors`, so that users count alike however many queries they have, [U, 2 D]."""
    vectors = history_vectors(pool)
    owner = np.unique(pool.user_ids, return_inverse=True)[1]
    total = np.zeros((int(owner.max(initial=-1)) + 1, vectors.shape[1]))
    np.add.at(total, owner, vectors)
    return (total / np.bincount(owner)[:, None]).astype(np.float32)


def k_means(points: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Centres float32 [K, D] of at most `size` clusters of points [U, D]: the best of several starts."""
    random = np.random.default_rng(seed)
    found: list[tuple[float, np.ndarray]] = []
    for _ in range(STARTS):
        centres = points[random.choice(len(points), min(size, len(points)), replace=False)]
        for _ in range(ROUNDS):
            of = nearest(points, centres)
            filled = np.unique(of)  # a cluster that nobody is in is given up
            moved = np.array([points[of == k].mean(axis=0) for k in filled])
            if moved.shape == centres.shape and np.allclose(moved, centres):
                break
            centres = moved
        found.append((float(((points - centres[nearest(points, centres)]) ** 2).sum()), centres))  # [U] -> [U, D]
    return min(found, key=lambda one: one[0])[1]


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre [K, D] of each point [U, D], int64 [U]."""
    found: np.ndarray = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
    return found


METHOD = rival(
    "user_clusters", fit, "one head for all users whose histories are alike", paper="HLLM-Creator; arXiv 2610.08330"
)

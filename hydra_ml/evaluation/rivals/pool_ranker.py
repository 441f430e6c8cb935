"""pool_ranker (arXiv 2609.35695): one small network over query, profile and candidate, shared by all users.

Learns the reward z-scored within the query's pool by squared error, which the paper's appendix B finds best. A user
enters through the profile's vector alone: nothing is fitted per user.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rival_training import standardised, train

WIDTH = 128
EPOCHS = 12


def profiles(pool: Pool) -> np.ndarray:
    """Mean vector of the answers that each query's user gave before, float32 [Q, D]; zeros without history."""
    dim = pool.book.answers.shape[1]
    means = [pool.book.answers[seen].mean(axis=0) if len(seen) else np.zeros(dim) for seen in pool.history]
    return np.array(means, dtype=np.float32).reshape(-1, dim)  # [Q, D]


def inputs(pool: Pool) -> np.ndarray:
    """What the network reads of each row, float32 [N, 5 D + E]: query, profile, candidate, and the candidate times
    each of them; then the evidence."""
    scale = pool.said.shape[1] ** 0.5  # entries of a unit vector are of size 1/sqrt(D)
    query, profile, said = pool.asked[pool.query], profiles(pool)[pool.query], pool.said  # [N, D] each
    parts = [query, profile, said, scale * query * said, scale * profile * said]
    return np.concatenate([*(scale * part for part in parts), pool.evidence], axis=1, dtype=np.float32)


def fit(lesson: Lesson, seed: int) -> Choose:
    """The ranker, learned from known users' queries."""
    known = lesson.take(lesson.is_known)
    x = torch.from_numpy(inputs(known))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(x.shape[1], WIDTH), nn.GELU(), nn.Dropout(0.1), nn.Linear(WIDTH, 1)
        )

    def squared(scores: torch.Tensor, reward: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return ((scores - reward) ** 2).mean()

    train(
        network,
        lambda rows: network(x[rows])[:, 0],
        standardised(known.rewards, known.query),
        known.query,
        epochs=EPOCHS,
        seed=seed,
        learning_rate=1e-3,
        loss=squared,
    )

    def choose(pool: Pool) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = network(torch.from_numpy(inputs(pool)))[:, 0].numpy()
        return scores

    return choose


METHOD = rival(
    "pool_ranker", fit, "one network over query, profile and candidate, shared by all users", paper="arXiv 2609.35695"
)

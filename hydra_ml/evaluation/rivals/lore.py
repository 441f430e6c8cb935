"""lore (arXiv 2504.14439): a user's reward is a mixture of at most ten rewards that all users share.

The paper learns the base rewards on a frozen reward model's embedding and, for a new user, the softmax weights alone.
Here HYDRA's frozen features are the embedding and its shared score is where every base reward starts; weights are
pulled to those of the average known user, which the paper's few comparisons need not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_heads import cross_fitted, head_inputs, learn_factors, personal
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rival_training import choice_loss

SIZES = ((2, 1.0), (5, 1.0), (10, 1.0), (10, 100.0))  # K, and the ridge of what they learn
PULLS = (1.0, 10.0)  # of a user's logits to the average known user's, against the sum over the user's queries
STEPS, WEIGHT_STEPS = 300, 60
START = 0.05  # spread of the base rewards' first numbers


@dataclass(frozen=True)
class Rewards:
    """What each base reward adds to the shared score, float32 [K, F], and the average known user's logits [K]."""

    basis: np.ndarray
    average: np.ndarray


def fit(lesson: Lesson, seed: int) -> Choose:
    """Base rewards from known users, then everybody's weights."""
    inputs = head_inputs(lesson)

    def learn(taught: Lesson, size: tuple[int, float]) -> Rewards:
        """Base rewards and known users' weights together, from small random starts."""
        (n_rewards, ridge), random, x = size, np.random.default_rng(seed), inputs(taught)
        basis = START * random.normal(size=(n_rewards, x.shape[1]))
        logits = 0.5 * random.normal(size=(len(set(taught.user_ids.tolist())), n_rewards))  # all alike would stay alike
        softmax = partial(torch.softmax, dim=1)
        factors = learn_factors(x, taught, basis, logits, steps=STEPS, seed=seed, ridge=ridge, weights=softmax)
        return Rewards(factors.basis.detach().numpy(), factors.codes.detach().numpy().mean(axis=0))

    def finish(rewards: Rewards, own: Lesson, pull: float) -> Choose:
        """The users' own weights on them."""
        users, owner = np.unique(own.owners, return_inverse=True)
        base = inputs(own) @ rewards.basis.T  # [N, K]
        weights = user_weights(base, own, owner, rewards.average, pull)
        place = {user_id: i for i, user_id in enumerate(users.tolist())}

        def choose(pool: Pool) -> np.ndarray:
            mine = np.array([place.get(user_id, -1) for user_id in pool.owners.tolist()], dtype=np.int64)
            said = personal(weights, mine, inputs(pool) @ rewards.basis.T, rest=softmax_rows(rewards.average[None])[0])
            scores: np.ndarray = (pool.shared + said).astype(np.float32)
            return scores

        return choose

    size, pull = cross_fitted(lesson, SIZES, PULLS, learn, finish)
    return finish(learn(lesson.take(lesson.is_known), size), lesson, pull)


def user_weights(base: np.ndarray, own: Lesson, owner: np.ndarray, average: np.ndarray, pull: float) -> np.ndarray:
    """Each user's weights float32 [U, K], which add up to 1: those under which the user's own queries lose least, by
    Adam. base [N, K], owner int64 [N]; average [K], where the logits start and are pulled to."""
    rows, offset, targets = (torch.from_numpy(np.array(v)) for v in (base, own.shared, own.targets))
    query, of = torch.from_numpy(own.query), torch.from_numpy(owner)
    n_users, n_queries = int(owner.max(initial=-1)) + 1, len(own.user_ids)
    moved = torch.zeros(n_users, len(average), requires_grad=True)
    optimizer = torch.optim.Adam([moved], lr=0.1)
    for _ in range(WEIGHT_STEPS if n_users else 0):
        weights = torch.softmax(torch.from_numpy(average) + moved, dim=1)
        scores = offset + (rows * weights[of]).sum(dim=1)  # [N] -> [N, K]
        loss = n_queries * choice_loss(scores, targets, query) + 0.5 * pull * (moved**2).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return softmax_rows(average + moved.detach().numpy())


def softmax_rows(logits: np.ndarray) -> np.ndarray:
    """Softmax along the last axis of [U, K]."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found


METHOD = rival(
    "lore", fit, "a user's own weights over at most ten rewards that all users share", paper="arXiv 2504.14439"
)

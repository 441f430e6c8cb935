"""rspg (arXiv 2404.05970, RSPG-Post): which prompt's answer to keep, the one without any record among them.

Every arm answers once; a shared model scores each answer beside the query and learns, by KL, the softmax of what the
arms' answers were worth. The paper reads query and answer with a tuned encoder; ours is a small network over the frozen
encoder's vectors, HYDRA's evidence and which arms gave the answer. A user enters through the records alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hydra_ml.answering.arms import RAG_K1, RAG_K4, RECENCY, ZERO_SHOT
from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rival_training import choice_loss, train

ARMS = (ZERO_SHOT, RECENCY, RAG_K1, RAG_K4)
SAME = 1e-6  # squared distance below which two vectors are of one text
WIDTH = 32
EPOCHS = 20
NOT_SAID = -1e9  # the score of a label that no arm answered


def said_by(pool: Pool) -> np.ndarray:
    """Which of ARMS gave each row's answer, float32 [N, arms]."""
    nothing = np.zeros_like(pool.asked)
    of_arm = [pool.greedy.get(arm.name, nothing)[pool.query] for arm in ARMS]  # [N, D] each
    return np.stack([((vectors - pool.said) ** 2).sum(axis=1) < SAME for vectors in of_arm], axis=1).astype(np.float32)


def inputs(pool: Pool) -> np.ndarray:
    """What the network reads of each row, float32 [N, D + arms + E]."""
    scale = pool.said.shape[1] ** 0.5  # entries of a unit vector are of size 1/sqrt(D)
    product = scale * pool.asked[pool.query] * pool.said  # [N, D]
    return np.concatenate([product, said_by(pool), pool.evidence], axis=1, dtype=np.float32)


def arm_goal(rewards: np.ndarray, said: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The softmax of the rewards over a query's arms, float32 [N]: an answer that several arms gave has the share of
    each of them. rewards [N], said bool [N] (rows that an arm gave), query [N]."""
    weight = np.where(said.any(axis=1), np.exp(rewards) * said.sum(axis=1), 0.0)
    total = np.bincount(query, weight)[query]
    goal: np.ndarray = (weight / np.maximum(total, 1e-12)).astype(np.float32)
    return goal


def fit(lesson: Lesson, seed: int) -> Choose:
    """The selector, learned from known users' queries."""
    known = lesson.take(lesson.is_known)
    x = torch.from_numpy(inputs(known))
    n_linear = len(ARMS) + known.evidence.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Dropout(0.2), nn.Linear(x.shape[1], WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
        linear = nn.Linear(n_linear, 1, bias=False)  # what the arms and the evidence say by themselves
    model = nn.ModuleList([network, linear])

    def scored(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The score of each row, and how many arms gave it."""
        n_arms = x[:, -n_linear:][:, : len(ARMS)].sum(dim=1)
        total: torch.Tensor = (network(x) + linear(x[:, -n_linear:]))[:, 0]
        return torch.where(n_arms > 0, total, torch.tensor(NOT_SAID)), n_arms

    def of_arms(rows: np.ndarray) -> torch.Tensor:
        scores, n_arms = scored(x[rows])
        return scores + torch.log(n_arms.clamp(min=1))  # a softmax over arms: an answer of two counts twice

    goal = arm_goal(known.rewards, said_by(known) > 0, known.query)
    train(model, of_arms, goal, known.query, epochs=EPOCHS, seed=seed, loss=choice_loss)

    def choose(pool: Pool) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = scored(torch.from_numpy(inputs(pool)))[0].numpy()
        return scores

    return choose


METHOD = rival(
    "rspg",
    fit,
    "which of four prompts' answers to keep, none personal among them",
    paper="arXiv 2404.05970",
    arms=ARMS,
    is_choice=False,
    taught=ARMS,
    has_control=False,
)

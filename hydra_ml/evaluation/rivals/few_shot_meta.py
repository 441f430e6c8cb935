"""few_shot_meta (FSPO, arXiv 2502.19312): a head predicted from a user's few labelled preferences by a set network.

The paper meta-learns a reward that reads some labelled preferences of a user in its context. Ours reads them as a set:
each is a question, and how what the user preferred there differs from what the evidence would have chosen; a small set
network makes a head of them, and nothing is fitted to a new user. Every known user's query is asked under some of that
user's other ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_network import (
    WIDTH,
    Recipe,
    SharedScore,
    Tensors,
    choose_by,
    evidence_weights,
    fit_network,
    masked_softmax,
    queries_of,
    tensors_of,
)
from hydra_ml.evaluation.rival_pool import Lesson, Pool

PLAIN = 30.0
SHARPNESS = 3.0  # of the attention to preferences in like questions, at first


@dataclass(frozen=True)
class Shots:
    """A pool's tensors, and which labelled preferences each of its queries is shown. T training queries, K shots."""

    given: Tensors
    shown: torch.Tensor  # int64 [Q, K], positions among training queries; padded with 0
    is_shown: torch.Tensor  # bool [Q, K]
    asked: torch.Tensor  # [T, D]
    surplus: torch.Tensor  # [T, D + S], the mean of what was preferred less that of what the evidence would choose


def surpluses(lesson: Lesson, said: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_i (t_i - p_i) said_i of each query, float32 [Q, D']: p is softmax(evidence . weights) within the query; said
    [N, D']. It is the gradient that a linear head on `said` would follow first."""
    scores = lesson.evidence @ weights
    n = len(lesson.user_ids)
    highest = np.full(n, -np.inf)
    np.maximum.at(highest, lesson.query, scores)
    mass = np.exp(scores - highest[lesson.query])
    p = mass / np.bincount(lesson.query, mass, minlength=n)[lesson.query]
    found = np.zeros((n, said.shape[1]), dtype=np.float64)
    np.add.at(found, lesson.query, (lesson.targets - p)[:, None] * said)  # [N, D'] summed into [Q, D']
    return found.astype(np.float32)


def shots_of(pool: Pool, lesson: Lesson, weights: np.ndarray) -> Shots:
    """The preferences of each query's user among the training queries, itself left out where the pool is the lesson."""
    own: dict[str, list[int]] = {}
    for position, user_id in enumerate(lesson.user_ids.tolist()):
        own.setdefault(user_id, []).append(position)
    itself = np.arange(len(pool.user_ids)) if pool is lesson else np.full(len(pool.user_ids), -1)
    shown = [[i for i in own.get(user, []) if i != me] for user, me in zip(pool.user_ids.tolist(), itself, strict=True)]
    n_most = max(map(len, shown), default=0) or 1
    table, is_shown = np.zeros((len(shown), n_most), dtype=np.int64), np.zeros((len(shown), n_most), dtype=bool)
    for i, positions in enumerate(shown):
        table[i, : len(positions)], is_shown[i, : len(positions)] = positions, True
    surplus = surpluses(lesson, tensors_of(lesson, newest=1).said.numpy(), weights)
    parts = (table, is_shown, lesson.asked, surplus)
    return Shots(tensors_of(pool, newest=1), *(torch.from_numpy(part) for part in parts))


class FewShotMeta(nn.Module):
    """The shared score, and a head on z that a user's preferences predict."""

    def __init__(self, dim: int, surface: int, weights: np.ndarray) -> None:
        super().__init__()
        self.shared = SharedScore(dim, weights)
        self.deep = nn.Sequential(nn.Linear(2 * dim + surface, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.sharpness = nn.Parameter(torch.tensor(1.0))  # in units of SHARPNESS
        self.doubt = nn.Parameter(torch.tensor(1.0))  # log: how many preferences weigh as much as none
        self.strength = nn.Parameter(torch.zeros(WIDTH))
        self.plain = nn.Parameter(torch.tensor(0.0))  # in units of PLAIN: what the surplus itself counts as a head

    def heads(self, shots: Shots, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The head on z [b, WIDTH] and the one on candidates' vectors [b, D] predicted for each of these queries; zeros
        without a preference."""
        shown, mask = shots.shown[queries], shots.is_shown[queries]  # [b, K]
        if self.training:  # any number of shots: a user's share of them is drawn, then which
            mask = mask & (torch.rand(mask.shape) < torch.rand(len(mask), 1).sqrt())
        scale, dim = shots.given.dim**0.5, shots.given.dim
        asked, surplus = shots.asked[shown], shots.surplus[shown]  # gathers [b, K, D], [b, K, D + S]
        likeness = (asked @ shots.given.asked[queries, :dim, None])[..., 0]  # [b, K]
        n = mask.sum(dim=1, keepdim=True)
        weights = masked_softmax(SHARPNESS * self.sharpness * likeness, mask) * n / (n + torch.exp(self.doubt))
        each = self.deep(torch.cat([scale * asked, scale * surplus[..., :dim], surplus[..., dim:]], dim=-1))
        return (weights[:, None] @ each)[:, 0], (weights[:, None] @ surplus[..., :dim])[:, 0]

    def forward(self, shots: Shots, rows: torch.Tensor) -> torch.Tensor:
        """Scores [B] of these rows."""
        shared, z = self.shared(shots.given, rows)
        queries, own = queries_of(shots.given, rows)
        head, plain = self.heads(shots, queries)
        alike = (plain[own] * shots.given.said[rows, : shots.given.dim]).sum(dim=1)  # gather [B, D]
        total: torch.Tensor = shared + (z * head[own]) @ self.strength + PLAIN * self.plain * alike
        return total


def fit(lesson: Lesson, seed: int) -> Choose:
    """The network, learned from known users' queries; new users bring their preferences alone."""
    weights = evidence_weights(lesson.take(lesson.is_known))

    def make(taught: Lesson) -> nn.Module:
        given = tensors_of(taught, newest=1)
        return FewShotMeta(given.dim, given.said.shape[1] - given.dim, evidence_weights(taught))

    network = fit_network(Recipe(lambda taught: shots_of(taught, taught, weights), make, seed), lesson)
    return choose_by(network, lambda pool: shots_of(pool, lesson, weights))


METHOD = rival(
    "few_shot_meta",
    fit,
    "a head predicted from a user's labelled preferences by a set network",
    paper="arXiv 2502.19312",
)

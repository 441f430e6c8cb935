"""persona_plug (PPlug, arXiv 2409.11901): one user vector out of the whole history, attended to by the question.

The paper trains an input encoder (records stay frozen) and a projection; the vector goes into the generator's input.
With a generator nobody can reach into, it joins the scorer of candidates instead: a linear head reads [z ; z * P], with
P = sum_i softmax_i(x . h_i) Proj(h_i); P alone is the same for all of a query's candidates. Nothing is fitted per user.
"""

from __future__ import annotations

from functools import partial

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
from hydra_ml.evaluation.rival_pool import Lesson

NEWEST = 256  # the paper takes the whole history
RANK = 32  # of what the trained input encoder adds to the frozen one
SHARPNESS = 10.0  # of the attention at first: cosines are of unit vectors, where the paper's are of long ones


class PersonaPlug(nn.Module):
    """The shared score, and what the user's vector adds to it."""

    def __init__(self, dim: int, weights: np.ndarray) -> None:
        super().__init__()
        self.shared = SharedScore(dim, weights)
        self.narrow, self.widen = nn.Linear(dim, RANK, bias=False), nn.Linear(RANK, dim, bias=False)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self.project = nn.Sequential(nn.Linear(2 * dim, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.likes = nn.Linear(dim, WIDTH, bias=False)
        self.agrees = nn.Parameter(torch.zeros(WIDTH))
        with torch.no_grad():
            self.widen.weight.zero_()
            alone = self.shared.base.alone_b.weight[:, :dim]  # [WIDTH / 2, D], so that z and P are alike from the start
            self.likes.weight.zero_()[WIDTH - len(alone) :] = alone

    def vectors(self, given: Tensors, queries: torch.Tensor) -> torch.Tensor:
        """P of these queries, [b, WIDTH]; zeros without history."""
        seen, dim, scale = given.seen[queries], given.dim, given.dim**0.5
        texts, answers = given.texts[seen], given.answers[seen]  # gathers [b, M, D] each
        asked = given.asked[queries, :dim]
        asked = asked + self.widen(self.narrow(asked))
        key = nn.functional.normalize(texts + answers, dim=-1)
        weights = masked_softmax(self.sharpness * (key @ asked[:, :, None])[..., 0], given.is_seen[queries])  # [b, M]
        mean = (weights[:, None] @ torch.cat([texts, answers], dim=-1))[:, 0]  # for the linear part: [b, 2 D]
        rest = (weights[:, None] @ self.project(scale * torch.cat([texts, answers], dim=-1)))[:, 0]  # [b, WIDTH]
        found: torch.Tensor = self.likes(scale * mean[:, dim:]) + rest
        return found

    def forward(self, given: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Scores [B] of these rows."""
        shared, z = self.shared(given, rows)
        queries, own = queries_of(given, rows)
        person = self.vectors(given, queries)[own]  # [B, WIDTH]
        total: torch.Tensor = shared + (z * person) @ self.agrees
        return total


def fit(lesson: Lesson, seed: int) -> Choose:
    """The network, learned from known users' queries."""
    read = partial(tensors_of, newest=NEWEST)
    make = lambda taught: PersonaPlug(taught.asked.shape[1], evidence_weights(taught))  # noqa: E731
    network = fit_network(Recipe(read, make, seed), lesson)
    return choose_by(network, read)


METHOD = rival(
    "persona_plug", fit, "a user vector, attended to by the question, joined to the scorer", paper="arXiv 2409.11901"
)

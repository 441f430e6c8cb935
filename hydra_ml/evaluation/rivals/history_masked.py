"""history_masked (AW-MoE, arXiv 2306.05011): experts mixed by a gate that reads the history, part of it masked.

As in the paper, history goes to gate and experts alike; in the gate every record has a gate unit's say over the experts
and an activation unit's weight; each training query is also seen with records masked at random, as a user with few
would be, and a contrastive loss (InfoNCE) keeps both gates alike. What is ranked are candidates, not goods: records are
known by their texts' vectors, and the masked view is learned from too, so that cold users are served.
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

EXPERTS, HIDDEN, NEWEST = 4, 32, 64
TEMPERATURE, CONTRAST_SHARE = 0.5, 0.05
SHARPNESS = 5.0  # of the activation unit's likeness of question and record, at first


def contrast(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """InfoNCE of two views [b, K]: how unlikely each row of a picks its own row of b by cosine, its mean."""
    likeness = nn.functional.normalize(a, dim=1) @ nn.functional.normalize(b, dim=1).T / TEMPERATURE  # [b, b]
    return nn.functional.cross_entropy(likeness, torch.arange(len(a)))


class MaskedExperts(nn.Module):
    """The shared score, and the experts' as the gate mixes them."""

    def __init__(self, dim: int, weights: np.ndarray) -> None:
        super().__init__()
        self.shared = SharedScore(dim, weights)
        self.records = nn.Linear(2 * dim, WIDTH)  # a record's question and answer
        self.say = nn.Linear(WIDTH, EXPERTS)
        self.activation = nn.Linear(WIDTH, 1)
        self.sharpness = nn.Parameter(torch.tensor(1.0))  # in units of SHARPNESS
        self.start = nn.Parameter(torch.zeros(EXPERTS))  # the gate of a user without history
        self.first = nn.Linear(3 * WIDTH, EXPERTS * HIDDEN)
        self.second = nn.Parameter(torch.zeros(EXPERTS, HIDDEN))
        self.contrast = torch.zeros(())
        with torch.no_grad():  # records and candidates are seen alike from the start
            alone = self.shared.base.alone_b.weight[:, :dim]  # [WIDTH / 2, D]
            self.records.weight[WIDTH - len(alone) :].zero_()[:, dim:] = alone

    def gates(self, given: Tensors, queries: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gate's logits [b, EXPERTS] and the pooled history [b, WIDTH] of these queries; mask bool [b, M]."""
        seen, dim = given.seen[queries], given.dim
        texts, answers = given.texts[seen], given.answers[seen]  # gathers [b, M, D] each
        read = torch.tanh(self.records(dim**0.5 * torch.cat([texts, answers], dim=-1)))  # [b, M, WIDTH]
        likeness = (texts @ given.asked[queries, :dim, None])[..., 0]
        weights = masked_softmax(SHARPNESS * self.sharpness * likeness + self.activation(read)[..., 0], mask)
        logits = self.start + (weights[..., None] * self.say(read)).sum(dim=1)
        return logits, (weights[..., None] * read).sum(dim=1)

    def forward(self, given: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Scores [B] of these rows. In training half of the queries are scored by their masked view."""
        shared, z = self.shared(given, rows)
        queries, own = queries_of(given, rows)
        mask = given.is_seen[queries]
        logits, history = self.gates(given, queries, mask)
        if self.training:
            masked = mask & (torch.rand(mask.shape) < torch.rand(len(mask), 1))  # from none kept to all
            masked_logits, masked_history = self.gates(given, queries, masked)
            self.contrast = contrast(logits, masked_logits)
            is_masked = torch.rand(len(mask), 1) < 0.5
            logits = torch.where(is_masked, masked_logits, logits)
            history = torch.where(is_masked, masked_history, history)
        gate, person = torch.softmax(logits, dim=1)[own], history[own]  # [B, EXPERTS], [B, WIDTH]
        hidden = torch.tanh(self.first(torch.cat([z, person, z * person], dim=1))).view(-1, EXPERTS, HIDDEN)
        total: torch.Tensor = shared + (gate * (hidden * self.second).sum(dim=-1)).sum(dim=-1)
        return total


def fit(lesson: Lesson, seed: int) -> Choose:
    """The network, learned from known users' queries."""
    read = partial(tensors_of, newest=NEWEST)
    make = lambda taught: MaskedExperts(taught.asked.shape[1], evidence_weights(taught))  # noqa: E731
    penalty = lambda network: CONTRAST_SHARE * network.contrast  # noqa: E731
    return choose_by(fit_network(Recipe(read, make, seed, penalty=penalty), lesson), read)


METHOD = rival(
    "history_masked", fit, "experts mixed by a gate over history, trained with it masked", paper="arXiv 2306.05011"
)

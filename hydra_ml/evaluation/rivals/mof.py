"""mof (Mixture of Facets, arXiv 2610.08330): seven shared facet heads, mixed by a router that reads the history.

In the paper a fine-tuned encoder reads query and answer; ours starts from frozen vectors of both, so a small pair
network is learned in its place, for more epochs. The rest is as published: user vector by a Transformer over the newest
128 records, the question left out on purpose; sparse autoencoder; top-3 router; BCE + .5 of the autoencoder's loss.
Nothing is fitted per user.
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
    queries_of,
    tensors_of,
)
from hydra_ml.evaluation.rival_pool import Lesson

FACETS, TOP, NEWEST = 7, 3, 128
SPARSITY, SAE_SHARE = 8.6e-4, 0.5


class SparseAutoencoder(nn.Module):
    """A code twice as wide as what it codes, most of it zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode = nn.Linear(width, 2 * width)
        self.decode = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x [b, d] -> code [b, 2 d], and the loss: squared error, and SPARSITY times the code's size."""
        code = torch.relu(self.encode(x))
        error = ((self.decode(code) - x) ** 2).sum(dim=1) + SPARSITY * code.abs().sum(dim=1)
        return code, error.mean()


def routed(logits: torch.Tensor) -> torch.Tensor:
    """Weights [b, F] of the facets: softmax over the TOP highest logits, 0 for the others."""
    best, places = logits.topk(TOP, dim=-1)
    return torch.zeros_like(logits).scatter(-1, places, torch.softmax(best, dim=-1))


class MixtureOfFacets(nn.Module):
    """The shared score, and the facets' as the user's history mixes them."""

    def __init__(self, dim: int, weights: np.ndarray) -> None:
        super().__init__()
        self.shared = SharedScore(dim, weights)
        self.narrow = nn.Linear(2 * dim, WIDTH)  # a record's question and answer
        self.reader = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, 0.1, batch_first=True)
        self.sae = SparseAutoencoder(WIDTH)
        self.router = nn.Linear(2 * WIDTH, FACETS)
        self.first = nn.Linear(WIDTH, FACETS * WIDTH)
        self.second = nn.Parameter(0.02 * torch.randn(FACETS, WIDTH))  # apart, or the router has no gradient
        self.sae_loss = torch.zeros(())

    def users(self, given: Tensors, queries: torch.Tensor) -> torch.Tensor:
        """e' of these queries' users, [b, WIDTH]: the mean of what the Transformer makes of their records."""
        seen, mask = given.seen[queries], given.is_seen[queries].clone()
        records = torch.cat([given.texts[seen], given.answers[seen]], dim=-1) * given.dim**0.5  # gather [b, M, 2 D]
        there = mask[..., None].float()
        mask[:, 0] = True  # a user without records attends to padding, which counts for nothing in the mean
        read = self.reader(self.narrow(records), src_key_padding_mask=~mask)  # [b, M, WIDTH]
        found: torch.Tensor = (read * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return found

    def forward(self, given: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Scores [B] of these rows."""
        shared, z = self.shared(given, rows)
        queries, own = queries_of(given, rows)
        code, self.sae_loss = self.sae(self.users(given, queries))
        weights = routed(self.router(code))[own]  # [B, FACETS]
        hidden = torch.tanh(self.first(z)).view(-1, FACETS, WIDTH)  # [B, FACETS, WIDTH]
        total: torch.Tensor = shared + (weights * (hidden * self.second).sum(dim=-1)).sum(dim=-1)
        return total


def bce_loss(scores: torch.Tensor, targets: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each row by itself, summed in a query, its mean over queries: all [B]."""
    return nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="sum") / (int(query[-1]) + 1)


def fit(lesson: Lesson, seed: int) -> Choose:
    """The network, learned from known users' queries."""
    read = partial(tensors_of, newest=NEWEST)
    make = lambda taught: MixtureOfFacets(taught.asked.shape[1], evidence_weights(taught))  # noqa: E731
    penalty = lambda network: SAE_SHARE * network.sae_loss  # noqa: E731
    return choose_by(fit_network(Recipe(read, make, seed, bce_loss, penalty), lesson), read)


METHOD = rival("mof", fit, "seven shared facets, mixed by a router that reads the history", paper="arXiv 2610.08330")

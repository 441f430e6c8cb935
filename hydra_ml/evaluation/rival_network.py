"""What rivals that train a network of their own read of a pool, as tensors, and the pair network HYDRA's base has too.

A rival adds its personal part to `SharedScore`, which starts at the weights the evidence alone would get: none has to
learn again from few queries that votes count. Q queries, N rows, R records, M records a query sees, D encoder width,
S surface features, B rows of a batch, b queries of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rival_training import QUERIES_PER_BATCH, Loss, choice_loss, train
from hydra_ml.model.base import SURFACE_DIM, DualBase, surface_features
from hydra_ml.model.fit_heads import fit_shared

WIDTH, DROPOUT = 64, 0.1  # as of HYDRA's base
EVIDENCE_RIDGE = 1.0
EPOCHS, STEPS = 8, 160  # at most so many epochs; more where they would be fewer steps than these
LEARNING_RATE = 3e-3
Given = TypeVar("Given")  # what a network reads: Tensors, or more


@dataclass(frozen=True)
class Tensors:
    """A pool as tensors. Rows of vectors are unit vectors, followed by surface features where a base reads them."""

    query: torch.Tensor  # int64 [N]
    asked: torch.Tensor  # [Q, D + S], the surface of questions being 0: the base does not read it
    said: torch.Tensor  # [N, D + S]
    evidence: torch.Tensor  # [N, E]
    seen: torch.Tensor  # int64 [Q, M], the newest records of each query; padded with record 0
    is_seen: torch.Tensor  # bool [Q, M], false on padding
    texts: torch.Tensor  # [R, D], of records; a row of zeros where the book is empty
    answers: torch.Tensor  # [R, D]

    @property
    def dim(self) -> int:
        """D."""
        return self.texts.shape[1]


def tensors_of(pool: Pool, *, newest: int) -> Tensors:
    """The pool's tensors, with at most so many records a query, the newest."""
    seen = [positions[-newest:] for positions in pool.history]
    n_most = max(map(len, seen), default=0) or 1
    table, is_seen = np.zeros((len(seen), n_most), dtype=np.int64), np.zeros((len(seen), n_most), dtype=bool)
    for i, positions in enumerate(seen):
        table[i, : len(positions)], is_seen[i, : len(positions)] = positions, True
    dim = pool.asked.shape[1]
    nothing = np.zeros((1, dim), dtype=np.float32)
    texts, answers = (book if len(book) else nothing for book in (pool.book.texts, pool.book.answers))
    asked = np.concatenate([pool.asked, np.zeros((len(pool.asked), SURFACE_DIM), dtype=np.float32)], axis=1)
    said = np.concatenate([pool.said, surface_features(pool.answers.tolist())], axis=1)
    parts = (pool.query, asked, said, pool.evidence, table, is_seen, texts, answers)
    return Tensors(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


class SharedScore(nn.Module):
    """score = theta . [z, evidence], z [B, WIDTH] by HYDRA's own kind of base; theta starts at (0, the evidence's)."""

    def __init__(self, dim: int, evidence_weights: np.ndarray) -> None:
        super().__init__()
        self.base = DualBase(dim, WIDTH, DROPOUT)
        start = np.concatenate([np.zeros(WIDTH, dtype=np.float32), evidence_weights])
        self.theta = nn.Parameter(torch.from_numpy(start.astype(np.float32)))

    def forward(self, given: Tensors, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores [B] and z [B, WIDTH] of these rows."""
        z: torch.Tensor = self.base(given.asked[given.query[rows]], given.said[rows])  # gathers [B, D + S] each
        return torch.cat([z, given.evidence[rows]], dim=1) @ self.theta, z


def evidence_weights(lesson: Lesson) -> np.ndarray:
    """What each piece of evidence counts when nothing else is known, float32 [E]; zeros without rows."""
    if not len(lesson.query):
        return np.zeros(lesson.evidence.shape[1], dtype=np.float32)
    return fit_shared(lesson.evidence, lesson.targets, lesson.query, ridge=EVIDENCE_RIDGE)


def queries_of(given: Tensors, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The queries of these rows [b], each once, and each row's place among them [B]. A query's rows stand together."""
    queries, own = torch.unique_consecutive(given.query[rows], return_inverse=True)
    return queries, own


def masked_softmax(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis where the mask holds, 0 elsewhere; 0 throughout where it holds nowhere."""
    weights = torch.softmax(logits.masked_fill(~mask, -1e9), dim=-1)
    return weights * mask


@dataclass(frozen=True)
class Recipe(Generic[Given]):
    """How a network is learned. read: a lesson as the network reads it; make: a new network for a lesson, which maps
    what was read and rows [B] to scores [B]; penalty: what is added to each batch's loss."""

    read: Callable[[Lesson], Given]
    make: Callable[[Lesson], nn.Module]
    seed: int
    loss: Loss = choice_loss
    penalty: Callable[[nn.Module], torch.Tensor] | None = None

    def learned(self, lesson: Lesson, most: int, goes_on: Callable[[int, nn.Module], bool]) -> nn.Module:
        """A network after epochs of learning, at most so many, while goes_on(epochs done, network)."""
        given, penalty = self.read(lesson), self.penalty
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self.make(lesson).eval()
        if goes_on(0, network):
            train(
                network,
                lambda rows: network(given, torch.from_numpy(rows)),
                lesson.targets,
                lesson.query,
                epochs=most,
                seed=self.seed,
                learning_rate=LEARNING_RATE,
                loss=self.loss,
                penalty=None if penalty is None else lambda: penalty(network),
                after_epoch=lambda epoch: goes_on(epoch, network),
            )
        return network

    def held_back_losses(self, lesson: Lesson, watched: Lesson, most: int) -> np.ndarray:
        """The loss on a lesson of other users after 0, 1, .. `most` epochs, float64; inf beyond where it has long
        been rising."""
        given, losses = self.read(watched), list[float]()

        def goes_on(epoch: int, network: nn.Module) -> bool:
            with torch.inference_mode():
                scores = network(given, torch.arange(len(watched.query)))
            targets, query = torch.from_numpy(watched.targets), torch.from_numpy(watched.query)
            losses.append(float(choice_loss(scores, targets, query)))
            return epoch - int(np.argmin(losses)) < most // 2

        self.learned(lesson, most, goes_on)
        return np.array(losses + [np.inf] * (most + 1 - len(losses)))


def fit_network(recipe: Recipe[Given], lesson: Lesson) -> nn.Module:
    """A network learned from known users' queries, for as many epochs as serve users it has not seen: each half of the
    users is watched while the other is learned, as HYDRA's base is trained. None at all leaves it as it was made."""
    known = lesson.take(lesson.is_known)
    users = np.unique(known.user_ids)
    first = np.isin(known.user_ids, np.random.default_rng(recipe.seed).permutation(users)[: len(users) // 2])
    epochs = most = max(EPOCHS, -(-STEPS * QUERIES_PER_BATCH // max(len(known.user_ids), 1)))
    if len(users) > 1:
        halves = (known.take(first), known.take(~first))
        curves = [recipe.held_back_losses(a, b, most) * len(b.user_ids) for a, b in (halves, halves[::-1])]
        epochs = int(np.sum(curves, axis=0).argmin())
    return recipe.learned(known, most, lambda epoch, _: epoch < epochs)


def choose_by(network: nn.Module, read: Callable[[Pool], object]) -> Callable[[Pool], np.ndarray]:
    """The choice by a fitted network's scores."""

    def choose(pool: Pool) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = network(read(pool), torch.arange(len(pool.query))).numpy()
        return scores

    return choose

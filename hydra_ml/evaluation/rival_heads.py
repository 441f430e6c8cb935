"""What rivals with a personal part share: heads on what a candidate says, beside HYDRA's shared score; heads as few
numbers times a basis; and how large and how free they may be, judged on users that have taught nothing.

U users, N rows, F features, K rows of the basis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rival_training import QUERIES_PER_BATCH, train
from hydra_ml.model.fit_base import SMALLEST_SPREAD, choice_losses
from hydra_ml.model.fit_heads import HeadRows, fit_heads
from hydra_ml.model.heads import Heads

WIDTH = 32  # directions of a candidate's vector that heads read
FOLDS = 4  # of a judging user's queries: parts fitted on the others choose in each
APART = 3  # every third known user judges where nobody is new
Learned = TypeVar("Learned")
Size = TypeVar("Size")
Strength = TypeVar("Strength")


def head_inputs(lesson: Lesson) -> Callable[[Pool], np.ndarray]:
    """What heads read, float32 [N, F]: a candidate's vector along the leading directions of known users' candidates,
    the first of them of spread 1, then the evidence by its spread.

    Not HYDRA's trained features: its base was trained on the very rows that known users teach with, where it leaves
    less to learn than elsewhere, and what a rival learned on it there did worse on new users than the shared score."""
    known = lesson.is_known[lesson.query]
    said, spread = lesson.said[known], lesson.evidence[known].std(axis=0) + SMALLEST_SPREAD
    middle = said.mean(axis=0)
    _, sizes, directions = np.linalg.svd(said - middle, full_matrices=False)
    view = directions[:WIDTH].T * (len(said) ** 0.5 / sizes[0])  # [D, WIDTH]
    return lambda pool: np.concatenate([(pool.said - middle) @ view, pool.evidence / spread], axis=1, dtype=np.float32)


def own_heads(
    x: np.ndarray, lesson: Lesson, *, ridge: float, prior: np.ndarray | None = None, middle: np.ndarray | None = None
) -> Heads:
    """The exact head of every user on x [N, F], beside the shared score. prior [F]: how far each number may go; middle
    [F]: from where, zeros unless given."""
    nothing, alike = np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32)
    start = nothing if middle is None else middle
    rows = HeadRows(x, lesson.shared + x @ start, lesson.targets, lesson.query, lesson.owners)
    heads = fit_heads(rows, kind="residual", ridge=ridge, theta_0=nothing, prior=alike if prior is None else prior)
    return replace(heads, table=heads.table + start)


def personal(codes: np.ndarray, place: np.ndarray, x: np.ndarray, rest: np.ndarray | float = 0.0) -> np.ndarray:
    """What each row's own numbers say of it, [N]. codes [U, K], place int64 [N] with -1 for users without, who have
    `rest`; x [N, K]."""
    table = np.concatenate([codes, np.broadcast_to(np.asarray(rest, dtype=codes.dtype), (1, codes.shape[1]))])
    found: np.ndarray = (table[place] * x).sum(axis=1)  # [N] -> [N, K]; -1 is the last row, the rest's
    return found


class Factors(nn.Module):
    """Heads as weights(codes) times a basis, both learned from all of the users at once."""

    def __init__(self, basis: np.ndarray, codes: np.ndarray, weights: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.tensor(basis, dtype=torch.float32))  # [K, F]
        self.codes = nn.Parameter(torch.tensor(codes, dtype=torch.float32))  # [U, K]
        self.weights = weights

    def forward(self, x: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        """What is personal in the scores of rows x [B, F] of users int64 [B]: [B]."""
        scores: torch.Tensor = ((x @ self.basis.T) * self.weights(self.codes)[owner]).sum(dim=1)  # [B] -> [B, K]
        return scores


def learn_factors(
    x: np.ndarray,
    lesson: Lesson,
    basis: np.ndarray,
    codes: np.ndarray,
    *,
    steps: int,
    seed: int,
    ridge: float = 1.0,
    weights: Callable[[torch.Tensor], torch.Tensor] = lambda codes: codes,
) -> Factors:
    """Basis [K, F] and codes [U, K] of the lesson's users, sorted, from these starts. steps: about so many batches.
    ridge: of basis and codes, against the loss summed over all queries."""
    owner = torch.from_numpy(np.unique(lesson.owners, return_inverse=True)[1])  # int64 [N]
    rows_x, offset = torch.from_numpy(x), torch.from_numpy(lesson.shared)
    factors = Factors(basis, codes, weights)
    n_queries = max(1, len(lesson.user_ids))
    pull = 0.5 * ridge / n_queries
    train(
        factors,
        lambda rows: offset[rows] + factors(rows_x[rows], owner[rows]),
        lesson.targets,
        lesson.query,
        epochs=max(1, round(steps / -(-n_queries // QUERIES_PER_BATCH))),
        seed=seed,
        learning_rate=1e-2,
        weight_decay=0.0,
        penalty=lambda: pull * ((factors.basis**2).sum() + (factors.codes**2).sum()),
    )
    return factors


@dataclass(frozen=True)
class Basis:
    """Directions float32 [K, F] of unit length, and along each the known users' mean and variance, [K] each."""

    directions: np.ndarray
    middle: np.ndarray
    variance: np.ndarray


def principal(heads: np.ndarray, rank: int) -> Basis:
    """The directions in which heads [U, F] lie furthest from zero, at most `rank`: their singular vectors."""
    _, _, directions = np.linalg.svd(heads, full_matrices=False)
    codes = heads @ directions[:rank].T  # [U, K]
    found = directions[:rank], codes.mean(axis=0), np.maximum(codes.var(axis=0), 1e-6)
    return Basis(*(values.astype(np.float32) for values in found))


def retrained(x: np.ndarray, taught: Lesson, start: Basis, codes: np.ndarray, *, steps: int, seed: int) -> Basis:
    """The directions and the users' numbers along them, codes [U, K], trained together from this start, as the
    directions in which the heads that come of it lie."""
    factors = learn_factors(x, taught, start.directions, codes, steps=steps, seed=seed)
    return principal(factors.codes.detach().numpy() @ factors.basis.detach().numpy(), len(start.directions))


def choose_along(basis: Basis, heads: Heads, inputs: Callable[[Pool], np.ndarray]) -> Choose:
    """The choice by the shared score and each user's own numbers along the directions; users without have the mean."""

    def choose(pool: Pool) -> np.ndarray:
        x = inputs(pool) @ basis.directions.T  # [N, F] @ [F, K]
        said = personal(heads.table, heads.user_idx(pool.owners), x, rest=basis.middle)
        scores: np.ndarray = (pool.shared + said).astype(np.float32)
        return scores

    return choose


def cross_fitted(
    lesson: Lesson,
    sizes: Sequence[Size],
    strengths: Sequence[Strength],
    learn: Callable[[Lesson, Size], Learned],
    finish: Callable[[Learned, Lesson, Strength], Choose],
) -> tuple[Size, Strength]:
    """The size and strength that lose least on users who have taught nothing: on the new ones, whose rows HYDRA's base
    has not seen either; where nobody is new on a share of the known. Their own parts, by finish, come from the other
    folds of their queries. Of equals the first; the first ones where there is nothing to judge by."""
    judging = ~lesson.is_known
    if not judging.any():
        judging = np.unique(lesson.user_ids, return_inverse=True)[1] % APART == APART - 1
    if not judging.any() or judging.all():
        return sizes[0], strengths[0]
    taught, judges = lesson.take(~judging), lesson.take(judging)
    fold = _place_among_own(judges.user_ids) % FOLDS  # [Q]
    lost: dict[tuple[Size, Strength], float] = {}
    for size in sizes:
        learned = learn(taught, size)
        for strength in strengths:
            scores = np.empty(len(judges.query), dtype=np.float32)
            for k in np.unique(fold):
                choose = finish(learned, judges.take(fold != k), strength)
                scores[(fold == k)[judges.query]] = choose(judges.take(fold == k))
            lost[size, strength] = float(choice_losses(scores, judges.targets, judges.query)[1].mean())
    return min(product(sizes, strengths), key=lambda pair: lost[pair])


def _place_among_own(user_ids: np.ndarray) -> np.ndarray:
    """Each query's place among those of its user, int64 [Q]."""
    order = np.argsort(user_ids, kind="stable")
    counts = np.unique(user_ids, return_counts=True)[1]
    place = np.empty(len(user_ids), dtype=np.int64)
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place

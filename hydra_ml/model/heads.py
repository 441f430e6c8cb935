"""Heads: theta_0 shared by all users, and one residual delta_u per user that was fitted; theta_u = theta_0 + delta_u.

A head reads a row's features x: the base's z, then the evidence, so that "this user follows their history" can be as
personal as "this user likes such answers". A user without a residual gets exactly the shared head. Scores matter within
a query alone (conditional logit), so there is no bias. Two kinds, both a flat row of numbers so that one table, one
file format and one fitting interface serve both. U users, B rows, F features, P numbers a head.

    residual   s = w.x                              P = F               (default; 268 bytes at F = 64 + 3)
    mlp        s = w.x + w2.tanh(W1 x + b1)         P = F^2 + 3F        (the paper's dense head, arXiv 2406.02888)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Literal

import numpy as np
import torch

from hydra_ml.model.compiled import compiled

HeadKind = Literal["residual", "mlp"]
MLP_FLOATS_PER_CHUNK = 500_000  # bounds the memory of gathered heads


@dataclass(frozen=True)
class Heads:
    """The personal residuals of some users. `table` float32 [U, P], row i belongs to `user_ids[i]`."""

    kind: HeadKind
    width: int
    user_ids: tuple[str, ...]
    table: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(self.user_ids), n_parameters(self.kind, self.width))
        assert self.table.shape == expected, f"head table {self.table.shape}, expected {expected}"

    def user_idx(self, user_ids: np.ndarray) -> np.ndarray:
        """The table row of each user id, int64 [B]; -1 for a user without a head."""
        return np.fromiter(map(self._position.get, user_ids.tolist(), repeat(-1)), np.int64, len(user_ids))

    @cached_property
    def _position(self) -> dict[str, int]:
        """The table row of each user with a head; kept, so that later look-ups cost what their rows do."""
        return {user_id: i for i, user_id in enumerate(self.user_ids)}


def no_heads(kind: HeadKind, width: int) -> Heads:
    """The empty bank: everybody is served by the shared head."""
    return Heads(kind, width, (), np.zeros((0, n_parameters(kind, width)), dtype=np.float32))


def n_parameters(kind: HeadKind, width: int) -> int:
    """P, the numbers in one head over `width` features."""
    return width if kind == "residual" else width * width + 3 * width


def initial_head(kind: HeadKind, linear: np.ndarray, generator: torch.Generator) -> torch.Tensor:
    """A fresh theta_0 [P] whose linear part is given, float32 [F]; the rest of an `mlp` is uniform within 1/sqrt(F)."""
    width = len(linear)
    bound = 1.0 / float(width) ** 0.5
    dense = torch.empty(n_parameters(kind, width) - width).uniform_(-bound, bound, generator=generator)
    return torch.cat([torch.from_numpy(linear), dense])


def head_scores(kind: HeadKind, theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The score of each row under its own head. theta [..., P], x [..., F] -> [...]; leading dimensions broadcast."""
    width = x.shape[-1]
    linear = (theta[..., :width] * x).sum(dim=-1)
    if kind == "residual":
        return linear
    w1 = theta[..., width : -2 * width].reshape(*theta.shape[:-1], width, width)  # [..., F*F] -> [..., F, F]
    b1, w2 = theta[..., -2 * width : -width], theta[..., -width:]  # [..., F] each
    hidden = torch.tanh((w1 @ x.unsqueeze(-1)).squeeze(-1) + b1)  # [..., F]
    return linear + (w2 * hidden).sum(dim=-1)


def score_rows(heads: Heads, theta_0: np.ndarray, x: np.ndarray, user_idx: np.ndarray) -> np.ndarray:
    """Each row's score under its user's head, float32 [B]. x [B, F], user_idx [B] with -1 for the shared head.

    Cost follows the rows, not the users in the table; a row's score does not depend on the rows beside it.
    """
    scores = np.empty(len(x), dtype=np.float32)
    if heads.kind == "residual":
        # Machine code does not look where it reads.
        assert theta_0.shape == heads.table.shape[1:], f"shared head {theta_0.shape}, heads {heads.table.shape}"
        assert x.shape[1] == heads.width, f"features {x.shape}, heads of width {heads.width}"
        assert user_idx.shape == x.shape[:1], f"places {user_idx.shape}, features {x.shape}"
        assert user_idx.max(initial=-1) < len(heads.table), f"place {user_idx.max()} of {len(heads.table)} heads"
        _score_residual(heads.table, theta_0, np.ascontiguousarray(x), user_idx, scores)
        return scores
    shared = torch.from_numpy(theta_0)
    n_rows = max(1, MLP_FLOATS_PER_CHUNK // heads.table.shape[1])
    for start in range(0, len(x), n_rows):
        some = slice(start, start + n_rows)
        theta = shared + torch.from_numpy(_residuals(heads, user_idx[some]))  # [b, P]
        scores[some] = head_scores(heads.kind, theta, torch.from_numpy(x[some])).numpy()
    return scores


@compiled
def _score_residual(
    table: np.ndarray, theta_0: np.ndarray, x: np.ndarray, user_idx: np.ndarray, scores: np.ndarray
) -> None:
    """Fills scores float32 [B]; no head is copied."""
    for i in range(len(x)):
        u, total = user_idx[i], np.float32(0)
        if u < 0:
            for j in range(x.shape[1]):
                total += theta_0[j] * x[i, j]
        else:
            for j in range(x.shape[1]):
                total += (theta_0[j] + table[u, j]) * x[i, j]
        scores[i] = total


def _residuals(heads: Heads, user_idx: np.ndarray) -> np.ndarray:
    """Each row's residual [B, P]: zeros where there is no head."""
    if not len(heads.table):
        return np.zeros((len(user_idx), heads.table.shape[1]), dtype=np.float32)
    delta: np.ndarray = heads.table[np.maximum(user_idx, 0)]
    delta[user_idx < 0] = 0
    return delta


def merged_heads(present: Heads, fitted: Heads) -> Heads:
    """The present heads with the fitted ones in their place or beside them, sorted by user id."""
    head_of = dict(zip(present.user_ids, present.table, strict=True))
    head_of.update(zip(fitted.user_ids, fitted.table, strict=True))
    if not head_of:
        return present
    user_ids = sorted(head_of)
    return Heads(present.kind, present.width, tuple(user_ids), np.stack([head_of[user_id] for user_id in user_ids]))

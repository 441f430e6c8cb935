"""Heads: theta_0 shared by all users, and one residual delta_u per user that was fitted; theta_u = theta_0 + delta_u.

A user without a residual gets exactly the shared head. Two kinds, both a flat row of numbers so that one table, one
file format and one fitting interface serve both. U users, B rows, H = h, P numbers a head.

    residual   s = w.z + b                          P = h + 1           (default; 260 bytes at h = 64)
    mlp        s = w2.tanh(W1 z + b1) + b2          P = h^2 + 2h + 1    (the paper's dense head, arXiv 2406.02888)
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
    """P, the numbers in one head."""
    return width + 1 if kind == "residual" else width * width + 2 * width + 1


def initial_head(kind: HeadKind, width: int, generator: torch.Generator) -> torch.Tensor:
    """A fresh theta_0 [P]: zero for `residual`; for `mlp` uniform within 1/sqrt(fan-in) per layer, biases included."""
    if kind == "residual":
        return torch.zeros(width + 1)
    bound = 1.0 / float(width) ** 0.5
    return torch.empty(n_parameters(kind, width)).uniform_(-bound, bound, generator=generator)


def head_logits(kind: HeadKind, theta: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The logit of each row under its own head. theta [..., P], z [..., H] -> [...]; leading dimensions broadcast."""
    width = z.shape[-1]
    if kind == "residual":
        return (theta[..., :width] * z).sum(dim=-1) + theta[..., width]
    w1 = theta[..., : width * width].reshape(*theta.shape[:-1], width, width)  # [..., H*H] -> [..., H, H]
    b1, w2 = theta[..., width * width : -width - 1], theta[..., -width - 1 : -1]  # [..., H] each
    hidden = torch.tanh((w1 @ z.unsqueeze(-1)).squeeze(-1) + b1)  # [..., H]
    return (w2 * hidden).sum(dim=-1) + theta[..., -1]


def score_rows(heads: Heads, theta_0: np.ndarray, z: np.ndarray, user_idx: np.ndarray) -> np.ndarray:
    """Each row's logit under its user's head, float32 [B]. z [B, H], user_idx [B] with -1 for the shared head.

    Cost follows the rows, not the users in the table; a row's score does not depend on the rows beside it.
    """
    logits = np.empty(len(z), dtype=np.float32)
    if heads.kind == "residual":
        # Machine code does not look where it reads.
        assert theta_0.shape == heads.table.shape[1:], f"shared head {theta_0.shape}, heads {heads.table.shape}"
        assert z.shape[1] == heads.width, f"features {z.shape}, heads of width {heads.width}"
        assert user_idx.shape == z.shape[:1], f"places {user_idx.shape}, features {z.shape}"
        assert user_idx.max(initial=-1) < len(heads.table), f"place {user_idx.max()} of {len(heads.table)} heads"
        _score_residual(heads.table, theta_0, np.ascontiguousarray(z), user_idx, logits)
        return logits
    shared = torch.from_numpy(theta_0)
    n_rows = max(1, MLP_FLOATS_PER_CHUNK // heads.table.shape[1])
    for start in range(0, len(z), n_rows):
        some = slice(start, start + n_rows)
        theta = shared + torch.from_numpy(_residuals(heads, user_idx[some]))  # [b, P]
        logits[some] = head_logits(heads.kind, theta, torch.from_numpy(z[some])).numpy()
    return logits


@compiled
def _score_residual(
    table: np.ndarray, theta_0: np.ndarray, z: np.ndarray, user_idx: np.ndarray, logits: np.ndarray
) -> None:
    """Fills logits float32 [B]; no head is copied."""
    width = z.shape[1]
    for i in range(len(z)):
        u, total = user_idx[i], theta_0[width]
        if u < 0:
            for j in range(width):
                total += theta_0[j] * z[i, j]
        else:
            total += table[u, width]
            for j in range(width):
                total += (theta_0[j] + table[u, j]) * z[i, j]
        logits[i] = total


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

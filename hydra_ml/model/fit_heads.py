"""Fits the heads of any set of users together on a frozen base: no Python loop over users.

For user u with rows (z_i, o_i, y_i), o_i the shared logit: min over delta  sum_i logloss(y_i, s_i) + ridge/2 |delta|^2.
`residual` heads are a convex problem per user, solved by Newton's method to convergence; `mlp` heads by batched Adam
from the shared head, padded to a length that follows from a user's own rows. Each user's problem stands alone: who else
is in the call cannot matter, not even to the last bit of a `residual` head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hydra_ml.model.heads import HeadKind, Heads, head_logits, n_parameters
from hydra_ml.model.newton import solve

MLP_STEPS = 150
MLP_LEARNING_RATE = 5e-3
MLP_ROW_MULTIPLE = 16
MLP_FLOATS_PER_GROUP = 16_000_000  # padded rows x numbers a head of one group of users: bounds memory


@dataclass(frozen=True)
class HeadRows:
    """What heads are fitted on. N rows: z float32 [N, H], shared_logits float32 [N], labels float32 [N] in 0..1,
    user_ids str [N] in any order."""

    z: np.ndarray
    shared_logits: np.ndarray
    labels: np.ndarray
    user_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> HeadRows:
        """The chosen rows (mask or positions)."""
        return HeadRows(self.z[rows], self.shared_logits[rows], self.labels[rows], self.user_ids[rows])


@dataclass(frozen=True)
class Group:
    """Some users of the same padded length n, for batched Adam: users [u], their rows' positions [u, n], 1.0 on real
    rows [u, n]."""

    users: np.ndarray
    picks: np.ndarray
    weight: np.ndarray


def fit_heads(rows: HeadRows, *, kind: HeadKind, ridge: float, theta_0: np.ndarray, evidence: np.ndarray) -> Heads:
    """The heads of every user with rows, sorted by user id. No rows give an empty bank.

    theta_0 [P] is the shared head; evidence [N] is the part of the shared logit that no head touches. Users with rows
    of one label only are fitted too; the ridge keeps them finite.
    """
    user_ids, owner = _owners(rows.user_ids.astype(str))
    table = np.zeros((len(user_ids), n_parameters(kind, rows.z.shape[1])), dtype=np.float32)
    if kind == "residual":
        counts = np.bincount(owner, minlength=len(user_ids))
        starts = np.concatenate([[0], np.cumsum(counts)])
        order = np.argsort(owner, kind="stable")
        solve(_float32(rows.z), _float32(rows.shared_logits), _float32(rows.labels), order, starts, ridge, table)
    else:
        _fit_mlp(rows, owner, ridge, theta_0, evidence, table)
    return Heads(kind, rows.z.shape[1], tuple(user_ids.tolist()), table)


def fit_logistic(x: np.ndarray, labels: np.ndarray, *, ridge: float) -> np.ndarray:
    """Weights and bias float32 [E + 1] of one ridge logistic regression on x [N, E], labels [N] in 0..1."""
    fitted = np.zeros((1, x.shape[1] + 1), dtype=np.float32)
    everybody = np.array([0, len(x)])  # a single user
    nothing = np.zeros(len(x), dtype=np.float32)
    solve(_float32(x), nothing, _float32(labels), np.arange(len(x)), everybody, ridge, fitted)
    weights: np.ndarray = fitted[0]
    return weights


def _float32(values: np.ndarray) -> np.ndarray:
    """As the solver takes them, copied only if they are otherwise."""
    taken: np.ndarray = np.ascontiguousarray(values, dtype=np.float32)
    return taken


def _owners(user_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The users, sorted, and each row's position among them [N]. Only the first of neighbouring equals is sorted."""
    first = np.ones(len(user_ids), dtype=bool)
    first[1:] = user_ids[1:] != user_ids[:-1]
    users, owner = np.unique(user_ids[first], return_inverse=True)
    return users, owner[np.cumsum(first) - 1]


def _fit_mlp(
    rows: HeadRows, owner: np.ndarray, ridge: float, theta_0: np.ndarray, evidence: np.ndarray, table: np.ndarray
) -> None:
    """Fills the table [U, P]."""
    z, labels, offset = torch.from_numpy(rows.z), torch.from_numpy(rows.labels), torch.from_numpy(evidence)
    for group in _groups(owner, len(table), table.shape[1]):
        picks, weight = torch.from_numpy(group.picks), torch.from_numpy(group.weight)  # [u, n]
        mine, offsets, targets = z[picks], offset[picks].double(), labels[picks].double()  # [u, n, H], [u, n], [u, n]
        delta = _adam(mine.double(), offsets, targets, weight, ridge, torch.from_numpy(theta_0).double())
        table[group.users] = delta.float().numpy()


def _groups(owner: np.ndarray, n_users: int, width: int) -> Iterator[Group]:
    """The users in groups of the same padded length, none too large unless alone."""
    counts = np.bincount(owner, minlength=n_users)
    by_user = np.argsort(owner, kind="stable")
    starts = np.cumsum(counts) - counts
    lengths = _padded_lengths(counts)
    for length in np.unique(lengths):
        users = np.flatnonzero(lengths == length)
        for some in np.array_split(users, -(-len(users) * length * width // MLP_FLOATS_PER_GROUP)):
            place = np.arange(length)  # padding repeats a row of the same user, so that no other's can come in
            picks = by_user[starts[some, None] + np.minimum(place, counts[some, None] - 1)]  # [u, n]
            yield Group(some, picks, (place < counts[some, None]).astype(np.float64))


def _padded_lengths(counts: np.ndarray) -> np.ndarray:
    """The next multiple of MLP_ROW_MULTIPLE, from 256 rows on of an eighth of the power of two below: few lengths in
    all, and next to no padding."""
    step = np.maximum(MLP_ROW_MULTIPLE, 2 ** np.floor(np.log2(counts)).astype(np.int64) // 8)
    padded: np.ndarray = -(-counts // step) * step
    return padded


def _adam(
    z: torch.Tensor,
    evidence: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor,
    ridge: float,
    theta_0: torch.Tensor,
) -> torch.Tensor:
    """Residuals of `mlp` heads [u, P], started at zero; the loss is a sum over users, so each one's path is its own."""
    delta = torch.zeros(z.shape[0], theta_0.shape[0], dtype=z.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=MLP_LEARNING_RATE)
    for _ in range(MLP_STEPS):
        theta = (theta_0 + delta).unsqueeze(1)  # [u, 1, P], broadcast over each user's rows
        logits = evidence + head_logits("mlp", theta, z)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        optimizer.zero_grad()
        ((weight * loss).sum() + 0.5 * ridge * (delta * delta).sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return delta.detach()

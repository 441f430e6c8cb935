"""Fits the heads of any set of users together on a frozen base: no Python loop over users.

For user u with rows (z_i, o_i, y_i), o_i the shared logit: min over delta  sum_i logloss(y_i, s_i) + ridge/2 |delta|^2.
`residual` heads are a batched convex problem, solved by Newton's method to convergence; `mlp` heads by batched Adam
from the shared head. Each user's problem stands alone, so who else is in the call cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hydra_ml.model.heads import HeadKind, Heads, head_logits, n_parameters

NEWTON_STEPS = 30
NEWTON_TOLERANCE = 1e-9
MLP_STEPS = 150
MLP_LEARNING_RATE = 5e-3
FLOATS_PER_GROUP = 16_000_000  # padded rows x numbers a row of one group of users: bounds memory


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


def fit_heads(rows: HeadRows, *, kind: HeadKind, ridge: float, theta_0: np.ndarray, evidence: np.ndarray) -> Heads:
    """The heads of every user with rows, sorted by user id. No rows give an empty bank.

    theta_0 [P] is the shared head; evidence [N] is the part of the shared logit that no head touches. Users with rows
    of one label only are fitted too; the ridge keeps them finite.
    """
    width = rows.z.shape[1]
    user_ids, owner = np.unique(rows.user_ids.astype(str), return_inverse=True)
    table = np.zeros((len(user_ids), n_parameters(kind, width)), dtype=np.float32)
    for users, picks, mask in _padded_groups(owner, len(user_ids), table.shape[1]):
        z = torch.from_numpy(rows.z[picks]).double()  # [u, n, H]
        labels = torch.from_numpy(rows.labels[picks]).double()  # [u, n]
        weight = torch.from_numpy(mask).double()  # [u, n], 0 on padding
        if kind == "residual":
            offset = torch.from_numpy(rows.shared_logits[picks]).double()  # [u, n]
            delta = _newton(z, offset, labels, weight, ridge)
        else:
            offset = torch.from_numpy(evidence[picks]).double()  # [u, n]
            delta = _adam(z, offset, labels, weight, ridge, torch.from_numpy(theta_0).double())
        table[users] = delta.float().numpy()
    return Heads(kind, width, tuple(user_ids.tolist()), table)


def fit_logistic(x: np.ndarray, labels: np.ndarray, *, ridge: float) -> np.ndarray:
    """Weights and bias float32 [E + 1] of one ridge logistic regression on x [N, E], labels [N] in 0..1."""
    rows = torch.from_numpy(x).double().unsqueeze(0)  # [1, N, E]: a single user as far as Newton is concerned
    ones = torch.ones(rows.shape[:2], dtype=rows.dtype)
    solution = _newton(rows, torch.zeros_like(ones), torch.from_numpy(labels).double().unsqueeze(0), ones, ridge)
    fitted: np.ndarray = solution[0].float().numpy()
    return fitted


def _padded_groups(owner: np.ndarray, n_users: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Users of like row count together: (users [u], row positions [u, n], real-row mask [u, n])."""
    counts = np.bincount(owner, minlength=n_users)
    rows_by_user = np.split(np.argsort(owner, kind="stable"), np.cumsum(counts)[:-1])
    order = np.argsort(counts, kind="stable")
    start = 0
    while start < n_users:
        stop = start + 1
        while stop < n_users and _fits(int(counts[order[start]]), int(counts[order[stop]]), stop + 1 - start, width):
            stop += 1
        users = order[start:stop]
        longest = int(counts[users[-1]])
        picks = np.zeros((len(users), longest), dtype=np.int64)
        mask = np.zeros((len(users), longest), dtype=bool)
        for i, user in enumerate(users):
            picks[i, : counts[user]] = rows_by_user[user]
            mask[i, : counts[user]] = True
        yield users, picks, mask
        start = stop


def _fits(fewest: int, most: int, n_users: int, width: int) -> bool:
    """Whether a group stays within memory and pads no user to more than about twice their rows."""
    return most <= 2 * max(fewest, 8) and most * n_users * width <= FLOATS_PER_GROUP


def _newton(
    z: torch.Tensor, offset: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, ridge: float
) -> torch.Tensor:
    """Ridge logistic regression with offsets, one per user: [u, n, H] -> delta [u, H + 1], bias last; damped Newton."""
    x = torch.cat([z, torch.ones_like(z[..., :1])], dim=-1)  # [u, n, H + 1]
    x = x * weight.unsqueeze(-1)
    eye = ridge * torch.eye(x.shape[-1], dtype=x.dtype)
    delta = torch.zeros(x.shape[0], x.shape[-1], dtype=x.dtype)
    value = _objective(x, offset, labels, weight, ridge, delta)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(offset + torch.einsum("unh,uh->un", x, delta))  # [u, n]
        gradient = torch.einsum("un,unh->uh", weight * (p - labels), x) + ridge * delta
        curvature = (weight * p * (1 - p)).unsqueeze(-1) * x  # [u, n, H + 1]
        hessian = x.transpose(1, 2) @ curvature + eye  # [u, H + 1, H + 1]
        step = torch.linalg.solve(hessian, gradient)
        delta, value = _descend(x, offset, labels, weight, ridge, delta, step, value)
        if step.abs().max() < NEWTON_TOLERANCE:
            break
    return delta


def _objective(
    x: torch.Tensor, offset: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, ridge: float, delta: torch.Tensor
) -> torch.Tensor:
    """Each user's penalised loss [u]."""
    logits = offset + torch.einsum("unh,uh->un", x, delta)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (weight * loss).sum(dim=1) + 0.5 * ridge * (delta * delta).sum(dim=1)


def _descend(
    x: torch.Tensor,
    offset: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor,
    ridge: float,
    delta: torch.Tensor,
    step: torch.Tensor,
    value: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Newton step, halved per user until that user's loss does not rise (far starts overshoot)."""
    scale = torch.ones_like(value)
    for _ in range(20):
        trial = delta - scale.unsqueeze(-1) * step
        trial_value = _objective(x, offset, labels, weight, ridge, trial)
        worse = trial_value > value + 1e-12 * value.abs()
        if not worse.any():
            return trial, trial_value
        scale = torch.where(worse, scale / 2, scale)
    return torch.where(worse.unsqueeze(-1), delta, trial), torch.where(worse, value, trial_value)


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

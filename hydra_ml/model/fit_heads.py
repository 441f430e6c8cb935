"""Fits the heads of any set of users together on a frozen base: no Python loop over users.

A head's job is to choose within a query, so it is a conditional logit (McFadden 1974) with partial pooling. For user u
with queries q, candidates i, features x_i and shared scores o_i:

    min over delta   -sum_q sum_i t_qi log softmax_i(o_i + delta.x_i) + ridge/2 sum_j delta_j^2 / prior_j

`residual` heads are a convex problem per user, solved by Newton's method to convergence; `mlp` heads by batched Adam
from the shared head, padded to a length that follows from a user's own rows. Each user's problem stands alone: who else
is in the call cannot matter, not even to the last bit of a `residual` head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hydra_ml.model.heads import HeadKind, Heads, head_scores, n_parameters
from hydra_ml.model.newton import solve

MLP_STEPS = 150
MLP_LEARNING_RATE = 5e-3
MLP_ROW_MULTIPLE = 16
MLP_FLOATS_PER_GROUP = 16_000_000  # padded rows x numbers a head of one group of users: bounds memory


@dataclass(frozen=True)
class HeadRows:
    """What heads are fitted on, in any order. N rows: features float32 [N, F], shared_scores float32 [N], targets
    float32 [N], shares of a query that add up to 1, queries int64 [N], equal within a query, and user_ids str [N]."""

    features: np.ndarray
    shared_scores: np.ndarray
    targets: np.ndarray
    queries: np.ndarray
    user_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> HeadRows:
        """The chosen rows (mask or positions)."""
        return HeadRows(
            self.features[rows], self.shared_scores[rows], self.targets[rows], self.queries[rows], self.user_ids[rows]
        )


@dataclass(frozen=True)
class Group:
    """Some users of the same padded length n, for batched Adam: users [u], their rows' positions [u, n], 1.0 on real
    rows [u, n]."""

    users: np.ndarray
    picks: np.ndarray
    weight: np.ndarray


def fit_heads(rows: HeadRows, *, kind: HeadKind, ridge: float, theta_0: np.ndarray, prior: np.ndarray) -> Heads:
    """The heads of every user with rows, sorted by user id. No rows give an empty bank.

    theta_0 [P] is the shared head that gave the shared scores; prior [P] is by how much each number of a head may vary,
    relative to the others. Users whose every query has one candidate are fitted too, and get zeros.
    """
    user_ids, owner = _owners(rows.user_ids.astype(str))
    width = rows.features.shape[1]
    table = np.zeros((len(user_ids), n_parameters(kind, width)), dtype=np.float32)
    if kind == "residual":
        columns = map(_float32, (rows.features, np.sqrt(prior), rows.shared_scores, rows.targets))
        solve(*columns, *_in_order(owner, rows.queries, len(user_ids)), ridge, table)
    else:
        _fit_mlp(rows, owner, ridge / prior, theta_0, table)
    return Heads(kind, width, tuple(user_ids.tolist()), table)


def fit_shared(x: np.ndarray, targets: np.ndarray, queries: np.ndarray, *, ridge: float) -> np.ndarray:
    """Weights float32 [E] of one conditional logit on x [N, E] for everybody; targets and queries as in `HeadRows`."""
    fitted = np.zeros((1, x.shape[1]), dtype=np.float32)
    everybody, nothing = np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=np.float32)
    alike = np.ones(x.shape[1], dtype=np.float32)
    solve(_float32(x), alike, nothing, _float32(targets), *_in_order(everybody, queries, 1), ridge, fitted)
    weights: np.ndarray = fitted[0]
    return weights


def _in_order(owner: np.ndarray, queries: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows user by user and query by query, int64 [N]; where each query starts in them [Q + 1], and each user among
    the queries [U + 1]."""
    apart, after = owner[1:] - owner[:-1], queries[1:] >= queries[:-1]
    is_sorted = bool(((apart > 0) | ((apart == 0) & after)).all())
    order = np.arange(len(owner)) if is_sorted else np.lexsort((queries, owner))
    of_user, of_query = owner[order], queries[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (of_query[1:] != of_query[:-1]) | (of_user[1:] != of_user[:-1])
    firsts = np.flatnonzero(is_first)
    user_starts = np.concatenate([[0], np.cumsum(np.bincount(of_user[firsts], minlength=n_users))])
    return order, np.append(firsts, len(order)), user_starts


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


def _fit_mlp(rows: HeadRows, owner: np.ndarray, ridge: np.ndarray, theta_0: np.ndarray, table: np.ndarray) -> None:
    """Fills the table [U, P]; ridge [P]."""
    x, targets = torch.from_numpy(rows.features).double(), torch.from_numpy(rows.targets).double()
    _, query = np.unique(rows.queries, return_inverse=True)
    queries, shared = torch.from_numpy(query), torch.from_numpy(theta_0).double()
    for group in _groups(owner, len(table), table.shape[1]):
        picks, weight = torch.from_numpy(group.picks), torch.from_numpy(group.weight)  # [u, n]
        delta = _adam(x[picks], queries[picks], targets[picks], weight, torch.from_numpy(ridge), shared)
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
    x: torch.Tensor,
    queries: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    ridge: torch.Tensor,
    theta_0: torch.Tensor,
) -> torch.Tensor:
    """Residuals of `mlp` heads [u, P], started at zero; the loss is a sum over users, so each one's path is its own."""
    delta = torch.zeros(x.shape[0], theta_0.shape[0], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=MLP_LEARNING_RATE)
    same = (queries.unsqueeze(1) == queries.unsqueeze(2)) & (weight.unsqueeze(1) > 0)  # [u, n, n]: i's query holds j
    apart = torch.zeros(same.shape, dtype=x.dtype).masked_fill(~same, -torch.inf)
    for _ in range(MLP_STEPS):
        theta = (theta_0 + delta).unsqueeze(1)  # [u, 1, P], broadcast over each user's rows
        scores = head_scores("mlp", theta, x)  # [u, n]
        log_p = scores - torch.logsumexp(scores.unsqueeze(1) + apart, dim=2)  # [u, 1, n] + [u, n, n] -> [u, n]
        optimizer.zero_grad()
        loss = -(weight * targets * log_p).sum() + 0.5 * (ridge * delta * delta).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return delta.detach()

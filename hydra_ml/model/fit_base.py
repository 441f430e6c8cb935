"""Fits the shared part (base and shared head theta_0) on the rows of all known users, as a conditional logit.

    1. fit the evidence alone (what the retriever or the LLM's votes say): a convex problem, solved exactly
    2. from there, train base and shared head by AdamW, whole queries a batch

`model.fit_model` runs this on either half of the users, to choose the number of epochs on the other, then on all. With
`joint` every known user also has a residual during training (the paper's stage 1); those are thrown away afterwards,
since `fit_heads` solves all heads, known and new, on the finished base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from hydra_ml.model.fit_heads import fit_shared
from hydra_ml.model.heads import HeadKind, head_scores, initial_head, n_parameters
from hydra_ml.model.pairs import Pairs
from hydra_ml.params import Train

EVIDENCE_RIDGE = 1.0  # keeps evidence weights finite where the evidence alone separates the rows
JOINT_RIDGE = 0.01  # pull of a residual to zero while it is trained with the base; tuned on dev
SMALLEST_SPREAD = 1e-3  # of a piece of evidence that does not vary
EVAL_BATCH = 1024


@dataclass(frozen=True)
class TrainRows:
    """Rows to learn from, those of a query together. N rows: pairs (N), evidence float32 [N, E], targets float32 [N],
    shares of the query that add up to 1, rewards float32 [N], what choosing the row is worth (higher is better),
    user_ids str [N], queries int64 [N], fold int64 [N], each query's among those of its user, for cross-fitting, and
    held_back bool [N], true for the newest queries of each user, which judge a new head beside the present one."""

    pairs: Pairs
    evidence: np.ndarray
    targets: np.ndarray
    rewards: np.ndarray
    user_ids: np.ndarray
    queries: np.ndarray
    fold: np.ndarray
    held_back: np.ndarray


@dataclass
class SharedPart:
    """What all users share: the base, theta_0 float32 [P] over F features (the base's z, then the evidence), and by how
    much each number of a head may vary among users, relative to the others, float32 [P]."""

    base: nn.Module
    head: HeadKind
    width: int  # F
    theta_0: np.ndarray
    prior: np.ndarray
    curve: list[dict[str, float]] = field(default_factory=list)  # per epoch, from 0: train_loss, held_back_loss


class Bar(Protocol):
    """A progress bar, as far as training needs one."""

    def update(self, n: int) -> object: ...


def fit_base(
    base: nn.Module,
    rows: TrainRows,
    settings: Train,
    *,
    fit_mask: np.ndarray,
    watch_mask: np.ndarray,
    seed: int,
    bar: Bar,
) -> SharedPart:
    """The shared part after training `base` in place on the rows of fit_mask.

    The curve has a point per epoch and one for epoch 0, the evidence alone; watch_mask rows give its held-back loss
    (nan without any). No epochs leave the base as it came. Raises ValueError, with the epoch, on a loss that is not
    finite.
    """
    fit, watch = np.flatnonzero(fit_mask), np.flatnonzero(watch_mask)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        training = _Training(base, rows, settings, fit, seed)
        alone = held_back_loss(training.result(), rows, watch)
        curve = [{"epoch": 0.0, "train_loss": float("nan"), "held_back_loss": alone}]
        for epoch in range(1, settings.epochs + 1):
            loss = training.run_epoch(epoch, bar)
            held_back = held_back_loss(training.result(), rows, watch)
            curve.append({"epoch": float(epoch), "train_loss": loss, "held_back_loss": held_back})
    base.eval()
    shared = training.result()
    shared.curve = curve
    return shared


def unlearned(base: nn.Module, kind: HeadKind, weights: Sequence[float]) -> SharedPart:
    """A shared part that has learned nothing: the evidence with these weights, one each, is all that it scores by."""
    width = int(base.width) + len(weights)  # type: ignore[arg-type]
    theta_0 = np.zeros(n_parameters(kind, width), dtype=np.float32)
    theta_0[width - len(weights) : width] = weights
    return SharedPart(base.eval(), kind, width, theta_0, np.ones_like(theta_0))


class _Training:
    """One run of AdamW over base, theta_0 and, with `joint`, a residual per user."""

    def __init__(self, base: nn.Module, rows: TrainRows, settings: Train, fit: np.ndarray, seed: int) -> None:
        self.base, self.rows, self.settings = base, rows, settings
        self.generator = torch.Generator().manual_seed(seed)
        evidence = rows.evidence[fit]
        start = fit_shared(evidence, rows.targets[fit], rows.queries[fit], ridge=EVIDENCE_RIDGE)
        linear = np.concatenate([np.zeros(int(base.width), dtype=np.float32), start])  # type: ignore[arg-type]
        self.spread = evidence.std(axis=0) + SMALLEST_SPREAD
        self.theta_0 = nn.Parameter(initial_head(settings.head, linear, self.generator))
        user_ids, self.owner = np.unique(rows.user_ids.astype(str), return_inverse=True)
        n_residuals = len(user_ids) if settings.base_fit == "joint" else 0
        # Sparse: a step costs what its batch's users cost, however many there are.
        zeros = torch.zeros(n_residuals, len(self.theta_0))
        self.residuals = nn.Embedding.from_pretrained(zeros, freeze=False, sparse=True)  # type: ignore[no-untyped-call]
        firsts = np.flatnonzero(np.diff(rows.queries[fit], prepend=-1))
        self.fit = np.split(fit, firsts[1:]) if len(fit) else []  # a query's rows each
        self.n_batches = min(len(self.fit), -(-len(fit) // settings.batch_size))
        shared = torch.optim.AdamW(
            [
                {"params": base.parameters(), "weight_decay": settings.weight_decay},
                {"params": [self.theta_0], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        personal = torch.optim.SparseAdam(self.residuals.parameters(), lr=settings.learning_rate)
        self.optimizers = [shared, personal] if n_residuals else [shared]
        steps = max(1, settings.epochs * self.n_batches)
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.05, 1 - step / steps))
            for optimizer in self.optimizers
        ]

    def run_epoch(self, epoch: int, bar: Bar) -> float:
        """One pass over the queries in random order; the mean loss on the way."""
        self.base.train()
        total = 0.0
        order = torch.randperm(len(self.fit), generator=self.generator).tolist()
        for batch in np.array_split(order, self.n_batches):
            queries = [self.fit[i] for i in batch]
            loss, penalty = self._loss(queries)
            if not torch.isfinite(loss):
                raise ValueError(f"training loss became {loss.item()} in epoch {epoch}; lower learning_rate")
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            (loss + penalty).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.base.parameters(), 1.0)
            for moved in (*self.optimizers, *self.schedules):
                moved.step()
            total += loss.item() * len(queries)
            bar.update(sum(map(len, queries)))
        return total / max(1, len(self.fit))

    def _loss(self, queries: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of the batch's queries, and the pull of its users' residuals to zero."""
        batch = np.concatenate(queries)
        z = self.base(*self.rows.pairs.batch(batch))  # [B, H]
        x = torch.cat([z, torch.from_numpy(self.rows.evidence[batch])], dim=1)  # [B, F]
        theta: torch.Tensor = self.theta_0
        penalty = torch.zeros(())
        if len(self.residuals.weight):
            delta = self.residuals(torch.from_numpy(self.owner[batch]))  # [B] -> [B, P]
            theta, penalty = self.theta_0 + delta, JOINT_RIDGE * (delta * delta).sum(dim=1).mean()
        scores = head_scores(self.settings.head, theta, x)
        query = torch.from_numpy(np.repeat(np.arange(len(queries)), [len(rows) for rows in queries]))
        highest = torch.full((len(queries),), -torch.inf).scatter_reduce(0, query, scores.detach(), "amax")
        mass = torch.zeros(len(queries)).index_add(0, query, torch.exp(scores - highest[query]))
        log_p = scores - (highest + torch.log(mass))[query]  # [B]
        return -(torch.from_numpy(self.rows.targets[batch]) * log_p).sum() / len(queries), penalty

    def result(self) -> SharedPart:
        """The shared part as it stands now; the residuals are left out. Until heads tell more, each number may vary as
        far as moves a score equally."""
        theta_0 = self.theta_0.detach().numpy().copy()
        width = int(self.base.width) + len(self.spread)  # type: ignore[arg-type]
        prior = np.ones(len(theta_0), dtype=np.float32)
        prior[width - len(self.spread) : width] = 1.0 / self.spread**2
        return SharedPart(self.base, self.settings.head, width, theta_0, prior)


def features(base: nn.Module, rows: TrainRows, picked: np.ndarray) -> np.ndarray:
    """What heads read of the picked rows, float32 [n, F]: the base's z, then the evidence."""
    return with_evidence(base_features(base, rows.pairs, picked), rows.evidence[picked])


def with_evidence(z: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """x float32 [N, F] of z [N, H] and evidence [N, E]."""
    return np.concatenate([z, evidence], axis=1, dtype=np.float32)


def base_features(base: nn.Module, pairs: Pairs, rows: np.ndarray | None = None) -> np.ndarray:
    """z of the pairs (or of some rows) with dropout off, float32 [N, H]; [0, H] for none."""
    base.eval()
    wanted = np.arange(len(pairs)) if rows is None else rows
    z = np.empty((len(wanted), int(base.width)), dtype=np.float32)  # type: ignore[arg-type]
    with torch.inference_mode():
        for start in range(0, len(wanted), EVAL_BATCH):
            some = slice(start, start + EVAL_BATCH)
            z[some] = base(*pairs.batch(wanted[some])).numpy()
    return z


def held_back_loss(shared: SharedPart, rows: TrainRows, watch: np.ndarray) -> float:
    """The choice loss of the shared head on the watched rows; nan without any."""
    if not len(watch):
        return float("nan")
    x = torch.from_numpy(features(shared.base, rows, watch))
    scores = head_scores(shared.head, torch.from_numpy(shared.theta_0), x).numpy()
    return float(choice_losses(scores, rows.targets[watch], rows.queries[watch])[1].mean())


def choice_losses(scores: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct queries [Q], sorted, and each one's cross-entropy -sum t log softmax(score), float64 [Q]: what
    serving asks of a model, free of how easy a query is."""
    names, group = np.unique(queries, return_inverse=True)
    best = np.full(len(names), -np.inf)
    np.maximum.at(best, group, scores)
    total = np.bincount(group, np.exp(scores.astype(np.float64) - best[group]), len(names))
    log_p = scores - (best + np.log(total))[group]
    return names, -np.bincount(group, targets * log_p, len(names))

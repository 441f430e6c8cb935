"""Fits the shared part (base, shared head theta_0, evidence weights) on the rows of all known users.

    1. fit the evidence alone (what the retriever or the LLM's votes say): a convex problem, solved exactly
    2. from there, train base, shared head and evidence weights by AdamW

`model.factored` runs this twice: on each user's older rows, to choose the number of epochs on the newer ones, then on
all rows. With `joint` every known user also has a residual during training (the paper's stage 1); those are thrown
away afterwards, since `fit_heads` solves all heads, known and new, on the finished base.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from hydra_ml.model.fit_heads import fit_logistic
from hydra_ml.model.heads import HeadKind, head_logits, initial_head, n_parameters
from hydra_ml.model.pairs import Pairs
from hydra_ml.params import Train

EVIDENCE_RIDGE = 1.0  # keeps evidence weights finite where the evidence alone separates the rows
JOINT_RIDGE = 0.01  # pull of a residual to zero while it is trained with the base; tuned on dev
EVAL_BATCH = 1024


@dataclass(frozen=True)
class TrainRows:
    """Rows to learn from: pairs (N), evidence float32 [N, E], labels float32 [N] in 0..1, user_ids str [N], query_ids
    str [N], and held_back bool [N], true for the newest queries of each user, which choose epochs and ridge."""

    pairs: Pairs
    evidence: np.ndarray
    labels: np.ndarray
    user_ids: np.ndarray
    query_ids: np.ndarray
    held_back: np.ndarray


@dataclass
class SharedPart:
    """What all users share: the base, theta_0 float32 [P], evidence weights float32 [E]."""

    base: nn.Module
    head: HeadKind
    width: int
    theta_0: np.ndarray
    evidence_weights: np.ndarray
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


class _Training:
    """One run of AdamW over base, theta_0, evidence weights and, with `joint`, a residual per user."""

    def __init__(self, base: nn.Module, rows: TrainRows, settings: Train, fit: np.ndarray, seed: int) -> None:
        self.base, self.rows, self.settings, self.fit = base, rows, settings, fit
        self.generator = torch.Generator().manual_seed(seed)
        start = fit_logistic(rows.evidence[fit], rows.labels[fit], ridge=EVIDENCE_RIDGE)
        theta_0 = initial_head(settings.head, settings.width, self.generator)
        theta_0[-1] += float(start[-1])  # the bias is the last number of either kind of head
        self.theta_0 = nn.Parameter(theta_0)
        self.weights = nn.Parameter(torch.from_numpy(start[:-1]))
        user_ids, self.owner = np.unique(rows.user_ids.astype(str), return_inverse=True)
        n_residuals = len(user_ids) if settings.base_fit == "joint" else 0
        # Sparse: a step costs what its batch's users cost, however many there are.
        zeros = torch.zeros(n_residuals, n_parameters(settings.head, settings.width))
        self.residuals = nn.Embedding.from_pretrained(zeros, freeze=False, sparse=True)  # type: ignore[no-untyped-call]
        self.n_batches = -(-len(fit) // settings.batch_size)
        shared = torch.optim.AdamW(
            [
                {"params": base.parameters(), "weight_decay": settings.weight_decay},
                {"params": [self.theta_0, self.weights], "weight_decay": 0.0},
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
        """One pass over the rows in random order; the mean log loss on the way."""
        self.base.train()
        total = 0.0
        order = self.fit[torch.randperm(len(self.fit), generator=self.generator).numpy()]
        for batch in np.array_split(order, self.n_batches):
            loss, penalty = self._loss(batch)
            if not torch.isfinite(loss):
                raise ValueError(f"training loss became {loss.item()} in epoch {epoch}; lower learning_rate")
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            (loss + penalty).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.base.parameters(), 1.0)
            for moved in (*self.optimizers, *self.schedules):
                moved.step()
            total += loss.item() * len(batch)
            bar.update(len(batch))
        return total / max(1, len(self.fit))

    def _loss(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean log loss of the batch, and the pull of its users' residuals to zero."""
        z = self.base(*self.rows.pairs.batch(batch))  # [B, H]
        theta: torch.Tensor = self.theta_0
        penalty = torch.zeros(())
        if len(self.residuals.weight):
            delta = self.residuals(torch.from_numpy(self.owner[batch]))  # [B] -> [B, P]
            theta, penalty = self.theta_0 + delta, JOINT_RIDGE * (delta * delta).sum(dim=1).mean()
        evidence = torch.from_numpy(self.rows.evidence[batch]) @ self.weights  # [B, E] @ [E] -> [B]
        logits = head_logits(self.settings.head, theta, z) + evidence
        labels = torch.from_numpy(self.rows.labels[batch])
        return nn.functional.binary_cross_entropy_with_logits(logits, labels), penalty

    def result(self) -> SharedPart:
        """The shared part as it stands now; the residuals are left out."""
        theta_0, weights = self.theta_0.detach().numpy().copy(), self.weights.detach().numpy().copy()
        return SharedPart(self.base, self.settings.head, self.settings.width, theta_0, weights)


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
    z = torch.from_numpy(base_features(shared.base, rows.pairs, watch))
    logits = head_logits(shared.head, torch.from_numpy(shared.theta_0), z).numpy()
    logits = logits + rows.evidence[watch] @ shared.evidence_weights
    return choice_loss(logits, rows.labels[watch], rows.query_ids[watch])


def choice_loss(scores: np.ndarray, labels: np.ndarray, query_ids: np.ndarray) -> float:
    """How well scores pick a positive among the rows of a query: the mean of `choice_losses`, nan if none tells."""
    _, losses = choice_losses(scores, labels, query_ids)
    telling = ~np.isnan(losses)
    return float(losses[telling].mean()) if telling.any() else float("nan")


def choice_losses(scores: np.ndarray, labels: np.ndarray, query_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct query ids [Q], sorted, and -log of the softmax mass on each one's positives, float64 [Q].

    This is what serving asks of a model, free of how easy a query is. Queries whose rows all carry one label say
    nothing: nan.
    """
    names, group = np.unique(query_ids.astype(str), return_inverse=True)
    n_groups = len(names)
    best = np.full(n_groups, -np.inf)
    np.maximum.at(best, group, scores)
    mass = np.exp(scores.astype(np.float64) - best[group])
    total = np.bincount(group, mass, n_groups)
    positive = np.bincount(group, mass * (labels > 0.5), n_groups)
    telling = (np.bincount(group, labels > 0.5, n_groups) > 0) & (np.bincount(group, labels <= 0.5, n_groups) > 0)
    losses = np.full(n_groups, np.nan)
    losses[telling] = -np.log(positive[telling] / total[telling])
    return names, losses

"""Fits the shared part (base, shared head theta_0, evidence weights) on the rows of all known users.

    1. fit the evidence alone (what the retriever or the LLM's votes say): a convex problem, solved exactly
    2. from there, train base, shared head and evidence weights by AdamW

`model.factored` runs this twice: on each user's older rows, to choose the number of epochs on the newer ones, then on
all rows. With `joint` every known user also has a residual during training (the paper's stage 1); those are thrown
away afterwards, since `fit_heads` solves all heads, known and new, on the finished base.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import nn

from hydra_ml.model.fit_heads import fit_logistic
from hydra_ml.model.heads import HeadKind, head_logits, initial_head, n_parameters
from hydra_ml.model.pairs import Pairs

EVIDENCE_RIDGE = 1.0  # keeps evidence weights finite where the evidence alone separates the rows
JOINT_RIDGE = 0.01  # pull of a residual to zero while it is trained with the base; tuned on dev
EVAL_BATCH = 1024


@dataclass(frozen=True)
class FitSettings:
    """How a base is trained; see `params.Train` for each field's meaning."""

    head: HeadKind
    base_fit: Literal["shared", "joint"]
    width: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


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
    curve: list[dict[str, float]] = field(default_factory=list)  # per epoch: train_loss, held_back_loss


class Bar(Protocol):
    """A progress bar, as far as training needs one."""

    def update(self, n: int) -> object: ...


def fit_base(
    base: nn.Module, rows: TrainRows, settings: FitSettings, *, fit_mask: np.ndarray, watch_mask: np.ndarray, bar: Bar
) -> SharedPart:
    """The shared part after training `base` in place on the rows of fit_mask; one curve entry per epoch.

    watch_mask rows give the held-back loss of each epoch (nan without any). Raises ValueError on a loss that is not
    finite, with the epoch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return _train(base, rows, settings, np.flatnonzero(fit_mask), np.flatnonzero(watch_mask), bar)


def _train(
    base: nn.Module, rows: TrainRows, settings: FitSettings, fit: np.ndarray, watch: np.ndarray, bar: Bar
) -> SharedPart:
    generator = torch.Generator().manual_seed(settings.seed)
    theta_0 = nn.Parameter(initial_head(settings.head, settings.width, generator))
    start = fit_logistic(rows.evidence[fit], rows.labels[fit], ridge=EVIDENCE_RIDGE)
    weights = nn.Parameter(torch.from_numpy(start[:-1]))
    with torch.no_grad():
        theta_0[-1] += float(start[-1])  # the bias is the last number of either kind of head
    user_ids, owner = np.unique(rows.user_ids.astype(str), return_inverse=True)
    n_residuals = len(user_ids) if settings.base_fit == "joint" else 0
    residuals = nn.Parameter(torch.zeros(n_residuals, n_parameters(settings.head, settings.width)))
    optimizer = torch.optim.AdamW(
        [
            {"params": base.parameters(), "weight_decay": settings.weight_decay},
            {"params": [theta_0, weights, residuals], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    steps = settings.epochs * -(-len(fit) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.05, 1 - step / max(1, steps)))
    shared = SharedPart(base, settings.head, settings.width, np.zeros(0), np.zeros(0))
    for epoch in range(settings.epochs):
        base.train()
        total = 0.0
        for batch in np.array_split(
            fit[torch.randperm(len(fit), generator=generator).numpy()], -(-len(fit) // settings.batch_size)
        ):
            z = base(*rows.pairs.batch(batch))  # [B, H]
            theta: torch.Tensor = theta_0
            penalty = torch.zeros(())
            if n_residuals:
                delta = residuals[owner[batch]]  # [B, P]
                theta, penalty = theta_0 + delta, JOINT_RIDGE * (delta * delta).sum(dim=1).mean()
            logits = head_logits(settings.head, theta, z) + torch.from_numpy(rows.evidence[batch]) @ weights
            loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(rows.labels[batch]))
            if not torch.isfinite(loss):
                raise ValueError(f"training loss became {loss.item()} in epoch {epoch + 1}; lower learning_rate")
            optimizer.zero_grad()
            (loss + penalty).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(base.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
            bar.update(len(batch))
        shared.theta_0 = theta_0.detach().numpy().copy()
        shared.evidence_weights = weights.detach().numpy().copy()
        shared.curve.append(
            {
                "epoch": epoch + 1,
                "train_loss": total / max(1, len(fit)),
                "held_back_loss": held_back_loss(shared, rows, watch),
            }
        )
    base.eval()
    return shared


def base_features(base: nn.Module, pairs: Pairs, rows: np.ndarray | None = None) -> np.ndarray:
    """z of the pairs (or of some rows) with dropout off, float32 [N, H]; [0, H] for none."""
    base.eval()
    wanted = np.arange(len(pairs)) if rows is None else rows
    with torch.inference_mode():
        parts = [
            base(*pairs.batch(wanted[start : start + EVAL_BATCH])).numpy()
            for start in range(0, len(wanted), EVAL_BATCH)
        ]
    return np.concatenate(parts) if parts else np.zeros((0, int(base.width)), dtype=np.float32)  # type: ignore[arg-type]


def held_back_loss(shared: SharedPart, rows: TrainRows, watch: np.ndarray) -> float:
    """The choice loss of the shared head on the watched rows; nan without any."""
    if not len(watch):
        return float("nan")
    z = torch.from_numpy(base_features(shared.base, rows.pairs, watch))
    logits = head_logits(shared.head, torch.from_numpy(shared.theta_0), z).numpy()
    logits = logits + rows.evidence[watch] @ shared.evidence_weights
    return choice_loss(logits, rows.labels[watch], rows.query_ids[watch])


def choice_loss(scores: np.ndarray, labels: np.ndarray, query_ids: np.ndarray) -> float:
    """How well scores pick a positive among the rows of a query: mean over queries of -log softmax mass on positives.

    This is what serving asks of a model, free of how easy a query is. Queries whose rows all carry one label say
    nothing and are left out; nan if that leaves none.
    """
    _, group = np.unique(query_ids.astype(str), return_inverse=True)
    n_groups = int(group.max()) + 1 if len(group) else 0
    best = np.full(n_groups, -np.inf)
    np.maximum.at(best, group, scores)
    mass = np.exp(scores.astype(np.float64) - best[group])
    total = np.bincount(group, mass, n_groups)
    positive = np.bincount(group, mass * (labels > 0.5), n_groups)
    telling = (np.bincount(group, labels > 0.5, n_groups) > 0) & (np.bincount(group, labels <= 0.5, n_groups) > 0)
    return float(-np.log(positive[telling] / total[telling]).mean()) if telling.any() else float("nan")

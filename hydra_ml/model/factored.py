"""The factored model whole: scoring with base and heads, and the two fitting stages in order.

    fit = choose epochs and ridge on each user's newest rows  ->  base on all known users  ->  heads of everybody

`score` is the one way to a number, for reranker and adapter, for known, new and unseen users alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from hydra_ml.model.fit_base import Bar, SharedPart, TrainRows, base_features, choice_loss, fit_base
from hydra_ml.model.fit_heads import HeadRows, fit_heads
from hydra_ml.model.heads import Heads, no_heads, score_rows
from hydra_ml.model.pairs import Pairs
from hydra_ml.params import Train

RIDGE_TOLERANCE = 0.01  # share of the lowest held-back loss


@dataclass(frozen=True)
class FittedModel:
    """A trained base with everybody's heads, and how it came to be."""

    shared: SharedPart
    heads: Heads
    ridge: float
    epochs: int
    ridge_losses: dict[float, float]  # held-back choice loss per ridge tried; empty when nothing was held back


def score(shared: SharedPart, heads: Heads, pairs: Pairs, evidence: np.ndarray, user_ids: np.ndarray) -> np.ndarray:
    """The log-odds of each pair for its user, float32 [N]: head(theta_0 + delta_u, z) + v.e; higher is better."""
    z = base_features(shared.base, pairs)
    return score_features(shared, heads, z, evidence, user_ids)


def score_features(
    shared: SharedPart, heads: Heads, z: np.ndarray, evidence: np.ndarray, user_ids: np.ndarray
) -> np.ndarray:
    """`score` where z [N, H] is at hand already."""
    personal = score_rows(heads, shared.theta_0, z, heads.user_idx(user_ids))
    scores: np.ndarray = personal + evidence_logits(shared, evidence)
    return scores


def evidence_logits(shared: SharedPart, evidence: np.ndarray) -> np.ndarray:
    """The part of the score that no head touches, float32 [N]; row by row, so that a row's neighbours cannot matter."""
    logits: np.ndarray = (evidence.astype(np.float32) * shared.evidence_weights.astype(np.float32)).sum(axis=1)
    return logits


def fit_model(
    new_base: Callable[[], nn.Module],
    rows: TrainRows,
    settings: Train,
    *,
    known: np.ndarray,
    seed: int,
    bar: Bar,
) -> FittedModel:
    """Base and heads from training rows. known bool [N] marks the rows a base may learn from; heads learn from all.

    `new_base()` must give a base with the same starting weights each time. Raises ValueError if no known row has each
    label at least once.
    """
    if len(np.unique(rows.labels[known] > 0.5)) < 2:
        raise ValueError("the known users' rows all carry the same label: there is nothing to learn from")
    older, newest = known & ~rows.held_back, known & rows.held_back
    ridges = settings.ridge
    epochs, ridge, losses = settings.epochs, float(ridges[len(ridges) // 2]), {}
    curve: list[dict[str, float]] = []
    if _can_choose(rows, older, newest):
        trial = fit_base(new_base(), rows, settings, fit_mask=older, watch_mask=newest, seed=seed, bar=bar)
        curve = trial.curve
        epochs = int(np.argmin([point["held_back_loss"] for point in curve]))  # 0: the evidence alone did best
        if epochs < settings.epochs:  # the ridge must be chosen on the base as it will be: stopped at the best epoch
            stopped = settings.model_copy(update={"epochs": epochs})
            trial = fit_base(new_base(), rows, stopped, fit_mask=older, watch_mask=newest, seed=seed, bar=bar)
        losses = ridge_losses(trial, rows, older, newest, ridges)
        ridge = weakest_good(losses)
    final = settings.model_copy(update={"epochs": epochs})
    nobody = np.zeros(len(known), dtype=bool)
    shared = fit_base(new_base(), rows, final, fit_mask=known, watch_mask=nobody, seed=seed, bar=bar)
    shared.curve = curve or shared.curve
    heads = fit_heads_on(shared, rows, np.ones(len(known), dtype=bool), ridge)
    return FittedModel(shared, heads, ridge, epochs, losses)


def fit_heads_on(shared: SharedPart, rows: TrainRows, mask: np.ndarray, ridge: float) -> Heads:
    """The heads of every user with rows in the mask, the base frozen."""
    picked = np.flatnonzero(mask)
    return fit_heads_at(shared, rows, picked, base_features(shared.base, rows.pairs, picked), ridge)


def fit_heads_at(shared: SharedPart, rows: TrainRows, picked: np.ndarray, z: np.ndarray, ridge: float) -> Heads:
    """The heads of every user with rows among those picked (positions), whose z [len(picked), H] is at hand already."""
    evidence = evidence_logits(shared, rows.evidence[picked])
    nobody = np.full(len(picked), -1, dtype=np.int64)
    shared_logits = score_rows(no_heads(shared.head, shared.width), shared.theta_0, z, nobody) + evidence
    head_rows = HeadRows(z, shared_logits, rows.labels[picked], rows.user_ids[picked])
    return fit_heads(head_rows, kind=shared.head, ridge=ridge, theta_0=shared.theta_0, evidence=evidence)


def ridge_losses(
    shared: SharedPart, rows: TrainRows, older: np.ndarray, newest: np.ndarray, ridges: Sequence[float]
) -> dict[float, float]:
    """The choice loss on the newest rows under heads fitted on the older ones, per ridge."""
    watch = np.flatnonzero(newest)
    z = base_features(shared.base, rows.pairs, watch)
    losses = {}
    for ridge in ridges:
        heads = fit_heads_on(shared, rows, older, ridge)
        scores = score_features(shared, heads, z, rows.evidence[watch], rows.user_ids[watch])
        losses[float(ridge)] = choice_loss(scores, rows.labels[watch], rows.query_ids[watch])
    return losses


def weakest_good(losses: Mapping[float, float]) -> float:
    """The weakest ridge whose held-back loss is within RIDGE_TOLERANCE of the lowest: heads are as personal as they can
    be at no measurable cost, and vanish where every weaker ridge costs something."""
    bound = min(losses.values()) * (1 + RIDGE_TOLERANCE)
    return min(ridge for ridge, loss in losses.items() if loss <= bound)


def _can_choose(rows: TrainRows, older: np.ndarray, newest: np.ndarray) -> bool:
    """Whether the older rows carry both labels, to fit on, and some query of the newest rows does, to compare on."""
    at_random = choice_loss(np.zeros(int(newest.sum())), rows.labels[newest], rows.query_ids[newest])
    return len(np.unique(rows.labels[older] > 0.5)) == 2 and not np.isnan(at_random)

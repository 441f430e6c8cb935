"""Fits the heads of some users again on a frozen base, and takes a new head unless it serves its user worse.

    1. a trial head per user, on all rows but the held-back ones
    2. the choice loss of trial and present head on the held-back rows, user by user
    3. where the trial is worse the present head stays (a user without one stays without), else a head on all rows

All users at once in each step; whose rows are held back is the caller's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_ml.model.factored import fit_heads_at, score_features
from hydra_ml.model.fit_base import SharedPart, TrainRows, choice_losses, features
from hydra_ml.model.heads import Heads


@dataclass(frozen=True)
class Refit:
    """What became of each user with rows, by user id: arrays [U]."""

    user_ids: np.ndarray  # str, sorted
    replaced: np.ndarray  # bool: has a new head; else what they had stays
    old_loss: np.ndarray  # float64, of the present head, or of the shared one where there is none; nan: not judged
    new_loss: np.ndarray  # float64, of the trial head on the same rows
    n_judged: np.ndarray  # int64, held-back queries the losses are means of
    n_rows: np.ndarray  # int64, rows the new head was or would have been fitted on
    fitted: Heads  # the new heads, of replaced users alone


def refit_heads(shared: SharedPart, present: Heads, rows: TrainRows, *, ridge: float) -> Refit:
    """New heads for the users of the rows, those accepted. The trial is judged on `rows.held_back` rows, which the
    present head should not have been fitted on; users of whom none tells are given the new head unjudged."""
    x = features(shared.base, rows, np.arange(len(rows.targets)))
    user_ids, owner = np.unique(rows.user_ids.astype(str), return_inverse=True)
    older, watch = np.flatnonzero(~rows.held_back), np.flatnonzero(rows.held_back)
    trial = fit_heads_at(shared, rows, older, x[older], ridge)
    old_loss, n_judged = _loss_per_user(shared, present, x, rows, watch, user_ids)
    new_loss, _ = _loss_per_user(shared, trial, x, rows, watch, user_ids)
    replaced = ~(new_loss > old_loss)  # not judged: nan compares as false, so the new head is taken
    picked = np.flatnonzero(replaced[owner])
    return Refit(
        user_ids=user_ids,
        replaced=replaced,
        old_loss=old_loss,
        new_loss=new_loss,
        n_judged=n_judged,
        n_rows=np.bincount(owner, minlength=len(user_ids)),
        fitted=fit_heads_at(shared, rows, picked, x[picked], ridge),
    )


def _loss_per_user(
    shared: SharedPart, heads: Heads, x: np.ndarray, rows: TrainRows, watch: np.ndarray, user_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean choice loss over each user's watched queries, float64 [U], nan without any; and how many there are."""
    scores = score_features(shared, heads, x[watch], rows.user_ids[watch])
    names, losses = choice_losses(scores, rows.targets[watch], rows.queries[watch])
    _, first = np.unique(rows.queries[watch], return_index=True)  # sorted as `names` is
    owner = np.searchsorted(user_ids, rows.user_ids[watch].astype(str)[first])  # [Q]
    count = np.bincount(owner, minlength=len(user_ids))
    total = np.bincount(owner, losses, minlength=len(user_ids))
    assert len(names) == len(owner)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count

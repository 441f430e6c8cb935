"""The fit of a component: choose by cross-fitting  ->  base on all known users  ->  everybody's heads, if they pay.

Users are halved. A base fitted on one half is judged on the other half's queries: with the shared head on known users'
to choose the number of epochs, and with heads fitted on the other queries of the same user to choose how personal heads
may be and whether they gain anything at all. So every training query is judged by models that have not seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import nn

from hydra_ml.model.factored import fit_heads_at, score_features
from hydra_ml.model.fit_base import Bar, SharedPart, TrainRows, choice_losses, features, fit_base
from hydra_ml.model.heads import Heads, no_heads
from hydra_ml.params import Train

FOLDS = 4  # of each user's queries
SMALLEST_GAIN = 0.003  # share of the shared head's loss: what is less shows in no measure and is not worth a head each
ONE_SIDED = 1.645  # standard errors: heads that choose worse with 95 % confidence do not pay, however sure they are


@dataclass(frozen=True)
class HeadChoice:
    """Whether users get heads of their own, how personal those may be, and what on unseen queries speaks for it."""

    ridge: float
    pays: bool
    gain: float = float("nan")  # mean choice loss of the shared head less that of the users' own
    error: float = float("nan")  # the gain's standard error, users being drawn
    reward_gain: float = float("nan")  # mean reward of the likeliest candidate under users' own heads, less the shared
    reward_error: float = float("nan")
    n_judged: int = 0  # queries
    losses: dict[float, float] = field(default_factory=dict)  # choice loss by ridge; {}: nothing to judge by


@dataclass(frozen=True)
class FittedModel:
    """A trained base with everybody's heads, and how it came to be."""

    shared: SharedPart
    heads: Heads
    choice: HeadChoice
    epochs: int
    unseen_scores: np.ndarray  # float32 [N]: each row's by models as these that have not seen its query; nan: by none


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

    `new_base()` must give a base with the same starting weights each time. Where heads of their own show no gain nobody
    gets one (`settings.personal`). Raises ValueError if there is no known row.
    """
    if not known.any():
        raise ValueError("the LLM answered alike throughout: no known user's query has one answer better than another")

    def fit(mask: np.ndarray, watch: np.ndarray, epochs: int) -> SharedPart:
        some = settings.model_copy(update={"epochs": epochs})
        return fit_base(new_base(), rows, some, fit_mask=mask, watch_mask=watch, seed=seed, bar=bar)

    epochs, curve = settings.epochs, []
    choice = HeadChoice(float(settings.ridge[len(settings.ridge) // 2]), pays=settings.personal == "always")
    unseen = np.full(len(known), np.nan, dtype=np.float32)
    nobody = np.zeros(len(known), dtype=bool)
    halves = _halves(rows.user_ids)
    if all((known & half).any() for half in halves):
        trials = [fit(known & half, known & ~half, epochs) for half in halves]
        curve = [
            {name: float(np.mean([point[name] for point in points])) for name in points[0]}
            for points in zip(*(trial.curve for trial in trials), strict=True)
        ]
        epochs = int(np.argmin([point["held_back_loss"] for point in curve]))  # 0: the evidence alone did best
        if epochs < settings.epochs:  # heads must be judged on a base as it will be: stopped at the best epoch
            trials = [fit(known & half, nobody, epochs) for half in halves]
        judged = [
            _Judged.of(trial, rows, np.flatnonzero(half)) for trial, half in zip(trials, halves[::-1], strict=True)
        ]
        choice = choose_heads(judged, settings)
        for part in judged:
            unseen[part.picked] = part.scores(choice.ridge if choice.pays else None)
    shared = fit(known, nobody, epochs)
    shared.curve = curve or shared.curve
    picked = np.flatnonzero(np.full(len(known), choice.pays))
    heads = fit_heads_at(shared, rows, picked, features(shared.base, rows, picked), choice.ridge)
    return FittedModel(shared, heads, choice, epochs, unseen)


def choose_heads(judged: list[_Judged], settings: Train) -> HeadChoice:
    """The ridge under which heads lose least on queries they have not seen, and whether they pay there: if that gain is
    no trifle, exceeds its standard error (the one-standard-error rule of Breiman et al. 1984), and no worse choices
    contradict it.
    """
    owners = np.concatenate([part.owners for part in judged])
    loss, reward = (np.concatenate(values) for values in zip(*(part.worth(None) for part in judged), strict=True))
    found = {}
    for ridge in map(float, settings.ridge):
        parts = zip(*(part.worth(ridge) for part in judged), strict=True)
        found[ridge] = tuple(np.concatenate(values) for values in parts)
    ridge = min(found, key=lambda ridge: (float(found[ridge][0].mean()), -ridge))  # of equals the strongest
    gain, error = clustered_mean(loss - found[ridge][0], owners)
    reward_gain, reward_error = clustered_mean(found[ridge][1] - reward, owners)
    worth = gain > max(error, SMALLEST_GAIN * float(loss.mean()))
    pays = worth and reward_gain + ONE_SIDED * reward_error >= 0
    return HeadChoice(
        ridge=ridge,
        pays=pays if settings.personal == "auto" else settings.personal == "always",
        gain=gain,
        error=error,
        reward_gain=reward_gain,
        reward_error=reward_error,
        n_judged=len(loss),
        losses={ridge: float(values[0].mean()) for ridge, values in found.items()},
    )


class _Judged(NamedTuple):
    """Some users' rows, and a base that has not seen these users."""

    shared: SharedPart
    rows: TrainRows
    picked: np.ndarray  # positions [n]
    x: np.ndarray  # their features [n, F]
    owners: np.ndarray  # each query's user, in the order of the queries

    @classmethod
    def of(cls, shared: SharedPart, rows: TrainRows, picked: np.ndarray) -> _Judged:
        _, first = np.unique(rows.queries[picked], return_index=True)
        return cls(shared, rows, picked, features(shared.base, rows, picked), rows.user_ids[picked][first])

    def scores(self, ridge: float | None) -> np.ndarray:
        """Float32 [n], each row's under heads of this ridge fitted on the other folds of its user; None: under the
        shared head."""
        users = self.rows.user_ids[self.picked]
        scores = np.empty(len(self.picked), dtype=np.float32)
        for heads, here in self._folds(ridge):
            scores[here] = score_features(self.shared, heads, self.x[here], users[here])
        return scores

    def worth(self, ridge: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Each query's choice loss and the reward of its likeliest row, under such scores."""
        rows, queries, scores = self.rows, self.rows.queries[self.picked], self.scores(ridge)
        _, losses = choice_losses(scores, rows.targets[self.picked], queries)
        return losses, _chosen_rewards(scores, rows.rewards[self.picked], queries)

    def _folds(self, ridge: float | None) -> Iterator[tuple[Heads, np.ndarray]]:
        if ridge is None:
            yield no_heads(self.shared.head, self.shared.width), np.arange(len(self.picked))
            return
        fold = self.rows.fold[self.picked]
        for k in range(FOLDS):
            there, here = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            yield fit_heads_at(self.shared, self.rows, self.picked[there], self.x[there], ridge), here


def _halves(user_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every second user's rows, and the others', bool [N] each."""
    _, owner = np.unique(user_ids.astype(str), return_inverse=True)
    first = owner % 2 == 0
    return first, ~first


def _chosen_rewards(scores: np.ndarray, rewards: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The reward of each query's row of the highest score, the first of equals, float [Q], queries sorted."""
    order = np.lexsort((-scores, queries))
    _, first = np.unique(queries[order], return_index=True)
    chosen: np.ndarray = rewards[order][first]
    return chosen


def clustered_mean(values: np.ndarray, owners: np.ndarray) -> tuple[float, float]:
    """The mean of one value per query, and its standard error where a user's queries go together; inf for one user."""
    _, owner = np.unique(owners, return_inverse=True)
    mean, n_users = float(values.mean()), int(owner.max()) + 1
    if n_users < 2:
        return mean, float("inf")
    excess = np.bincount(owner, values - mean)
    return mean, float(np.sqrt((excess**2).sum() * n_users / (n_users - 1)) / len(values))

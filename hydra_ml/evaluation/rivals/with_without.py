"""with_without (NextQuill, arXiv 2506.02368): what the personal context changes, and what it should have changed.

The paper measures the effect of a user's history on each token, in the model (with less without) and in the truth, and
trains the model to bring both together, most where the truth shows an effect. Here an effect is a vector, less that of
the generic answer (to the prompt without records): a linear map across users tells the truth's effect from the model's
and the user's other ones, and candidates are scored by how far theirs goes along with it, on top of the shared score.
Where the generic answer was not bought, every effect is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_ml.answering.arms import SERVED, ZERO_SHOT
from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rivals.pool_ranker import profiles
from hydra_ml.model.fit_heads import fit_shared

RIDGE = 1.0  # of the weights of evidence and effects
RIDGES = (1.0, 10.0, 100.0, 1000.0)  # of the map, one of which cross-fitting chooses
SHRINK = 4.0  # questions that count as much as knowing nothing of a user's effects
SHARPNESS = 8.0  # of the likeness of questions, by which the effects there speak for the one here
FOLDS = 4


@dataclass(frozen=True)
class Effects:
    """Effects of the context, zero where a query has no generic answer. float32."""

    candidates: np.ndarray  # [N, D], each candidate's
    model: np.ndarray  # [Q, D], of the served prompts' greedy answers, their mean
    history: np.ndarray  # [Q, D], of the mean of the answers the user gave before
    generic: np.ndarray  # [N], likeness of candidate and generic answer


def effects_of(pool: Pool) -> Effects:
    """Of each query and each of its candidates."""
    nothing = np.zeros_like(pool.asked)
    generic = pool.greedy.get(ZERO_SHOT.name, nothing)  # [Q, D]
    is_bought = np.abs(generic).max(axis=1, keepdims=True) > 0
    served = [pool.greedy.get(arm.name, nothing) for arm in SERVED]
    moved = [np.where(np.abs(v).max(axis=1, keepdims=True) > 0, v - generic, 0.0) for v in served]
    profile = profiles(pool)
    has_history = np.abs(profile).max(axis=1, keepdims=True) > 0
    shown, of_row = is_bought[pool.query], generic[pool.query]  # gathers [N, 1], [N, D]
    return Effects(
        np.where(shown, pool.said - of_row, 0.0).astype(np.float32),
        np.where(is_bought, np.mean(moved, axis=0), 0.0).astype(np.float32),
        np.where(is_bought & has_history, profile - generic, 0.0).astype(np.float32),
        (pool.said * of_row).sum(axis=1),
    )


def true_effects(lesson: Lesson, candidates: np.ndarray) -> np.ndarray:
    """The effect of what should have been chosen, float32 [Q, D]."""
    found = np.zeros_like(lesson.asked)
    np.add.at(found, lesson.query, lesson.targets[:, None] * candidates)  # [N, D] summed into [Q, D]
    return found


def users_effects(pool: Pool, lesson: Lesson, true: np.ndarray) -> np.ndarray:
    """The true effects on the user's other training queries, their mean by likeness of the questions, shrunk to none
    where there are few, float32 [Q, D]."""
    found = np.zeros_like(pool.asked)
    for user_id in np.unique(pool.user_ids):
        mine, own = np.flatnonzero(pool.user_ids == user_id), np.flatnonzero(lesson.user_ids == user_id)
        if not len(own):
            continue
        weight = np.exp(SHARPNESS * (pool.asked[mine] @ lesson.asked[own].T - 1))  # [q, n]
        if pool is lesson:
            np.fill_diagonal(weight, 0.0)
        n = (weight > 0).sum(axis=1, keepdims=True)
        mean = weight @ true[own] / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
        found[mine] = mean * n / (n + SHRINK)
    return found


def ridge_map(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """The matrix [K, D] that takes x [Q, K] nearest to y [Q, D], by least squares with a ridge."""
    found: np.ndarray = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
    return found


def cross_fitted(x: np.ndarray, y: np.ndarray, users: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the map tells of each query from other users' [Q, D], and the map of all [K, D], both with the ridge that
    tells it best."""
    names, owner = np.unique(users, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[owner]
    told = {ridge: np.zeros_like(y) for ridge in RIDGES}
    for ridge in RIDGES:
        for f in range(FOLDS):
            told[ridge][fold == f] = x[fold == f] @ ridge_map(x[fold != f], y[fold != f], ridge)
    best = min(RIDGES, key=lambda ridge: float(((told[ridge] - y) ** 2).sum()))
    return told[best], ridge_map(x, y, best)


def fit(lesson: Lesson, seed: int) -> Choose:
    """The map and the weights, learned from known users' queries; a user's own training queries tell their effects."""
    of_lesson = effects_of(lesson)
    true = true_effects(lesson, of_lesson.candidates)

    def causes(pool: Pool, effects: Effects) -> list[np.ndarray]:
        return [effects.model, users_effects(pool, lesson, true), effects.history]  # [Q, D] each

    def inputs(pool: Pool, effects: Effects, told: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
        along = [(effects.candidates * part[pool.query]).sum(axis=1) for part in (told, *parts)]  # gathers [N, D]
        return np.stack([*pool.evidence.T, pool.shared, effects.generic, *along], axis=1)  # [N, E + 6]

    known = lesson.is_known
    parts = causes(lesson, of_lesson)
    x = np.concatenate(parts, axis=1)
    told = np.zeros_like(lesson.asked)
    told[known], to_truth = cross_fitted(x[known], true[known], lesson.user_ids[known], seed)
    table = inputs(lesson, of_lesson, told, parts)
    size = np.maximum(table.std(axis=0), 1e-6)
    size[: lesson.evidence.shape[1] + 1] = 1.0
    strong = np.linalg.norm(true, axis=1)
    weights = fit_shared(*_twice(table / size, lesson, known, known & (strong > np.median(strong[known]))), ridge=RIDGE)

    def choose(pool: Pool) -> np.ndarray:
        effects = effects_of(pool)
        parts = causes(pool, effects)
        told = np.concatenate(parts, axis=1) @ to_truth
        scores: np.ndarray = (inputs(pool, effects, told, parts) / size @ weights).astype(np.float32)
        return scores

    return choose


def _twice(
    x: np.ndarray, lesson: Lesson, known: np.ndarray, again: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows x, targets and queries of the known users, with those of the queries in `again` a second time: where the
    truth shows more of an effect there is more to learn."""
    once, more = np.flatnonzero(known[lesson.query]), np.flatnonzero(again[lesson.query])
    rows = np.concatenate([once, more])
    return x[rows], lesson.targets[rows], np.concatenate([lesson.query[once], lesson.query[more] + len(known)])


METHOD = rival(
    "with_without",
    fit,
    "candidates by what they change of the generic answer",
    paper="arXiv 2506.02368",
    taught=(ZERO_SHOT,),
)

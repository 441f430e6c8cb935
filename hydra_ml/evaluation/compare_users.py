"""How each user fares under a release's heads, and which users fare better or worse under one version than another.

Knows nothing of where the figures are kept; `io.tracking` stores them, `jobs.heads_compare` prints them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.evaluation.grid import COHORTS, band_label
from hydra_ml.evaluation.harm import TIE, n_worst
from hydra_ml.evaluation.statistics import Difference, mean_of, paired_difference, resample
from hydra_ml.measures import higher_is_better, per_query
from hydra_ml.tasks.task import Task

OURS, SHARED, REFERENCE = METHODS = ("hydra", "hydra_shared", "rag_k4")
USER_COLUMNS = ("user_id", *METHODS, "n", "cohort", "n_history", "band", "measure")


def user_measures(predictions: pd.DataFrame, task: Task, *, bands: Sequence[int]) -> pd.DataFrame:
    """USER_COLUMNS: each evaluated user's mean of the task's first measure under METHODS, sorted by user_id.

    predictions: arena.ARENA_COLUMNS, methods beyond METHODS are left out; NaN where a method has no row. n: the
    user's queries; n_history: the longest history one of them could see; measure: the measure's name.
    Raises DataError if `hydra` answered nothing.
    """
    measure = task.measures[0]
    kept = predictions[predictions["method"].isin(METHODS)]
    if not (kept["method"] == OURS).any():
        raise DataError(f"{task.name}: the predictions hold no row of {OURS}, so no user has a measure under it.")
    answers = [None if pd.isna(answer) else str(answer) for answer in kept["prediction"]]
    parts = per_query(task, answers, kept["gold"].tolist())[measure][:, 0]
    by_user = kept.assign(value=parts).pivot_table(
        index="user_id", columns="method", values="value", aggfunc="mean", observed=True
    )
    facts = kept.groupby("user_id").agg(
        cohort=("cohort", "first"), n_history=("n_history", "max"), n=("query_id", "nunique")
    )
    table = facts.join(by_user.reindex(columns=list(METHODS))).reset_index().sort_values("user_id", ignore_index=True)
    table["band"] = [band_label(n, bands) for n in table["n_history"]]
    table["measure"] = measure
    return table[list(USER_COLUMNS)]


def user_gains(predictions: pd.DataFrame, task: Task) -> list[float]:
    """Of each user what `hydra` gains on rag_k4, positive is better, in the order of `user_measures`; [] where one of
    them did not run."""
    if not {OURS, REFERENCE} <= set(predictions["method"]):
        return []
    users = user_measures(predictions, task, bands=())
    sign = 1.0 if higher_is_better(task.measures[0]) else -1.0
    return [float(gain) for gain in sign * (users[OURS] - users[REFERENCE])]


def cohort_measures(users: pd.DataFrame) -> dict[str, float]:
    """The figures two versions are compared by, from a table of `user_measures`: names as MLflow allows them.

    cohort/<measure>.<slice> under hydra, and cohort/gain.<slice>, what that gains over rag_k4 (positive is better,
    whatever the measure). Slices: all, known, new, history_0, history_1-10, .. history_31_up: means over queries;
    worst_decile: the mean over the users of `harm.n_worst` that fare worst. Slices without users, and gains
    without rag_k4, are left out.
    """
    measure = str(users["measure"].iloc[0])
    sign = 1.0 if higher_is_better(measure) else -1.0
    gain = sign * (users[OURS] - users[REFERENCE])
    slices = {"all": users["n"] > 0}
    slices |= {cohort: users["cohort"] == cohort for cohort in COHORTS}
    slices |= {f"history_{band.replace('+', '_up')}": users["band"] == band for band in sorted(set(users["band"]))}
    found = {"cohort/n_users": float(len(users))}
    for name, rows in slices.items():
        if rows.any():
            weights = users.loc[rows, "n"]
            found[f"cohort/{measure}.{name}"] = float(np.average(users.loc[rows, OURS], weights=weights))
            found[f"cohort/gain.{name}"] = float(np.average(gain[rows], weights=weights))
    least = n_worst(len(users))
    worst = users.iloc[np.argsort(sign * users[OURS].to_numpy(), kind="stable")[:least]]
    found[f"cohort/{measure}.worst_decile"] = float(worst[OURS].mean())
    found["cohort/gain.worst_decile"] = float(gain.sort_values().iloc[:least].mean())
    return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class UsersCompared:
    """Two heads versions on the users both were measured on."""

    measure: str
    users: pd.DataFrame  # user_id, cohort, n_history, n, before, after, change; most changed first, then by user_id
    difference: Difference  # mean over users, after less before, users resampled
    better: int
    worse: int
    equal: int
    left_out: int  # users that one of the versions was not measured on
    same_queries: bool  # whether every user's n is the same under both

    @property
    def means(self) -> tuple[float, float]:
        """Mean over users before and after."""
        return float(self.users["before"].mean()), float(self.users["after"].mean())


def compare_heads(before: pd.DataFrame, after: pd.DataFrame, *, resamples: int, seed: int) -> UsersCompared:
    """Pair two tables of `user_measures` by user. Every user counts the same, however many queries.

    Raises ArtifactError if they hold different measures or share no user.
    """
    measures = {str(table["measure"].iloc[0]) for table in (before, after) if len(table)}
    if len(measures) > 1:
        raise ArtifactError(f"the versions were measured by {' and '.join(sorted(measures))}; compare like with like.")
    both = before.merge(after, on="user_id", suffixes=("_before", "_after"), validate="one_to_one")
    if both.empty:
        raise ArtifactError(
            "no user was evaluated under both versions, so nothing can be paired. Evaluate both on the same data "
            "(`dvc repro`, then the nightly job)."
        )
    measure = measures.pop()
    pair = both[[f"{OURS}_before", f"{OURS}_after"]].to_numpy(dtype=np.float64)  # [U, 2]
    drawn = resample(
        pair[:, :, None],
        np.arange(len(pair)),
        mean_of,
        resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    change = pair[:, 1] - pair[:, 0]
    gained = change if higher_is_better(measure) else -change
    users = pd.DataFrame(
        {
            "user_id": both["user_id"],
            "cohort": both["cohort_after"],
            "n_history": both["n_history_after"],
            "n": both["n_after"],
            "before": pair[:, 0],
            "after": pair[:, 1],
            "change": change,
        }
    )
    order = np.lexsort([users["user_id"].to_numpy(dtype=str), -np.abs(change).round(9)])
    return UsersCompared(
        measure=measure,
        users=users.iloc[order].reset_index(drop=True),
        difference=paired_difference(drawn, 1, 0),
        better=int((gained > TIE).sum()),
        worse=int((gained < -TIE).sum()),
        equal=int((np.abs(gained) <= TIE).sum()),
        left_out=len(before) + len(after) - 2 * len(both),
        same_queries=bool((both["n_before"] == both["n_after"]).all()),
    )

"""The table of predictions, checked once and laid out by query and method, with what is known of each query.

Knows nothing of measures or statistics; `evaluation.arena` measures what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hydra_ml.errors import DataError
from hydra_ml.evaluation.methods import method_order
from hydra_ml.tasks.task import Task

ARENA_COLUMNS = ("method", "query_id", "user_id", "cohort", "n_history", "prediction", "gold")
COHORTS = ("known", "new")


@dataclass(frozen=True)
class Grid:
    """Every method's answer to every query; queries sorted by user, so that the order of the table's rows is gone."""

    methods: list[str]  # M
    queries: pd.DataFrame  # Q rows: query_id, user_id, cohort, n_history, gold
    answers: list[list[str | None]]  # [M][Q]; a missing prediction is None, as is one that could not be parsed
    missing: dict[str, int]


def facts_of(queries: pd.DataFrame) -> pd.DataFrame:
    """What the arena must know of each evaluated query: query_id, user_id, cohort, n_history, gold."""
    return queries[["query_id", "user_id", "cohort", "gold"]].assign(n_history=queries["profile"].str.len())


def band_label(n_history: int, edges: Sequence[int]) -> str:
    """The band a history length falls in: "0", "1-10", "11-30" or "31+" for edges [10, 30]."""
    if n_history <= 0:
        return "0"
    low = 1
    for edge in sorted(edges):
        if n_history <= edge:
            return f"{low}-{edge}"
        low = edge + 1
    return f"{low}+"


def read_grid(predictions: pd.DataFrame, task: Task) -> Grid:
    """The grid of a table with ARENA_COLUMNS, the same for any order of its rows. Raises as `arena.compare` does."""
    lacking = [column for column in ARENA_COLUMNS if column not in predictions.columns]
    if lacking:
        raise DataError(f"{task.name}: the predictions table lacks the column(s) {', '.join(lacking)}.")
    if predictions.empty:
        raise DataError(f"{task.name}: the predictions table is empty. Are there questions to evaluate?")
    repeated = predictions[predictions.duplicated(["method", "query_id"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise DataError(f"{task.name}: {row['method']} answers query {row['query_id']} more than once; keep one row.")
    facts = ["query_id", "user_id", "cohort", "n_history", "gold"]
    queries = predictions[facts].drop_duplicates().sort_values(["user_id", "query_id"], ignore_index=True)
    disputed = queries.loc[queries["query_id"].duplicated(), "query_id"]
    if len(disputed):
        raise DataError(
            f"{task.name}: methods disagree about the user, cohort, history or gold of query {disputed.iloc[0]}."
        )
    unknown = queries.loc[queries["gold"].isna(), "query_id"]
    if len(unknown):
        raise DataError(
            f"{task.name}: query {unknown.iloc[0]} has no gold answer; only answered queries are evaluated."
        )
    strange = queries.loc[~queries["cohort"].isin(COHORTS), ["query_id", "cohort"]]
    if len(strange):
        query_id, cohort = strange.iloc[0]
        raise DataError(f"{task.name}: query {query_id} has cohort {cohort!r}; allowed are {' and '.join(COHORTS)}.")
    methods = method_order(predictions["method"].tolist())
    answers, missing = [], {}
    for method in methods:
        given = predictions[predictions["method"] == method].set_index("query_id")["prediction"]
        missing[method] = len(queries) - len(given)
        answers.append([None if pd.isna(a) else str(a) for a in given.reindex(queries["query_id"])])
    return Grid(methods, queries, answers, missing)

"""The side-by-side of methods: the same queries, the same measures, the same resamples for all.

Takes a table of predictions and a task, gives values with intervals, paired differences, and who was made worse.
Knows nothing of how predictions came about, nor of files; `evaluation.report` prints it, `io.plots` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hydra_ml.errors import DataError
from hydra_ml.evaluation.methods import all_methods
from hydra_ml.evaluation.statistics import (
    Resampled,
    bootstrap_interval,
    detectable_difference,
    mcnemar_exact,
    paired_difference,
    resample,
)
from hydra_ml.measures import MEASURES, FloatArray, higher_is_better, is_parsable, per_query
from hydra_ml.tasks.task import Task

SWAPPED, CEILING = "hydra_swapped", "best_candidate"  # controls: no personal gain, and all there is to gain
REFERENCE = "rag_k4"  # what users would get without HYDRA: nobody should be worse off than with it
ARENA_COLUMNS = ("method", "query_id", "user_id", "cohort", "n_history", "prediction", "gold")
COHORTS = ("known", "new")
TIE = 1e-9  # users whose summed scores differ by less fared equally

Document = dict[str, Any]  # plain JSON types


@dataclass(frozen=True)
class Slice:
    """Some of the queries: what each method reached on them, and how each HYDRA method differs from the others."""

    n_queries: int
    n_users: int
    metrics: dict[str, dict[str, Document]]  # method, measure: value, ci_low, ci_high, n
    paired: dict[str, dict[str, dict[str, Document]]]  # method, against, measure: difference, ci_low, ci_high, p, n, ..


@dataclass(frozen=True)
class ArenaResults:
    """Everything the arena found for one task. Interval ends and p are None where there was one user only."""

    task: str  # as reports print it
    measures: tuple[str, ...]  # primary first
    best_baseline: str | None  # best by the primary measure that is neither HYDRA's nor a control; None: there was none
    overall: Slice
    cohorts: dict[str, Slice]  # "known", "new": those that have queries
    bands: dict[str, Slice]  # "0", "1-10", ..: by number of history records, those that have queries
    users: dict[str, dict[str, Document]]  # HYDRA method: share of users "worse", "equal", "better" than under rag_k4
    unparsable: dict[str, int]  # method: predictions that stood for no answer, missing ones included
    missing: dict[str, int]  # method: queries it gave no row for

    def metrics_document(self) -> Document:
        """{method: {measure: {value, ci_low, ci_high, n}}}; the caller adds llm, data_version, seed and task."""
        return dict(self.overall.metrics)

    def details_document(self) -> Document:
        """The rest: measures, best baseline, paired differences, cohorts, bands, users, unparsable and missing."""
        document = asdict(self)
        overall = document.pop("overall")
        document["measures"] = list(self.measures)
        return document | {key: overall[key] for key in ("n_queries", "n_users", "paired")}


@dataclass(frozen=True)
class _Grid:
    """Every method's answer to every query; queries sorted by user, so that the order of the table's rows is gone."""

    methods: list[str]  # M
    queries: pd.DataFrame  # Q rows: query_id, user_id, cohort, n_history, gold
    answers: list[list[str | None]]  # [M][Q]; a missing prediction is None, as is one that could not be parsed
    missing: dict[str, int]


def compare(
    predictions: pd.DataFrame, task: Task, *, resamples: int, seed: int, bands: Sequence[int] = (10, 30)
) -> ArenaResults:
    """The methods in `predictions` measured side by side; the same table in any row order gives the same results.

    predictions: ARENA_COLUMNS, a row per method and query; prediction is None where the answer was unparsable. A
    query that a method has no row for is scored as unparsable. bands: upper edges of history-length bands, [10, 30]
    for 1-10, 11-30 and 31+, with 0 apart. The best baseline is chosen on the very queries it is then compared on,
    which flatters it a little: the differences against it are conservative.
    Raises DataError for a missing column, an empty table, a repeated (method, query_id), an unknown cohort, and
    methods that disagree about a query's user, cohort, history or gold.
    """
    grid = _grid(predictions, task)
    golds = grid.queries["gold"].tolist()
    by_method = [per_query(task, answers, golds) for answers in grid.answers]
    components = {measure: np.stack([parts[measure] for parts in by_method], axis=1) for measure in task.measures}
    everywhere = np.ones(len(golds), dtype=np.bool_)
    best = _best_baseline(grid.methods, task.measures[0], components[task.measures[0]])
    arena = _Arena(grid, task, components, best, resamples, seed)
    labels = np.array([band_label(n, bands) for n in grid.queries["n_history"]])
    order = [band_label(edge, bands) for edge in (0, *sorted(bands), max(bands, default=0) + 1)]
    return ArenaResults(
        task=task.name,
        measures=task.measures,
        best_baseline=best,
        overall=arena.results_on(everywhere),
        cohorts={
            c: arena.results_on(rows) for c in COHORTS if (rows := (grid.queries["cohort"] == c).to_numpy()).any()
        },
        bands={band: arena.results_on(rows) for band in order if (rows := labels == band).any()},
        users=arena.user_shares(),
        unparsable={m: sum(not is_parsable(task, a) for a in grid.answers[i]) for i, m in enumerate(grid.methods)},
        missing=grid.missing,
    )


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


def method_order(methods: Sequence[str]) -> list[str]:
    """The methods once each, in the order of `evaluation.methods`, unknown ones after these by name."""
    known = list(all_methods())
    return sorted(set(methods), key=lambda m: (known.index(m) if m in known else len(known), m))


def is_hydra(method: str) -> bool:
    """Whether a method is one of HYDRA's own variants."""
    return method in all_methods() and all_methods()[method].family == "hydra"


def is_control(method: str) -> bool:
    """Whether a method cannot be had: a stranger's heads, or a choice by who knows the answer."""
    return method in all_methods() and all_methods()[method].family == "control"


def is_floor(method: str) -> bool:
    """Whether a method needs no LLM: what a person could do without one."""
    return method in all_methods() and all_methods()[method].family == "floor"


@dataclass(frozen=True)
class _Arena:
    """One task's grid with its per-query components, cut into slices on demand."""

    grid: _Grid
    task: Task
    components: dict[str, FloatArray]  # measure: [Q, M, C]
    best_baseline: str | None
    resamples: int
    seed: int

    def results_on(self, rows: NDArray[np.bool_]) -> Slice:
        """The results on the queries where `rows` [Q] is true; at least one is."""
        users = self._user_codes(rows)
        resampled = {
            # Every measure starts the generator anew and so sees the same resamples: accuracy and F1 move together.
            measure: resample(
                parts[rows],
                users,
                MEASURES[measure].aggregate,
                resamples=self.resamples,
                rng=np.random.default_rng(self.seed),
            )
            for measure, parts in self.components.items()
        }
        n = len(users)
        methods = self.grid.methods
        return Slice(
            n_queries=n,
            n_users=int(users.max()) + 1,
            metrics={
                method: {
                    measure: _plain(asdict(bootstrap_interval(drawn, index)) | {"n": n})
                    for measure, drawn in resampled.items()
                }
                for index, method in enumerate(methods)
            },
            paired={
                method: {
                    other: {
                        measure: self._difference(measure, drawn, rows, method, other)
                        for measure, drawn in resampled.items()
                    }
                    for other in self._opponents(method)
                }
                for method in methods
                if is_hydra(method)
            },
        )

    def user_shares(self) -> dict[str, dict[str, Document]]:
        """For each HYDRA method the share of users worse, equal and better off than under REFERENCE; {} without it.

        By each user's mean of the primary measure. A user with few queries is easily worse by luck: read the shares
        of several methods against each other, not as a share of users harmed for good.
        """
        methods = [m for m in self.grid.methods if is_hydra(m)]
        if REFERENCE not in self.grid.methods or not methods:
            return {}
        primary = self.task.measures[0]
        scores = self.components[primary][:, :, 0] * (1 if higher_is_better(primary) else -1)  # [Q, M]
        columns = [self.grid.methods.index(m) for m in methods]
        gaps = scores[:, columns] - scores[:, [self.grid.methods.index(REFERENCE)]]  # [Q, H]
        users = self._user_codes(np.ones(len(scores), dtype=np.bool_))
        per_user = np.zeros((int(users.max()) + 1, len(methods)))
        np.add.at(per_user, users, gaps)  # [U, H]; same queries on both sides, so sums compare as means do
        verdicts = {"worse": per_user < -TIE, "equal": np.abs(per_user) <= TIE, "better": per_user > TIE}
        shares: dict[str, dict[str, Document]] = {method: {} for method in methods}
        for verdict, holds in verdicts.items():
            drawn = resample(
                holds.astype(np.float64)[:, :, None],
                np.arange(len(per_user)),
                MEASURES["accuracy"].aggregate,
                resamples=self.resamples,
                rng=np.random.default_rng(self.seed),
            )
            for index, method in enumerate(methods):
                shares[method][verdict] = _plain(asdict(bootstrap_interval(drawn, index)) | {"n": len(per_user)})
        return shares

    def _user_codes(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        codes, _ = pd.factorize(self.grid.queries["user_id"].to_numpy()[rows])
        return codes.astype(np.int64)

    def _opponents(self, method: str) -> list[str]:
        wanted = [self.best_baseline, REFERENCE, *filter(is_floor, self.grid.methods), "hydra_shared", SWAPPED]
        return [m for m in dict.fromkeys(wanted) if m is not None and m in self.grid.methods and m != method]

    def _difference(self, measure: str, drawn: Resampled, rows: NDArray[np.bool_], method: str, other: str) -> Document:
        first, second = self.grid.methods.index(method), self.grid.methods.index(other)
        found = asdict(paired_difference(drawn, first, second))
        found["detectable"] = detectable_difference(found.pop("standard_error"))
        if measure == "accuracy":
            hits = self.components[measure][rows][:, :, 0] > 0  # [Q, M]
            found["mcnemar_p"] = mcnemar_exact(hits[:, first], hits[:, second])
        return _plain(found | {"n": int(rows.sum())})


def _best_baseline(methods: list[str], primary: str, components: FloatArray) -> str | None:
    """Of equals the first in METHODS' order; None where every method is HYDRA's or a control."""
    count = np.array(len(components), dtype=np.float64)
    values = MEASURES[primary].aggregate(components.sum(axis=0), count) * (1 if higher_is_better(primary) else -1)
    baselines = [index for index, method in enumerate(methods) if not is_hydra(method) and not is_control(method)]
    return methods[max(baselines, key=lambda index: (values[index], -index))] if baselines else None


def _grid(predictions: pd.DataFrame, task: Task) -> _Grid:
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
    return _Grid(methods, queries, answers, missing)


def _plain(document: Document) -> Document:
    """The document with NaN, which JSON does not have, made None."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in document.items()}

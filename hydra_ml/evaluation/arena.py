"""The side-by-side of methods: the same queries, the same measures, the same resamples for all.

Takes a table of predictions and a task, gives values with intervals, paired differences, and who was made worse.
Knows nothing of how predictions came about, nor of files; `evaluation.report` prints it, `io.plots` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hydra_ml.evaluation.grid import COHORTS, Grid, band_label, read_grid
from hydra_ml.evaluation.harm import verdict_shares, worst_decile
from hydra_ml.evaluation.methods import is_control, is_floor, is_hydra, is_rival
from hydra_ml.evaluation.responsiveness import responsiveness
from hydra_ml.evaluation.results import (
    CONTROL,
    GOLD,
    HARMED,
    HELD_AGAINST,
    OURS,
    REFERENCE,
    SWAPPED,
    ArenaResults,
    Document,
    Slice,
    document_of,
    plain,
)
from hydra_ml.evaluation.statistics import (
    Estimate,
    Resampled,
    bootstrap_interval,
    detectable_difference,
    holm_adjusted,
    mcnemar_exact,
    mean_of,
    paired_difference,
    resample,
)
from hydra_ml.evaluation.style import style_distances
from hydra_ml.measures import FloatArray, higher_is_better, is_parsable, measure_named, per_query
from hydra_ml.tasks.task import Task


def compare(
    predictions: pd.DataFrame,
    task: Task,
    *,
    resamples: int,
    seed: int,
    bands: Sequence[int] = (10, 30),
    own_texts: Mapping[str, Sequence[str]] | None = None,
) -> ArenaResults:
    """The methods in `predictions` measured side by side; the same table in any row order gives the same results.

    predictions: ARENA_COLUMNS, a row per method and query; prediction is None where the answer was unparsable. A
    query that a method has no row for is scored as unparsable. bands: upper edges of history-length bands, [10, 30]
    for 1-10, 11-30 and 31+, with 0 apart. own_texts: what users wrote themselves, for style; of use for texts alone.
    The best baseline is chosen on the very queries it is then compared on, which flatters it a little: the differences
    against it are conservative.
    Raises DataError for a missing column, an empty table, a repeated (method, query_id), an unknown cohort, and
    methods that disagree about a query's user, cohort, history or gold.
    """
    grid = read_grid(predictions, task)
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
        overall=_with_holm(arena.results_on(everywhere), task.measures, best),
        cohorts={
            c: arena.results_on(rows) for c in COHORTS if (rows := (grid.queries["cohort"] == c).to_numpy()).any()
        },
        bands={band: arena.results_on(rows) for band in order if (rows := labels == band).any()},
        harm=arena.harm(),
        worst_decile=arena.worst_decile(),
        responsiveness=arena.responsiveness(),
        style=arena.style(own_texts or {}),
        unparsable={m: sum(not is_parsable(task, a) for a in grid.answers[i]) for i, m in enumerate(grid.methods)},
        missing=grid.missing,
    )


@dataclass(frozen=True)
class _Arena:
    """One task's grid with its per-query components, cut into slices on demand."""

    grid: Grid
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
                measure_named(measure).aggregate,
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
                    measure: plain(asdict(bootstrap_interval(drawn, index)) | {"n": n})
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
                if is_hydra(method) or (is_rival(method) and not is_control(method))
            },
        )

    def harm(self) -> dict[str, dict[str, dict[str, Document]]]:
        """By the primary measure; a method of HELD_AGAINST that did not run is left out, as are floors and controls.

        A user with few queries is easily worse by luck: read the shares of several methods against each other, not as
        a share of users harmed for good.
        """
        names = self.grid.methods
        judged = [m for m in names if not is_control(m) and not is_floor(m)]
        users = self._user_codes()
        found: dict[str, dict[str, dict[str, Document]]] = {method: {} for method in judged}
        for reference in filter(names.__contains__, HELD_AGAINST):
            methods = [m for m in judged if m != reference]
            gaps = self._scores(methods) - self._scores([reference])  # [Q, H]
            per_user = np.zeros((int(users.max()) + 1, len(methods)))
            np.add.at(per_user, users, gaps)  # [U, H]; same queries on both sides, so sums compare as means do
            for name, (some, units) in zip(HARMED, ((per_user, np.arange(len(per_user))), (gaps, users)), strict=True):
                shares = verdict_shares(some, units, resamples=self.resamples, seed=self.seed)
                for method, verdicts in zip(methods, shares, strict=True):
                    told = {verdict: document_of(share, len(some)) for verdict, share in verdicts.items()}
                    found[method].setdefault(reference, {})[name] = told
        return found

    def worst_decile(self) -> dict[str, Document]:
        """Every method's mean over the users it serves worst, in the primary measure's own direction."""
        users = self._user_codes()
        totals = np.zeros((int(users.max()) + 1, len(self.grid.methods)))
        np.add.at(totals, users, self._scores(self.grid.methods))
        per_user = totals / np.bincount(users)[:, None]  # [U, M]
        worst = worst_decile(per_user, resamples=self.resamples, rng=np.random.default_rng(self.seed))
        if not higher_is_better(self.task.measures[0]):
            worst = [Estimate(0.0 - found.value, 0.0 - found.ci_high, 0.0 - found.ci_low) for found in worst]
        return {m: document_of(found, len(per_user)) for m, found in zip(self.grid.methods, worst, strict=True)}

    def responsiveness(self) -> dict[str, Document]:
        """Of each method that ran beside its control, which is named for it: hydra, hydra_swapped."""
        found = {}
        for method in self.grid.methods:
            if (control := CONTROL.format(method)) in self.grid.methods:
                gaps = self._scores([method, control]) @ [1.0, -1.0]  # [Q]
                own, other = (self.grid.answers[self.grid.methods.index(name)] for name in (method, control))
                told = responsiveness(own, other, gaps, self._user_codes(), resamples=self.resamples, seed=self.seed)
                found[method] = asdict(told) | {
                    "changed": document_of(told.changed, told.n),
                    "gain": document_of(told.gain, told.n_changed),
                }
        return found

    def style(self, own_texts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Document]]:
        """Distances to the users' own texts, mean over the users that have some; {} for other tasks than texts."""
        users, golds = self.grid.queries["user_id"].tolist(), self.grid.queries["gold"].tolist()
        own = {user: own_texts[user] for user in set(users) & own_texts.keys() if any(own_texts[user])}
        if self.task.kind != "text" or not own:
            return {}
        distances = style_distances(users, [*self.grid.answers, golds], own)
        found: dict[str, dict[str, Document]] = {method: {} for method in (*self.grid.methods, GOLD)}
        for name, by_user in distances.items():  # [U, M + 1]
            drawn = resample(
                by_user[:, :, None],
                np.arange(len(by_user)),
                mean_of,
                resamples=self.resamples,
                rng=np.random.default_rng(self.seed),
            )
            for index, told in enumerate(found.values()):
                told[name] = document_of(bootstrap_interval(drawn, index), len(by_user))
        return found

    def _scores(self, methods: Sequence[str]) -> FloatArray:
        """[Q, M]: the primary measure of each answer, higher is better."""
        primary = self.task.measures[0]
        columns = [self.grid.methods.index(method) for method in methods]
        scores: FloatArray = self.components[primary][:, columns, 0] * (1 if higher_is_better(primary) else -1)
        return scores

    def _user_codes(self, rows: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.int64]:
        codes, _ = pd.factorize(self.grid.queries["user_id"].to_numpy()[rows])
        return codes.astype(np.int64)

    def _opponents(self, method: str) -> list[str]:
        wanted = [self.best_baseline, REFERENCE, *filter(is_floor, self.grid.methods), "hydra_shared", SWAPPED]
        if is_rival(method):
            wanted = [CONTROL.format(method)]
        elif method == OURS:
            wanted += [m for m in self.grid.methods if is_rival(m) and not is_control(m)]
        return [m for m in dict.fromkeys(wanted) if m is not None and m in self.grid.methods and m != method]

    def _difference(self, measure: str, drawn: Resampled, rows: NDArray[np.bool_], method: str, other: str) -> Document:
        first, second = self.grid.methods.index(method), self.grid.methods.index(other)
        found = asdict(paired_difference(drawn, first, second))
        found["detectable"] = detectable_difference(found.pop("standard_error"))
        if measure == "accuracy":
            hits = self.components[measure][rows][:, :, 0] > 0  # [Q, M]
            found["mcnemar_p"] = mcnemar_exact(hits[:, first], hits[:, second])
        return plain(found | {"n": int(rows.sum())})


def _best_baseline(methods: list[str], primary: str, components: FloatArray) -> str | None:
    """Of equals the first in METHODS' order; None where every method is HYDRA's or a control."""
    count = np.array(len(components), dtype=np.float64)
    values = measure_named(primary).aggregate(components.sum(axis=0), count) * (1 if higher_is_better(primary) else -1)
    baselines = [index for index, method in enumerate(methods) if not is_hydra(method) and not is_control(method)]
    return methods[max(baselines, key=lambda index: (values[index], -index))] if baselines else None


def _with_holm(overall: Slice, measures: Sequence[str], best_baseline: str | None) -> Slice:
    """The slice with p_holm beside p. A family is what tables show of one measure: every HYDRA method less the best
    baseline, and OURS less each of its opponents. Other pairs have none, nor have cohorts and bands."""
    shown = [
        (method, other)
        for method, others in overall.paired.items()
        for other in others
        if method == OURS or (other == best_baseline and is_hydra(method))
    ]
    for measure in measures:
        family = [overall.paired[method][other][measure] for method, other in shown]
        for pair, p in zip(family, holm_adjusted([_number(pair["p"]) for pair in family]), strict=True):
            pair["p_holm"] = None if math.isnan(p) else p
    return overall


def _number(value: float | None) -> float:
    return math.nan if value is None else value

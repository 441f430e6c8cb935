"""A rival as a method of the arena: what it may learn from, what it chooses among, and its swapped control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import candidate_rows, distinct_candidates, scored_candidates
from hydra_ml.answering.arms import SERVED, Arm
from hydra_ml.answering.fit_component import ComponentRows, telling
from hydra_ml.answering.preferred_answers import preferred_answers
from hydra_ml.evaluation.methods.method import Bench, Lessons, Method, Predictions, strangers
from hydra_ml.evaluation.rival_pool import Lesson, Pool, read_pool
from hydra_ml.records import GREEDY
from hydra_ml.tasks.task import Task

Choose = Callable[[Pool], np.ndarray]  # scores float32 [N] of a pool's rows, higher is better
Fit = Callable[[Lesson, int], Choose]  # what to learn from, and the seed


def rival(
    name: str,
    fit: Fit,
    told: str,
    *,
    paper: str,
    arms: tuple[Arm, ...] = SERVED,
    is_choice: bool = True,
    taught: tuple[Arm, ...] = (),
    has_control: bool = True,
    fits: Callable[[Task], bool] | None = None,
) -> Method:
    """Another paper's way to choose among answers, by default those that HYDRA serves; its control answers each user by
    a stranger's part. fit: learns it. has_control: false where a user's part lies in the prompts alone.

    arms: whose answers it chooses among; is_choice: among their samples too, else among the greedy ones. taught: whose
    answers to training queries it needs beside the served ones, to learn from them.
    """

    def answer(bench: Bench, *, swapped: bool = False) -> Predictions:
        view = _view(bench, arms, is_choice)
        if (name,) not in bench.made:
            bench.made[name,] = fit(view.lesson, bench.seed)
        scores: np.ndarray = bench.made[name,](view.strange_pool if swapped else view.pool)
        return bench.chosen_by(view.rows[0].assign(personal=scores), scores)

    return Method(
        name,
        told,
        75,
        "rival",
        answer,
        tuple(dict.fromkeys((*arms, *taught))),
        is_choice=is_choice,
        taught=taught,
        paper=paper,
        fits=fits or (lambda task: True),
        swapped=(lambda bench: answer(bench, swapped=True)) if has_control else None,
    )


def _view(bench: Bench, arms: tuple[Arm, ...], is_choice: bool) -> _View:
    """What rivals see under these arms, made once for all of them."""
    found: _View = bench.made.setdefault((arms, is_choice), _View(bench, arms, is_choice))
    return found


@dataclass(frozen=True)
class _View:
    """A bench as a rival sees it: its lesson, its pool, and the pool under strangers' names."""

    bench: Bench
    arms: tuple[Arm, ...]
    is_choice: bool

    @cached_property
    def lesson(self) -> Lesson:
        """HYDRA's own training queries, those that tell something."""
        rows, evidence = self._rows(self._lessons.queries, self._lessons.answers)
        said = preferred_answers(self.bench.task, *(rows[name].tolist() for name in ("answer", "gold", "query_id")))
        told = ComponentRows(rows, evidence, *said)
        told = told.take(telling(told))
        known = told.table.drop_duplicates("query_id")["cohort"].eq("known").to_numpy()
        pool = self._read(told.table, told.evidence, self._lessons.answers)
        unseen = np.full(len(told), np.nan, dtype=np.float32)
        if self._lessons.unseen is not None:
            keys = ["query_id", "answer"]
            found = told.table[keys].merge(self._lessons.unseen, on=keys, how="left", validate="one_to_one")
            unseen = found["score"].to_numpy(dtype=np.float32)
        return Lesson(**vars(pool), targets=told.targets, rewards=told.rewards, is_known=known, unseen=unseen)

    @cached_property
    def rows(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Rows of `scored_candidates` of the evaluated queries, and their evidence."""
        if (self.arms, self.is_choice) == (SERVED, True):
            return self.bench.rows(SERVED)
        return self._rows(self.bench.queries, self.bench.answers)

    @cached_property
    def pool(self) -> Pool:
        """The evaluated queries' candidates."""
        return self._read(*self.rows, self.bench.answers)

    @cached_property
    def strange_pool(self) -> Pool:
        """The pool with each user in the place of another who has training queries too, as `strangers` pairs them."""
        with_lesson = set(self.lesson.user_ids.tolist())
        return self.pool.as_strangers(strangers(self.bench.queries, with_lesson, self.bench.seed))

    @property
    def _lessons(self) -> Lessons:
        assert self.bench.lessons is not None, "a bench without lessons has nothing for rivals to learn from"
        return self.bench.lessons

    def _rows(self, queries: pd.DataFrame, answers: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        bench = self.bench
        answers = answers[answers["arm"].isin([arm.name for arm in self.arms])]
        pool = distinct_candidates(answers if self.is_choice else answers[answers["sample_idx"] == GREEDY])
        rows, evidence = candidate_rows(pool, queries, bench.records, bench.task, bench.encode)
        return scored_candidates(rows, evidence, bench.score), evidence

    def _read(self, rows: pd.DataFrame, evidence: np.ndarray, answers: pd.DataFrame) -> Pool:
        bench = self.bench
        features = self._lessons.features(rows["a"].tolist(), rows["b"].tolist(), evidence)
        return read_pool(rows, evidence, features, answers, bench.records, bench.task, bench.encode)

"""Rows to fit on and rows to evaluate: each query with the records it may see.

The leakage rules are applied here, so that no later stage has to think of them: a profile never holds the query's own
text, a later record, or, in training, anything an evaluated question asks. Knows nothing of files or tables.

Legend: R records of one user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hydra_ml.learning.history import (
    Cohorts,
    History,
    Question,
    draw_order,
    evaluated_content,
    held_out,
    pool_history,
    question_asks,
    record_asks,
    strictly_earlier,
    too_late,
)
from hydra_ml.learning.reference_pairs import ReferencePairs, References, collect_references
from hydra_ml.params import Params
from hydra_ml.records import Cohort, Query, Record, Role, normalized
from hydra_ml.tasks.citation import CitationTask
from hydra_ml.tasks.task import Task


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query, its part in the experiment, and all it may see."""

    query: Query
    role: Role
    cohort: Cohort
    source_record_id: str  # "" for a question of the file
    profile: list[str]  # record ids, oldest first


@dataclass(frozen=True)
class PreparedUser:
    """One user's records and rows."""

    records: Sequence[Record]  # oldest first
    held_out: np.ndarray  # bool [R]: never learned from
    rows: list[PreparedQuery]


@dataclass(frozen=True)
class Asked:
    """The questions of the train split and of the evaluated split, by user, and every gold by question id."""

    dated: bool
    train: Mapping[str, Sequence[Question]]
    evaluate: Mapping[str, Sequence[Question]]
    golds: Mapping[str, str]


class Preparation:
    """Prepares users one by one, guarding what is evaluated from being learned; `dropped` counts what was left out."""

    def __init__(self, task: Task, asked: Asked, cohorts: Cohorts, params: Params) -> None:
        self.task = task
        self.asked = asked
        self.cohorts = cohorts
        self.params = params
        questions = [question for of_user in asked.evaluate.values() for question in of_user]
        self.evaluated = evaluated_content(task, questions, asked.golds)
        self.references = collect_references(task, asked.train, self.evaluated)
        self.dropped: Counter[str] = Counter()

    def user(self, user_id: str, arrived: Sequence[Record] = ()) -> PreparedUser:
        """The user's pooled records, then evaluated questions, pseudo-queries and (known users) train questions.

        Pooled are the questions' profiles and what `arrived` after the files.
        """
        train, evaluate = self.asked.train.get(user_id, []), self.asked.evaluate.get(user_id, [])
        chosen = evaluate if user_id in self.cohorts.evaluated else []
        history = pool_history(
            self.task,
            user_id,
            [*train, *evaluate],
            chosen=chosen,
            limit=self.params.prepare.history,
            arrived=self._learnable(arrived, evaluate),
        )
        out = held_out(self.task, history.records, self.evaluated)
        if self.asked.dated:
            out |= too_late(history.records, evaluate)
        rows = self._question_rows(user_id, chosen, history, allowed=np.ones_like(out), role="evaluate")
        pseudo = pseudo_queries(
            self.task,
            history.records,
            ~out,
            dated=self.asked.dated,
            cohort=self.cohorts.of(user_id),
            dropped=self.dropped,
            references=self.references,
            seed=self.params.seed,
            limit=queries_used(self.params),
        )
        if self.cohorts.of(user_id) == "known":
            asked = asked_texts(self.task, pseudo, history.records, ~out, limit=queries_used(self.params))
            fresh = self._training_questions(train, evaluate, asked)
            rows_asked = self._question_rows(user_id, fresh, history, allowed=~out, role="train")
            pseudo += [row for row in rows_asked if row.profile]
        return PreparedUser(history.records, out, rows + pseudo)

    def _learnable(self, arrived: Sequence[Record], evaluate: Sequence[Question]) -> list[Record]:
        """Those of a user's newly arrived records that may be learned from.

        No evaluated question was given the others either: left out, they crowd no usable record out of the limit.
        """
        out = held_out(self.task, arrived, self.evaluated)
        if self.asked.dated:
            out |= too_late(arrived, evaluate)
        if out.any():
            self.dropped["arrived records that an evaluated question repeats or precedes"] += int(out.sum())
        return [record for record, held in zip(arrived, out, strict=True) if not held]

    def _question_rows(
        self, user_id: str, questions: Sequence[Question], history: History, *, allowed: np.ndarray, role: Role
    ) -> list[PreparedQuery]:
        """One row per question, each with what `allowed` (bool [R]) leaves of its own profile; that may be nothing."""
        asks = [record_asks(self.task, record) for record in history.records]
        rows = []
        for question in questions:
            texts = question_asks(self.task, question.input)
            profile = []
            for i in history.profiles[question.question_id]:
                record = history.records[i]
                if asks[i] in texts:
                    self.dropped["profile records that ask the question's own text"] += 1
                elif question.date and not strictly_earlier(record.date, question.date):
                    self.dropped["profile records not earlier than their question"] += 1
                elif allowed[i]:
                    profile.append(record.record_id)
            gold, text = self.asked.golds[question.question_id], self.task.query_text(question.input)
            query = Query(question.question_id, user_id, question.input, text, gold, question.date)
            rows.append(PreparedQuery(query, role, self.cohorts.of(user_id), "", profile))
        return rows

    def _training_questions(
        self, train: Sequence[Question], evaluate: Sequence[Question], asked: Collection[str]
    ) -> list[Question]:
        """The user's train questions that no evaluated question repeats or precedes, and that are not `asked` yet."""
        kept = []
        for question in train:
            text = normalized(self.task.query_text(question.input))
            gold = normalized(self.asked.golds[question.question_id])
            if text in self.evaluated.texts or gold in self.evaluated.answers:
                self.dropped["train questions that an evaluated question repeats"] += 1
            elif question.date and any(q.date and not strictly_earlier(question.date, q.date) for q in evaluate):
                self.dropped["train questions not earlier than the user's evaluated ones"] += 1
            elif text in asked:
                self.dropped["train questions that a record of the user already asks"] += 1
            else:
                kept.append(question)
        return kept


def queries_used(params: Params) -> int:
    """How many training queries of a user the later stages draw at most: no more need be made."""
    return max(params.annotate.queries_per_user, params.generate.queries_per_user)


def pseudo_queries(
    task: Task,
    records: Sequence[Record],
    usable: np.ndarray,
    *,
    dated: bool,
    cohort: Cohort,
    dropped: Counter[str],
    references: References | None = None,
    seed: int = 0,
    limit: int | None = None,
    first: Collection[str] = (),
) -> list[PreparedQuery]:
    """One training row per usable record of one user: what the record asks, answered as the user did.

    Each sees the user's other usable records (bool [R]) that ask something else and, if dated, are strictly earlier;
    a record that would see none gives no row and is counted in `dropped`. With a `limit` only those rows are made that
    `draw_per_user` would draw, records with an id in `first` before others: the cost then grows with R, not with its
    square. `references` serve LaMP-1 alone.
    """
    order = np.flatnonzero(usable)
    if limit is not None:
        luck = [(records[i].record_id not in first, draw_order(_query_id(records[i]), seed)) for i in order.tolist()]
        order = order[sorted(range(len(order)), key=luck.__getitem__)]
    pairs = ReferencePairs(task, records, references or References(), seed) if isinstance(task, CitationTask) else None
    ids = np.array([record.record_id for record in records], dtype=object)

    def rows() -> Iterator[tuple[int, PreparedQuery]]:
        """Each record that can be asked again, by position, in the order of the draw."""
        at_once = max(1, len(order) if limit is None else limit)  # most often all that are wanted
        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            for i, seen in zip(some.tolist(), visible_to(task, records, usable, some, dated=dated), strict=True):
                asked = _question_of(records[i], seen) if pairs is None else _pair_question(pairs, i, seen)
                if asked is None:
                    dropped["records without a right or a wrong reference"] += 1
                elif not asked[2].any():
                    dropped["records with nothing to see as a pseudo-query"] += 1
                else:
                    yield i, _pseudo_query(task, records[i], *asked[:2], cohort, ids[asked[2]].tolist())

    made = dict(islice(rows(), limit))
    return [made[i] for i in sorted(made)]


def _question_of(record: Record, seen: np.ndarray) -> tuple[str, str, np.ndarray]:
    """Input, gold, and what of `seen` [R] the query may see."""
    return record.input, record.answer, seen


def _pair_question(pairs: ReferencePairs, i: int, seen: np.ndarray) -> tuple[str, str, np.ndarray] | None:
    """The same for LaMP-1, the right reference hidden; None if either reference cannot be had."""
    pair = pairs.question(i, seen)
    return None if pair is None else (*pair[:2], seen & pairs.other_titles(pair[2]))


def _pseudo_query(
    task: Task, record: Record, input: str, gold: str, cohort: Cohort, profile: list[str]
) -> PreparedQuery:
    query = Query(_query_id(record), record.user_id, input, task.query_text(input), gold, record.date)
    return PreparedQuery(query, "train", cohort, record.record_id, profile)


def asked_texts(
    task: Task, rows: Sequence[PreparedQuery], records: Sequence[Record], usable: np.ndarray, *, limit: int
) -> set[str]:
    """What the pseudo-queries of a user ask, normalized; of usable records that the limit left out, too."""
    texts = {normalized(row.query.text) for row in rows}
    return (
        texts if len(rows) < limit else texts | {record_asks(task, records[i]) for i in np.flatnonzero(usable).tolist()}
    )


def _query_id(record: Record) -> str:
    return f"{record.user_id}/{record.record_id}"


def visible_to(
    task: Task, records: Sequence[Record], usable: np.ndarray, some: np.ndarray, *, dated: bool
) -> np.ndarray:
    """bool [S, R]: what each of S records (positions), as a pseudo-query, may see; never itself or an equal text."""
    asks = np.unique(np.array([record_asks(task, record) for record in records], dtype=object), return_inverse=True)[1]
    visible = usable[None, :] & (asks[some, None] != asks[None, :])
    if dated:
        dates, day = np.unique(np.array([record.date for record in records], dtype=str), return_inverse=True)
        own = dates[day[some]][:, None]  # [S, 1]
        earlier = (dates[None, :] < own) & ~np.strings.startswith(own, dates[None, :])  # [S, D] as strictly_earlier
        visible &= earlier[:, day]  # [S, D] -> [S, R]
    return np.asarray(visible)

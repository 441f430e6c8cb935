"""Rows to fit on: queries made of a user's own records, each with the records it may see.

A profile never holds the query's own text, a later record, or anything an evaluated question asks: no later stage has
to think of it. Knows nothing of files or tables.

Legend: R records of one user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from hydra_ml.learning.guard import Guard
from hydra_ml.learning.history import draw_order, record_asks
from hydra_ml.learning.reference_pairs import ReferencePairs, References
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


def training_rows(
    task: Task,
    guard: Guard,
    records: Sequence[Record],
    usable: np.ndarray,
    questions: Iterable[PreparedQuery],
    *,
    cohort: Cohort,
    seed: int,
    limit: int,
    dropped: Counter[str],
    first: Collection[str] = (),
) -> list[PreparedQuery]:
    """All that one user's models may be fitted on: pseudo-queries of the usable records (bool [R]), then the train
    `questions` that no usable record asks already, each with what of its profile is usable, if anything is.

    The others are as `pseudo_queries` has them.
    """
    rows = pseudo_queries(
        task,
        records,
        usable,
        dated=guard.dated,
        cohort=cohort,
        dropped=dropped,
        references=guard.references,
        seed=seed,
        limit=limit,
        first=first,
    )
    asked = asked_texts(task, rows, records, usable, limit=limit)
    ids = {records[i].record_id for i in np.flatnonzero(usable).tolist()}
    for question in questions:
        profile = [record_id for record_id in question.profile if record_id in ids]
        if normalized(question.query.text) in asked:
            dropped["train questions that a record of the user already asks"] += 1
        elif profile:
            rows.append(replace(question, profile=profile))
    return rows


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

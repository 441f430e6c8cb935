"""What `prepare` makes of LaMP's questions: users with pooled histories, rows to fit on and rows to evaluate.

The leakage rules of `history` and `pseudo_queries` are applied here to each user. Knows nothing of files.

Legend: R records of one user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from hydra_ml.learning.guard import Guard
from hydra_ml.learning.history import (
    Cohorts,
    History,
    LampQuestion,
    evaluated_content,
    held_out,
    pool_history,
    question_asks,
    record_asks,
    strictly_earlier,
    too_late,
)
from hydra_ml.learning.pseudo_queries import PreparedQuery, training_rows
from hydra_ml.learning.reference_pairs import collect_references
from hydra_ml.records import QUERY_COLUMNS, RECORD_COLUMNS, Query, Record, Role, normalized
from hydra_ml.tasks.task import Task


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
    train: Mapping[str, Sequence[LampQuestion]]
    evaluate: Mapping[str, Sequence[LampQuestion]]
    golds: Mapping[str, str]

    def without(self, is_out: Callable[[str], bool]) -> Asked:
        """The same without some users' questions."""
        kept = [
            {user_id: of_user for user_id, of_user in split.items() if not is_out(user_id)}
            for split in (self.train, self.evaluate)
        ]
        return replace(self, train=kept[0], evaluate=kept[1])


class Preparation:
    """Prepares users one by one, guarding what is evaluated from being learned; `dropped` counts what was left out."""

    def __init__(self, task: Task, asked: Asked, cohorts: Cohorts, *, seed: int, history: int, limit: int) -> None:
        """history: how many of a user's newest records are kept; limit: training queries wanted of a user."""
        self.task = task
        self.asked = asked
        self.cohorts = cohorts
        self.seed, self.history, self.limit = seed, history, limit
        questions = [question for of_user in asked.evaluate.values() for question in of_user]
        evaluated = evaluated_content(task, questions, asked.golds)
        self.guard = Guard(evaluated, collect_references(task, asked.train, evaluated), asked.dated)
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
            limit=self.history,
            arrived=self._learnable(arrived, evaluate),
        )
        out = self._out(history.records, evaluate)
        rows = self._question_rows(user_id, chosen, history, role="evaluate")
        cohort = self.cohorts.of(user_id)
        fresh = self._training_questions(train, evaluate) if cohort == "known" else []
        rows += training_rows(
            self.task,
            self.guard,
            history.records,
            ~out,
            self._question_rows(user_id, fresh, history, role="train"),
            cohort=cohort,
            seed=self.seed,
            limit=self.limit,
            dropped=self.dropped,
        )
        return PreparedUser(history.records, out, rows)

    def _out(self, records: Sequence[Record], evaluate: Sequence[LampQuestion]) -> np.ndarray:
        """bool [R]: which of a user's records no model may be fitted on, given the user's evaluated questions."""
        out = held_out(self.task, records, self.guard.evaluated)
        return out | too_late(records, evaluate) if self.guard.dated else out

    def _learnable(self, arrived: Sequence[Record], evaluate: Sequence[LampQuestion]) -> list[Record]:
        """Those of a user's newly arrived records that may be learned from.

        No evaluated question was given the others either: left out, they crowd no usable record out of the limit.
        """
        out = self._out(arrived, evaluate)
        if out.any():
            self.dropped["arrived records that an evaluated question repeats or precedes"] += int(out.sum())
        return [record for record, held in zip(arrived, out, strict=True) if not held]

    def _question_rows(
        self, user_id: str, questions: Sequence[LampQuestion], history: History, *, role: Role
    ) -> list[PreparedQuery]:
        """One row per question, each with its own profile less what gives the answer away; that may leave nothing."""
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
                else:
                    profile.append(record.record_id)
            gold, text = self.asked.golds[question.question_id], self.task.query_text(question.input)
            query = Query(question.question_id, user_id, question.input, text, gold, question.date)
            rows.append(PreparedQuery(query, role, self.cohorts.of(user_id), "", profile))
        return rows

    def _training_questions(
        self, train: Sequence[LampQuestion], evaluate: Sequence[LampQuestion]
    ) -> list[LampQuestion]:
        """The user's train questions that no evaluated question repeats or precedes."""
        kept = []
        for question in train:
            text = normalized(self.task.query_text(question.input))
            gold = normalized(self.asked.golds[question.question_id])
            if text in self.guard.evaluated.texts or gold in self.guard.evaluated.answers:
                self.dropped["train questions that an evaluated question repeats"] += 1
            elif question.date and any(q.date and not strictly_earlier(question.date, q.date) for q in evaluate):
                self.dropped["train questions not earlier than the user's evaluated ones"] += 1
            else:
                kept.append(question)
        return kept


def query_table(users: Sequence[PreparedUser]) -> pd.DataFrame:
    """The queries of all users, columns QUERY_COLUMNS."""
    rows = [row for user in users for row in user.rows]
    columns: dict[str, Any] = {
        "role": [row.role for row in rows],
        "cohort": [row.cohort for row in rows],
        "source_record_id": [row.source_record_id for row in rows],
        "profile": [row.profile for row in rows],
    }
    for name in set(QUERY_COLUMNS) - columns.keys():
        columns[name] = [getattr(row.query, name) for row in rows]
    return pd.DataFrame(columns, columns=list(QUERY_COLUMNS))


def record_table(users: Sequence[PreparedUser]) -> pd.DataFrame:
    """The records of all users, each user's oldest first, columns RECORD_COLUMNS and held_out."""
    columns: dict[str, Any] = {
        name: [getattr(record, name) for user in users for record in user.records] for name in RECORD_COLUMNS
    }
    columns["held_out"] = [bool(held) for user in users for held in user.held_out]
    return pd.DataFrame(columns)


def table_counts(queries: pd.DataFrame, records: pd.DataFrame) -> dict[str, int]:
    """How many users, queries and records of each sort there are."""
    train = queries["role"] == "train"
    pseudo = queries["source_record_id"] != ""
    evaluated = queries[~train]
    return {
        "users": int(pd.concat([queries["user_id"], records["user_id"]]).nunique()),
        "known_users": int(queries.loc[queries["cohort"] == "known", "user_id"].nunique()),
        "new_users": int(queries.loc[queries["cohort"] == "new", "user_id"].nunique()),
        "evaluated_users": int(evaluated["user_id"].nunique()),
        "evaluated_queries": len(evaluated),
        "evaluated_queries_without_profile": int((evaluated["profile"].str.len() == 0).sum()),
        "pseudo_queries": int(pseudo.sum()),
        "train_questions": int((train & ~pseudo).sum()),
        "records": len(records),
        "held_out_records": int(records["held_out"].sum()),
    }

"""What heads learn from between two runs of the chain: users' records of before and those that came in since.

Same rules as in `preparation`, but for one: records later than a user's evaluated questions are learned from, for the
service answers tomorrow's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from hydra_ml.learning.draws import draw_per_user
from hydra_ml.learning.guard import Guard
from hydra_ml.learning.history import held_out
from hydra_ml.learning.preparation import PreparedUser, query_table
from hydra_ml.learning.pseudo_queries import PreparedQuery, training_rows
from hydra_ml.records import Cohort, Record
from hydra_ml.tasks.task import Task


class Refresh:
    """Prepares users one by one to be learned from again; `dropped` counts what was left out."""

    def __init__(self, task: Task, guard: Guard, *, seed: int, history: int, limit: int) -> None:
        """history: how many of a user's newest records are kept; limit: training queries wanted of a user."""
        self.task, self.guard = task, guard
        self.seed, self.history, self.limit = seed, history, limit
        self.dropped: Counter[str] = Counter()

    def user(
        self, records: Sequence[Record], questions: Sequence[PreparedQuery], *, cohort: Cohort, new: Collection[str]
    ) -> PreparedUser:
        """One user's newest records and rows to fit on, pseudo-queries of the records in `new` (ids) before others.

        records: oldest first; questions: train questions that `prepare` has passed, with their profiles.
        """
        kept = records[-self.history :]
        out = held_out(self.task, kept, self.guard.evaluated)
        if out.any():
            self.dropped["records that an evaluated question repeats"] += int(out.sum())
        rows = training_rows(
            self.task,
            self.guard,
            kept,
            ~out,
            questions,
            cohort=cohort,
            seed=self.seed,
            limit=self.limit,
            dropped=self.dropped,
            first=new,
        )
        return PreparedUser(kept, out, rows)

    def queries(self, users: Sequence[PreparedUser], new: Mapping[str, Collection[str]]) -> pd.DataFrame:
        """The users' queries, QUERY_COLUMNS and is_new, at most `limit` of each; new ones first, lest their draw pass
        over what this is all about. new: user id -> ids of records that heads have not learned."""
        table = query_table(users)
        keys = zip(table["user_id"], table["source_record_id"], strict=True)
        table["is_new"] = np.array([source in new.get(user_id, ()) for user_id, source in keys], dtype=bool)
        return draw_per_user(table, self.limit, self.seed, first=table["is_new"].to_numpy())

"""What rivals learn from and choose among, as arrays: the same candidates, evidence and histories that HYDRA has.

Q queries, N rows (a query's together), R records, D encoder width, E pieces of evidence, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hydra_ml.model.interfaces import Encode
from hydra_ml.records import GREEDY
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class RecordBook:
    """Records as vectors: of what each asked and of its answer, float32 [R, D] each, and the answer as spelled, [R]."""

    texts: np.ndarray
    answers: np.ndarray
    spelled: np.ndarray


@dataclass(frozen=True)
class Pool:
    """The candidates of some queries, and what may be known when choosing among them."""

    user_ids: np.ndarray  # str [Q], whose query it is
    query: np.ndarray  # int64 [N], each row's query, ascending
    answers: np.ndarray  # str [N], the candidate as spelled
    evidence: np.ndarray  # float32 [N, E], `answering.adapter.candidate_evidence`
    features: np.ndarray  # float32 [N, F], what HYDRA's heads read: its trained base's z, then the evidence
    shared: np.ndarray  # float32 [N], the score of HYDRA's shared head
    personal: np.ndarray  # float32 [N], the score of HYDRA's own heads
    asked: np.ndarray  # float32 [Q, D], vectors of the queries
    said: np.ndarray  # float32 [N, D], vectors of the candidates
    history: tuple[np.ndarray, ...]  # Q arrays of positions in `book`, oldest first: all that the query may see
    book: RecordBook
    greedy: Mapping[str, np.ndarray]  # by arm, the vector of its greedy answer, float32 [Q, D]; zeros where it has none

    @property
    def owners(self) -> np.ndarray:
        """Whose row it is, str [N]."""
        owners: np.ndarray = self.user_ids[self.query]
        return owners

    def as_strangers(self, stranger_of: Mapping[str, str]) -> Pool:
        """The same candidates, each query under another user's name and that user's longest history here; queries of
        users without a stranger stay as they are."""
        longest: dict[str, np.ndarray] = {}
        for user_id, seen in zip(self.user_ids.tolist(), self.history, strict=True):
            if len(seen) >= len(longest.get(user_id, ())):
                longest[user_id] = seen
        users = [stranger_of.get(user_id, user_id) for user_id in self.user_ids.tolist()]
        history = tuple(
            seen if user_id == own else longest[user_id]
            for user_id, own, seen in zip(users, self.user_ids.tolist(), self.history, strict=True)
        )
        return replace(self, user_ids=np.array(users, dtype=str), history=history)


@dataclass(frozen=True)
class Lesson(Pool):
    """A pool of training queries, with what choosing each row is worth."""

    targets: np.ndarray  # float32 [N], which row should be chosen: shares that add up to 1 in a query
    rewards: np.ndarray  # float32 [N], 0..1
    is_known: np.ndarray  # bool [Q], of a user whose rows may train what all users share
    unseen: np.ndarray  # float32 [N], HYDRA's score by models that have not seen the query; nan where there is none

    def take(self, queries: np.ndarray) -> Lesson:
        """The lesson of these queries alone (bool [Q])."""
        rows = queries[self.query]
        place = np.cumsum(queries) - 1
        return replace(
            self,
            user_ids=self.user_ids[queries],
            query=place[self.query[rows]],
            answers=self.answers[rows],
            evidence=self.evidence[rows],
            features=self.features[rows],
            shared=self.shared[rows],
            personal=self.personal[rows],
            asked=self.asked[queries],
            said=self.said[rows],
            history=tuple(self.history[i] for i in np.flatnonzero(queries)),
            greedy={arm: vectors[queries] for arm, vectors in self.greedy.items()},
            targets=self.targets[rows],
            rewards=self.rewards[rows],
            is_known=self.is_known[queries],
            unseen=self.unseen[rows],
        )


def read_pool(
    rows: pd.DataFrame,
    evidence: np.ndarray,
    features: np.ndarray,
    answers: pd.DataFrame,
    records: pd.DataFrame,
    task: Task,
    encode: Encode,
) -> Pool:
    """The pool of rows of `scored_candidates`, whose query's rows stand together. answers: of `generate`, of which the
    greedy ones of these queries are taken. A query sees the records of its own profile, no others."""
    query, distinct = pd.factorize(rows["query_id"])
    first = rows.drop_duplicates("query_id")
    users, inputs = first["user_id"].tolist(), records["input"].tolist()
    keys = zip(records["user_id"], records["record_id"], strict=True)
    position = {key: i for i, key in enumerate(keys)}
    seen = zip(users, first["profile"], strict=True)
    book = RecordBook(
        encode([task.query_text(text) for text in inputs]),
        encode([task.answer_text(said, text) for said, text in zip(records["answer"], inputs, strict=True)]),
        records["answer"].to_numpy(dtype=str),
    )
    return Pool(
        user_ids=np.array(users, dtype=str),
        query=query.astype(np.int64),
        answers=rows["answer"].to_numpy(dtype=str),
        evidence=evidence,
        features=features,
        shared=rows["shared"].to_numpy(dtype=np.float32),
        personal=rows["personal"].to_numpy(dtype=np.float32),
        asked=encode(first["a"].tolist()),
        said=encode(rows["b"].tolist()),
        history=tuple(np.array([position[user, one] for one in profile], dtype=np.int64) for user, profile in seen),
        book=book,
        greedy=_greedy_vectors(distinct.tolist(), first["input"].tolist(), answers, task, encode),
    )


def _greedy_vectors(
    query_ids: list[str], inputs: list[str], answers: pd.DataFrame, task: Task, encode: Encode
) -> dict[str, np.ndarray]:
    """By arm, the vectors of its greedy answers, float32 [Q, D]."""
    greedy = answers[(answers["sample_idx"] == GREEDY) & (answers["answer"] != "")]
    found = {}
    for arm, rows in greedy.groupby("arm"):
        said = rows.set_index("query_id")["answer"].reindex(query_ids)
        texts = [task.answer_text(str(answer), text) for answer, text in zip(said, inputs, strict=True)]
        found[str(arm)] = encode(texts) * said.notna().to_numpy(dtype=np.float32)[:, None]  # [Q, D]
    return found

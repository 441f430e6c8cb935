"""How far a user's whole history supports a candidate answer: evidence the LLM, shown four records, cannot have.

Records are weighted by how near their text is to the query, softmax(cos / TAU) over everything the query may see (the
idea of PPlug, arXiv 2409.11901, as a number for a black box). Needs no fit, so it serves new and unseen users too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hydra_ml.model.interfaces import Encode
from hydra_ml.tasks.task import Task

TAU = 0.1  # temperature of the record weights; .05 to .15 did equally well on dev
USERS_PER_BLOCK = 512  # bounds the memory of their records' vectors
FLOOR = 0.02  # share that an answer without any support counts with; keeps the logarithm finite


def history_support(candidates: pd.DataFrame, records: pd.DataFrame, task: Task, encode: Encode) -> np.ndarray:
    """Support of each candidate, float32 [N], for rows with query_id, user_id, text, profile, answer, b (its text).

    Closed answer sets: log of the weighted share of records with that very answer. Free text: the weighted mean
    cosine of the candidate and the records' answers. References (LaMP-1): of the candidate and the records' texts.
    Without history 0, the same for all candidates of a query. A query sees the records of its own profile, no others.
    """
    support = np.zeros(len(candidates), dtype=np.float32)
    rows_of, records_of = (table.groupby("user_id").indices for table in (candidates, records))
    nothing = np.zeros(0, dtype=np.int64)
    users = list(rows_of)
    for start in range(0, len(users), USERS_PER_BLOCK):
        some = users[start : start + USERS_PER_BLOCK]
        rows = np.sort(np.concatenate([rows_of[user_id] for user_id in some]))
        own = np.concatenate([records_of.get(user_id, nothing) for user_id in some])
        support[rows] = _support(candidates.iloc[rows], RecordVectors(records.iloc[own], task, encode), encode)
    return support


def _support(candidates: pd.DataFrame, book: RecordVectors, encode: Encode) -> np.ndarray:
    """`history_support` of some users, with all vectors of theirs at hand."""
    queries = candidates.drop_duplicates("query_id")
    asked = zip(queries["user_id"], queries["profile"], encode(queries["text"].tolist()), strict=True)
    query_of = dict(zip(queries["query_id"], asked, strict=True))
    support = np.zeros(len(candidates), dtype=np.float32)
    answers = candidates["answer"].to_numpy()  # of all rows at once: per query, the cost grows with the square of users
    b_vectors = encode(candidates["b"].tolist()) if book.answers is not None else None
    for query_id, rows in candidates.groupby("query_id").indices.items():
        user_id, profile, query_vector = query_of[query_id]
        if not len(profile):
            continue
        seen = book.positions(user_id, profile)  # [R]
        weight = _softmax(book.texts[seen] @ query_vector / TAU)  # [R]
        if b_vectors is not None and book.answers is not None:
            support[rows] = (b_vectors[rows] @ book.answers[seen].T) @ weight  # [n, R] @ [R]
        else:
            same = answers[rows][:, None] == book.spelled[seen][None, :]  # [n, R]
            support[rows] = np.log(same @ weight + FLOOR)
    return support


def support_by_record(
    candidates: pd.DataFrame, records: pd.DataFrame, task: Task, encode: Encode
) -> tuple[np.ndarray, np.ndarray]:
    """What each record gives each candidate's support, float64 [n, R], and what it has without any, [n]: they add up to
    `history_support`. candidates: rows of one query; R: the records of its profile, in order.

    A mean of cosines is a sum over records. The logarithm of a share is divided by Aumann and Shapley's rule: from no
    record to all, their weights growing together, each gives its part of the way; which is in proportion to its weight.
    """
    first = candidates.iloc[0]
    book = RecordVectors(records, task, encode)
    seen = book.positions(first["user_id"], first["profile"])  # [R]
    n = len(candidates)
    if not len(seen):
        return np.zeros((n, 0)), np.zeros(n)
    vector = encode([first["text"]])[0]
    weight = _softmax(book.texts[seen] @ vector / TAU).astype(np.float64)  # [R]
    if book.answers is not None:
        likeness = encode(candidates["b"].tolist()) @ book.answers[seen].T  # [n, R]
        return likeness.astype(np.float64) * weight, np.zeros(n)
    part = (candidates["answer"].to_numpy()[:, None] == book.spelled[seen][None, :]) * weight  # [n, R]
    share = part.sum(axis=1, keepdims=True)  # [n, 1]
    risen = np.log(share + FLOOR) - np.log(FLOOR)
    return part / np.where(share > 0, share, 1.0) * risen, np.full(n, np.log(FLOOR))


class RecordVectors:
    """Records by (user, id): vectors of what each asked, and its answer as spelled or as a vector."""

    def __init__(self, records: pd.DataFrame, task: Task, encode: Encode) -> None:
        keys = zip(records["user_id"], records["record_id"], strict=True)
        self._position = {key: i for i, key in enumerate(keys)}
        self.texts = encode([task.query_text(input) for input in records["input"]])  # [all records, D]
        self.spelled = records["answer"].to_numpy()
        side = {"text": "answer", "choice": "text"}.get(task.kind)
        self.answers = encode(records[side].tolist()) if side else None  # [all records, D]

    def positions(self, user_id: str, profile: np.ndarray) -> np.ndarray:
        return np.array([self._position[user_id, record_id] for record_id in profile], dtype=np.int64)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weight = np.exp(logits - logits.max())
    shares: np.ndarray = weight / weight.sum()
    return shares

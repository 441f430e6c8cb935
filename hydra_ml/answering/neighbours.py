"""A ranking over other users' records too: those of the users whose histories are most alike. Nothing that is served
reads it; it is for one rival that says whose data it shows.

Shown of others are records of known users alone, strictly earlier than the question, and none that asks or answers what
an evaluated question does. Legend: R records, D encoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pandas as pd

from hydra_ml.answering.arms import NEIGHBOURS
from hydra_ml.learning.history import strictly_earlier
from hydra_ml.model.interfaces import Encode

USERS, EACH = 6, 5  # users whose records are ranked, the question's own among them, and records of each
NEWEST = 100  # records that say what a user is like
OF_QUERY, OF_USER = 0.9, 0.1  # weight of a record's likeness to the question, and to its asker


def rank_neighbours(
    queries: pd.DataFrame, records: pd.DataFrame, known: Collection[str], encode: Encode, n: int
) -> pd.DataFrame:
    """query_id, ranker, rank, owner_id, record_id, score: at most n records per query, best first; none for a query
    without history, of which nobody can say who is like its user.

    queries: query_id, user_id, text, date, profile; records: user_id, record_id, text, date, held_out, each user's
    oldest first; known: whose records may be shown to others.
    """
    vectors, asked = encode(records["text"].tolist()), encode(queries["text"].tolist())
    owners, ids, dates = (records[name].to_numpy(dtype=object) for name in ("user_id", "record_id", "date"))
    may_be_shown = ~records["held_out"].to_numpy(dtype=bool) & records["user_id"].isin(list(known)).to_numpy()
    rows_of = {str(user_id): np.flatnonzero(owners == user_id) for user_id in dict.fromkeys(owners)}
    found: list[tuple[object, ...]] = []
    columns = (queries[name] for name in ("query_id", "user_id", "date", "profile"))
    for vector, query_id, user_id, date, profile in zip(asked, *columns, strict=True):
        own = rows_of.get(user_id, np.empty(0, dtype=np.int64))
        own = own[np.isin(ids[own].astype(str), list(profile))]
        if not len(own):
            continue
        is_open = may_be_shown & earlier_than(date, dates[own])(dates)
        others = {other: rows[is_open[rows]] for other, rows in rows_of.items() if other != user_id}
        histories = {user_id: own, **{other: rows for other, rows in others.items() if len(rows)}}
        best = best_records(vector, vectors, user_id, histories)[:n]
        found += [(query_id, rank, owners[row], ids[row], score) for rank, (row, score) in enumerate(best)]
    table = pd.DataFrame(found, columns=["query_id", "rank", "owner_id", "record_id", "score"])
    return table.astype({"rank": np.int16, "score": np.float32}).assign(ranker=NEIGHBOURS)


def earlier_than(date: str, own: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Which of some dates surely lie before a question, bool; one without a date lies after the newest of its own
    records, and where these have none either, nothing is dated."""
    newest = max(own.tolist(), default="")
    if date:
        return lambda dates: np.array([strictly_earlier(one, date) for one in dates], dtype=bool)
    return lambda dates: np.array([one <= newest or not newest for one in dates], dtype=bool)


def best_records(
    asked: np.ndarray, vectors: np.ndarray, user_id: str, histories: Mapping[str, np.ndarray]
) -> list[tuple[int, float]]:
    """Positions of records and their scores, best first: EACH of the USERS most like the user. asked [D]; vectors
    [R, D]; histories: positions by user, oldest first."""
    names = list(histories)
    means = np.stack([vectors[rows[-NEWEST:]].mean(axis=0) for rows in histories.values()])  # [U, D]
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    own = means[names.index(user_id)]
    alike = means @ own
    alike[names.index(user_id)] = np.inf
    nearest = sorted(range(len(names)), key=lambda i: (-alike[i], names[i]))[:USERS]
    scored: list[tuple[int, float]] = []
    for i in nearest:
        rows = histories[names[i]]
        scores = OF_QUERY * (vectors[rows] @ asked) + OF_USER * (vectors[rows] @ own)
        scored += [(int(rows[j]), float(scores[j])) for j in np.argsort(-scores, kind="stable")[:EACH]]
    return sorted(scored, key=lambda pair: -pair[1])

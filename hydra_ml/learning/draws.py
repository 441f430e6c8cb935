"""Which of a user's training queries are used, in which fold of the cross-fit, and which are held back to judge by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hydra_ml.records import content_digest


def draw_per_user(queries: pd.DataFrame, n: int, seed: int, *, first: np.ndarray | None = None) -> pd.DataFrame:
    """At most n queries of each user, drawn by seed; a query's luck depends on its own id alone, never on row order.

    Those marked in `first` (bool, one per row) are drawn before the others.
    """
    luck = [content_digest(f"{seed} {query_id}") for query_id in queries["query_id"]]
    late = np.zeros(len(queries), dtype=bool) if first is None else ~first
    order = queries.assign(_luck=luck, _late=late).sort_values(["user_id", "_late", "_luck"])
    drawn = order[order.groupby("user_id").cumcount() < n]
    return drawn.drop(columns=["_luck", "_late"]).sort_values(["user_id", "query_id"]).reset_index(drop=True)


def held_back_queries(queries: pd.DataFrame, share: float, seed: int, *, at_least: int = 0) -> set[str]:
    """The query ids held back: the newest share of each user's dated queries, a seeded draw where there are no dates.

    Rounded down, so a user with few queries holds none back; with `at_least`, that many even so, but never all.
    """
    luck = [content_digest(f"held back {seed} {query_id}") for query_id in queries["query_id"]]
    order = queries[["query_id", "user_id", "date"]].assign(_luck=luck).sort_values(["user_id", "date", "_luck"])
    place = order.groupby("user_id").cumcount(ascending=False).to_numpy()  # 0 is the newest
    size = order.groupby("user_id")["query_id"].transform("size").to_numpy()
    n_back = np.minimum(np.maximum(np.floor(size * share), at_least), size - 1)
    return set(order.loc[place < n_back, "query_id"])


def folds(queries: pd.DataFrame, n: int, seed: int) -> np.ndarray:
    """The fold 0..n-1 of each query, int64 [N]: every user's queries are dealt out evenly, the order drawn by seed."""
    luck = [content_digest(f"fold {seed} {query_id}") for query_id in queries["query_id"]]
    order = queries[["user_id"]].reset_index(drop=True).assign(_luck=luck).sort_values(["user_id", "_luck"])
    place = order.groupby("user_id").cumcount().sort_index()
    return place.to_numpy(dtype=np.int64) % n

"""The reranker: which of a user's records, shown to the LLM, will help with this query.

Says what the first ranker already knows, and ranks candidates by the factored model's score (HYDRA, arXiv 2406.02888,
section 3). Knows nothing of files, LLM clients or how a model is fitted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hydra_ml.model.interfaces import Encode, ScorePairs
from hydra_ml.model.text_pairs import cosines

EVIDENCE = ("retrieval_score", "reciprocal_rank", "cosine")
AS_FIRST_RANKED = (0.0, 1.0, 0.0)  # weights of the evidence that keep the first ranker's order


def retrieval_evidence(candidates: pd.DataFrame, encode: Encode) -> np.ndarray:
    """What needs no learning, float32 [N, 3], for rows with query_id, score, rank (0-based), and texts a, b: the first
    ranker's score as a share of the query's best (0 where that is not positive), 1/(1 + rank), and cos(a, b)."""
    best = candidates.groupby("query_id")["score"].transform("max").to_numpy()
    share = np.where(best > 0, candidates["score"].to_numpy() / np.where(best > 0, best, 1.0), 0.0)
    reciprocal = 1.0 / (1.0 + candidates["rank"].to_numpy())
    cosine = cosines(candidates["a"].tolist(), candidates["b"].tolist(), encode)
    return np.stack([share, reciprocal, cosine], axis=1).astype(np.float32)  # [N, 3]


def record_rows(candidates: pd.DataFrame, queries: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """The candidates with their query's columns (query_id, user_id, and its text as a) and their record's text, b."""
    rows = candidates.merge(queries.rename(columns={"text": "a"}), on="query_id")
    texts = records[["user_id", "record_id", "text"]].rename(columns={"text": "b"})
    return rows.merge(texts, on=["user_id", "record_id"], validate="many_to_one")


def reranker_scores(rows: pd.DataFrame, encode: Encode, score: ScorePairs | None) -> tuple[np.ndarray, np.ndarray]:
    """The reranker's personal and shared scores, float32 [N] each, of rows of `record_rows`; None has learned nothing
    and ranks as the first ranker does."""
    if score is None:
        return first_scores(rows), first_scores(rows)
    user_ids = rows["user_id"].to_numpy(dtype=str)
    return score(rows["a"].tolist(), rows["b"].tolist(), retrieval_evidence(rows, encode), user_ids)


def first_scores(rows: pd.DataFrame) -> np.ndarray:
    """Scores that rank as the first ranker does, float32 [N]; rows with rank (0-based)."""
    scores: np.ndarray = (1.0 / (1.0 + rows["rank"].to_numpy())).astype(np.float32)
    return scores


def rank_by_score(candidates: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """The candidates re-ranked within their query: rows query_id, record_id, score, rank (0-based), best first; equal
    scores keep the first ranker's order."""
    table = candidates[["query_id", "record_id", "rank"]].assign(score=scores.astype(np.float32))
    table = table.sort_values(["query_id", "score", "rank"], ascending=[True, False, True], kind="stable")
    table["rank"] = table.groupby("query_id").cumcount().astype(np.int16)
    return table[["query_id", "record_id", "score", "rank"]].reset_index(drop=True)

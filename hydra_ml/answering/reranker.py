"""The reranker: which of a user's records, shown to the LLM, will help with this query.

Says what the first ranker already knows, and ranks candidates by the factored model's score (HYDRA, arXiv 2406.02888,
section 3). Knows nothing of files, LLM clients or how a model is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hydra_ml.model.interfaces import Encode, ScorePairs
from hydra_ml.model.pairs import distinct_texts

PAIRS_PER_BLOCK = 8192  # bounds the memory of gathered vectors
EVIDENCE = ("retrieval_score", "reciprocal_rank", "cosine")  # scored with weights that all users share


def retrieval_evidence(candidates: pd.DataFrame, encode: Encode) -> np.ndarray:
    """What needs no learning, float32 [N, 3], for rows with query_id, score, rank (0-based), and texts a, b: the first
    ranker's score as a share of the query's best (0 where that is not positive), 1/(1 + rank), and cos(a, b)."""
    best = candidates.groupby("query_id")["score"].transform("max").to_numpy()
    share = np.where(best > 0, candidates["score"].to_numpy() / np.where(best > 0, best, 1.0), 0.0)
    reciprocal = 1.0 / (1.0 + candidates["rank"].to_numpy())
    cosine = _cosines(candidates["a"].tolist(), candidates["b"].tolist(), encode)
    return np.stack([share, reciprocal, cosine], axis=1).astype(np.float32)  # [N, 3]


def _cosines(a: Sequence[str], b: Sequence[str], encode: Encode) -> np.ndarray:
    """Of the texts a[i] and b[i], float32 [N]. A text stands in many pairs: its vector is held once."""
    distinct, a_idx, b_idx = distinct_texts(a, b)
    vectors = encode(distinct)  # [M, D]
    cosines = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), PAIRS_PER_BLOCK):
        some = slice(start, start + PAIRS_PER_BLOCK)
        cosines[some] = (vectors[a_idx[some]] * vectors[b_idx[some]]).sum(axis=1)  # [n, D] -> [n]
    return cosines


def telling_rows(query_ids: pd.Series, labels: np.ndarray) -> np.ndarray:
    """bool [N]: rows of queries where some candidates helped and some did not. The others tell how easy the query is,
    not which record to prefer; leaving them out was worth .02 to .05 accuracy on dev."""
    mean = pd.Series(labels).groupby(query_ids.to_numpy()).transform("mean").to_numpy()
    telling: np.ndarray = (mean > 0) & (mean < 1)
    return telling


def candidate_rows(candidates: pd.DataFrame, queries: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """The candidates with their query's columns (query_id, user_id, and its text as a) and their record's text, b."""
    rows = candidates.merge(queries.rename(columns={"text": "a"}), on="query_id")
    texts = records[["user_id", "record_id", "text"]].rename(columns={"text": "b"})
    return rows.merge(texts, on=["user_id", "record_id"], validate="many_to_one")


def reranker_scores(rows: pd.DataFrame, encode: Encode, score: ScorePairs) -> tuple[np.ndarray, np.ndarray]:
    """The reranker's personal and shared scores, float32 [N] each, of rows of `candidate_rows`."""
    user_ids = rows["user_id"].to_numpy(dtype=str)
    return score(rows["a"].tolist(), rows["b"].tolist(), retrieval_evidence(rows, encode), user_ids)


def rank_by_score(candidates: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """The candidates re-ranked within their query: rows query_id, record_id, score, rank (0-based), best first; equal
    scores keep the first ranker's order."""
    table = candidates[["query_id", "record_id", "rank"]].assign(score=scores.astype(np.float32))
    table = table.sort_values(["query_id", "score", "rank"], ascending=[True, False, True], kind="stable")
    table["rank"] = table.groupby("query_id").cumcount().astype(np.int16)
    return table[["query_id", "record_id", "score", "rank"]].reset_index(drop=True)

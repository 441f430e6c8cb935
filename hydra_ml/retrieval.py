"""First rankings over one user's own history: BM25, recency, random and dense.

Every ranker takes the user's records oldest first, the queries, and a mask [Q, R] of which record each query may see;
a record outside its query's mask changes nothing, not even a word's weight. `rank_user` does so for tables, in training
and in serving alike. Knows nothing of files or tasks.

Legend: Q queries, R records, V words of the user's vocabulary, P postings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from hydra_ml.params import Params
from hydra_ml.records import content_digest

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> float32 [N, D], rows of unit length

# rank_bm25 0.2.2's BM25Okapi defaults, which LaMP's retrieval uses.
K1, B, EPSILON = 1.5, 0.75, 0.25
_QUERIES_AT_ONCE = 128  # bounds the [Q, V] and posting arrays of users with thousands of records


class Ranking(NamedTuple):
    """The best records of several queries, one row per (query, record), grouped by query and best first."""

    query_idx: np.ndarray  # int, position in the queries given
    rank: np.ndarray  # int16, 0 for the best
    record_idx: np.ndarray  # int, position in the records given
    score: np.ndarray  # float32, higher is better; comparable within one query only


def rank_bm25(records: Sequence[str], queries: Sequence[str], visible: np.ndarray, n: int) -> Ranking:
    """At most `n` records per query by BM25 over what it may see, from texts; see `Bm25Index.scores`, `top_records`."""
    return top_records(Bm25Index(records).scores(queries, visible), visible, n)


def rank_recency(visible: np.ndarray, n: int) -> Ranking:
    """At most `n` records per query, newest first; the score is the record's position in the history, 0 the oldest."""
    position = np.arange(visible.shape[1], dtype=np.float32)
    return top_records(np.broadcast_to(position, visible.shape), visible, n)


def rank_random(query_ids: Sequence[str], visible: np.ndarray, n: int, *, seed: int) -> Ranking:
    """At most `n` records per query in random order, each once; seeded per query id, so other queries never matter."""
    scores = np.empty(visible.shape)  # [Q, R]
    for row, query_id in zip(scores, query_ids, strict=True):
        row[:] = np.random.default_rng(int(content_digest(f"{seed}:{query_id}"), 16)).random(len(row))
    return top_records(scores, visible, n)


def rank_dense(records: np.ndarray, queries: np.ndarray, visible: np.ndarray, n: int) -> Ranking:
    """At most `n` records per query by dot product of their rows [R, D] and [Q, D]: the cosine of unit rows."""
    return top_records(queries @ records.T, visible, n)


def top_records(scores: np.ndarray, visible: np.ndarray, n: int) -> Ranking:
    """The `n` best visible records of every query, from scores [Q, R]; none for a query that may see nothing.

    Scores are compared as float32, and equal ones go to the newer record (the later position): a total order.
    """
    kept = np.where(visible, scores, -np.inf).astype(np.float32)  # [Q, R]
    n_records = kept.shape[1]
    # A stable sort of the reversed columns leaves the later of two equals in front.
    order = n_records - 1 - np.argsort(-kept[:, ::-1], axis=1, kind="stable")[:, :n]  # [Q, n]
    filled = np.arange(order.shape[1]) < visible.sum(axis=1)[:, None]  # [Q, n]
    query_idx, rank = np.nonzero(filled)
    record_idx = order[query_idx, rank]
    return Ranking(query_idx, rank.astype(np.int16), record_idx, kept[query_idx, record_idx])


def rank_user(
    queries: pd.DataFrame, records: pd.DataFrame, params: Params, encode: Encode, *, baselines: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """Candidate columns per ranker of one user: all queries by the chosen ranker, evaluated ones by `baselines` too.

    queries: query_id, text, role, profile (ids of the records it may see); records: record_id, text, oldest first.
    """
    record_ids = records["record_id"].to_numpy(dtype=object)
    visible = visible_mask(queries["profile"], record_ids)
    evaluated = (queries["role"] == "evaluate").to_numpy()
    for ranker in dict.fromkeys((params.retrieve.ranker, *baselines)):
        some = np.ones_like(evaluated) if ranker == params.retrieve.ranker else evaluated
        if not some.any():
            continue
        ranking = _rank(ranker, queries[some], records, visible[some], params, encode)
        yield {
            "query_id": queries["query_id"].to_numpy(dtype=object)[some][ranking.query_idx],
            "ranker": np.full(len(ranking.rank), ranker, dtype=object),
            "rank": ranking.rank,
            "record_id": record_ids[ranking.record_idx],
            "score": ranking.score,
        }


def visible_mask(profiles: Iterable[Sequence[str]], record_ids: np.ndarray) -> np.ndarray:
    """bool [Q, R]: which of the user's records each profile names."""
    position = {record_id: i for i, record_id in enumerate(record_ids)}
    rows = [[position[record_id] for record_id in profile] for profile in profiles]
    visible = np.zeros((len(rows), len(record_ids)), dtype=bool)
    for mask, row in zip(visible, rows, strict=True):
        mask[row] = True
    return visible


def candidate_table(blocks: Iterable[dict[str, np.ndarray]]) -> pd.DataFrame:
    """All blocks, one after the other."""
    kept = list(blocks)
    return pd.DataFrame({name: np.concatenate([block[name] for block in kept]) for name in kept[0]})


def _rank(
    ranker: str,
    queries: pd.DataFrame,
    records: pd.DataFrame,
    visible: np.ndarray,
    params: Params,
    encode: Encode,
) -> Ranking:
    n = params.retrieve.n_candidates
    if ranker == "recency":
        return rank_recency(visible, n)
    if ranker == "random":
        return rank_random(queries["query_id"].tolist(), visible, n, seed=params.seed)
    asked, texts = queries["text"].tolist(), records["text"].tolist()
    if ranker == "bm25":
        return rank_bm25(texts, asked, visible, n)
    return rank_dense(encode(texts), encode(asked), visible, n)


class Bm25Index:
    """The words of one user's records, counted once, to be asked under any mask of visible records."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Words are what white space separates; case counts, as in LaMP's retrieval."""
        self.word_idx: dict[str, int] = {}
        rows: list[int] = []
        columns: list[int] = []
        counts: list[int] = []
        for row, text in enumerate(texts):
            for word, count in Counter(text.split()).items():
                rows.append(row)
                columns.append(self.word_idx.setdefault(word, len(self.word_idx)))
                counts.append(count)
        shape = (len(texts), len(self.word_idx))
        counted = sparse.csc_array((np.array(counts, dtype=np.float64), (rows, columns)), shape=shape)
        self.start = counted.indptr  # [V + 1] postings of word v: start[v] to start[v + 1]
        self.posting_record = counted.indices  # [P]
        self.posting_count = counted.data  # [P]
        self.n_words: np.ndarray = np.asarray(counted.sum(axis=1)).reshape(-1)  # [R] record lengths
        self.has_word = (counted > 0).astype(np.float64).T.tocsr()  # [V, R]

    def scores(self, queries: Sequence[str], visible: np.ndarray) -> np.ndarray:
        """float64 [Q, R]: what BM25Okapi, built on exactly a query's visible records, gives them; 0 for the others.

        queries: texts; visible: bool [Q, R]. Sums are taken in another order than rank_bm25's: equal to about 1e-12.
        Source: rank_bm25 0.2.2 (ATIRE BM25; words in over half of the records weigh epsilon times the mean idf).
        """
        scores = np.zeros(visible.shape)
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            some = slice(first, first + _QUERIES_AT_ONCE)
            scores[some] = self._scores(queries[some], visible[some])
        return scores

    def _scores(self, queries: Sequence[str], visible: np.ndarray) -> np.ndarray:
        query_idx, word_idx, times = self._query_words(queries)  # each [T], one row per distinct word of a query
        idf = self._idf(visible)[query_idx, word_idx] * times  # [T]
        # Every (query, word) row becomes one row per posting of that word, [T'].
        n_postings = np.diff(self.start)[word_idx]
        term = np.repeat(np.arange(len(word_idx)), n_postings)
        posting = np.arange(len(term)) - np.repeat(np.cumsum(n_postings) - n_postings, n_postings)
        posting += self.start[word_idx][term]
        seen = visible[query_idx[term], self.posting_record[posting]]
        term, posting = term[seen], posting[seen]
        query, record, count = query_idx[term], self.posting_record[posting], self.posting_count[posting]
        # A visible posting means a visible word, so the mean length is above zero wherever it is used.
        mean_length = (visible @ self.n_words) / np.maximum(visible.sum(axis=1), 1)  # [Q]
        relative_length = self.n_words[record] / mean_length[query]
        weight = idf[term] * count * (K1 + 1) / (count + K1 * (1 - B + B * relative_length))
        n_queries, n_records = visible.shape
        flat = np.bincount(query * n_records + record, weights=weight, minlength=n_queries * n_records)
        return flat.reshape(n_queries, n_records)  # [Q * R] -> [Q, R]

    def _query_words(self, queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query row, vocabulary column and number of occurrences of each query's words that some record has."""
        known = [
            (row, self.word_idx[word], times)
            for row, text in enumerate(queries)
            for word, times in Counter(text.split()).items()
            if word in self.word_idx
        ]
        query_idx, word_idx, times = np.array(known, dtype=np.int64).reshape(-1, 3).T  # [T, 3] -> three of [T]
        return query_idx, word_idx, times

    def _idf(self, visible: np.ndarray) -> np.ndarray:
        """float64 [Q, V]: a word's weight for a query, 0 where no visible record has it."""
        n_visible = visible.sum(axis=1)  # [Q]
        holders = (self.has_word @ visible.T.astype(np.float64)).T.astype(np.int64)  # [Q, V] visible records with it
        n_queries, n_records = visible.shape
        # idf depends on (visible, holding) counts alone: a small table instead of a logarithm per word.
        holding = np.arange(n_records + 1)
        among = n_visible[:, None] - holding + 0.5  # [Q, R + 1]
        table = np.log(np.maximum(among, 0.5)) - np.log(holding + 0.5)
        table[:, 0] = 0.0
        offset = (np.arange(n_queries) * (n_records + 1))[:, None]
        spread = np.bincount((holders + offset).ravel(), minlength=n_queries * (n_records + 1))
        n_words = spread.reshape(n_queries, n_records + 1)[:, 1:]  # [Q, R] how many words have 1, 2, ... holders
        mean_idf = (n_words * table[:, 1:]).sum(axis=1) / np.maximum(n_words.sum(axis=1), 1)  # [Q]
        floored = np.where(table < 0, EPSILON * mean_idf[:, None], table)
        return np.take_along_axis(floored, holders, axis=1)

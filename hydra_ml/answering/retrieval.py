"""First rankings over one user's own history: BM25, recency, random and dense.

Every ranker takes the user's records oldest first, the queries, and a mask [Q, R] of which record each query may see;
a record outside its query's mask changes nothing, not even a word's weight. `rank_user` does so for tables, in training
and in serving alike. Knows nothing of files or tasks.

Legend: Q queries, R records, V words of the user's vocabulary, P postings (word and record), T words of one query.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import pandas as pd

from hydra_ml.learning.commands import commanding_records
from hydra_ml.model.interfaces import Encode
from hydra_ml.params import Retrieve
from hydra_ml.records import content_digest

# rank_bm25 0.2.2's BM25Okapi defaults, which LaMP's retrieval uses.
K1, B, EPSILON = 1.5, 0.75, 0.25


class Ranking(NamedTuple):
    """The best records of several queries, one row per (query, record), grouped by query and best first."""

    query_idx: np.ndarray  # int, position in the queries given
    rank: np.ndarray  # int16, 0 for the best
    record_idx: np.ndarray  # int, position in the records given
    score: np.ndarray  # float32, higher is better; comparable within one query only


def rank_bm25(records: Sequence[str], queries: Sequence[str], visible: np.ndarray, n: int) -> Ranking:
    """at most `n` records per query by BM25 over what it may see; see `Bm25Index.scores`, `best_visible`."""
    return best_visible(Bm25Index(records).scores(queries, visible), visible, n)


def rank_recency(visible: np.ndarray, n: int) -> Ranking:
    """At most `n` records per query, newest first; the score is the record's position in the history, 0 the oldest."""
    position = np.arange(visible.shape[1], dtype=np.float32)
    return best_visible(np.broadcast_to(position, visible.shape), visible, n)


def rank_random(query_ids: Sequence[str], visible: np.ndarray, n: int, *, seed: int) -> Ranking:
    """At most `n` records per query in random order, each once; seeded per query id, so other queries never matter."""
    scores = np.empty(visible.shape)  # [Q, R]
    for row, query_id in zip(scores, query_ids, strict=True):
        row[:] = np.random.default_rng(int(content_digest(f"{seed}:{query_id}"), 16)).random(len(row))
    return best_visible(scores, visible, n)


def rank_dense(records: np.ndarray, queries: np.ndarray, visible: np.ndarray, n: int) -> Ranking:
    """At most `n` records per query by dot product of their rows [R, D] and [Q, D]: the cosine of unit rows."""
    return best_visible(queries @ records.T, visible, n)


def best_visible(scores: np.ndarray, visible: np.ndarray, n: int) -> Ranking:
    """The `n` best visible records of every query, from scores [Q, R]; none for a query that may see nothing.

    Scores are compared as float32, and equal ones go to the newer record (the later position): a total order.
    """
    kept = np.where(visible, scores, -np.inf).astype(np.float32) + np.float32(0)  # [Q, R]; -0 becomes 0, its equal
    n_records = kept.shape[1]
    first = n_records - min(n, n_records)
    # Score above, position below in one whole number: no two are equal, and only the best need sorting.
    bits = kept.view(np.int32).astype(np.int64)
    rising = np.where(bits < 0, np.iinfo(np.int32).min - bits, bits)  # of a negative float, more bits mean less
    place = (rising << 32) + np.arange(n_records)  # [Q, R]
    best = np.partition(place, first - 1, axis=1)[:, first:] if first else place  # [Q, n]
    order = np.sort(best, axis=1)[:, ::-1] & 0xFFFFFFFF
    filled = np.arange(order.shape[1]) < visible.sum(axis=1)[:, None]  # [Q, n]
    query_idx, rank = np.nonzero(filled)
    record_idx = order[query_idx, rank]
    return Ranking(query_idx, rank.astype(np.int16), record_idx, kept[query_idx, record_idx])


def rank_user(
    queries: pd.DataFrame,
    records: pd.DataFrame,
    settings: Retrieve,
    encode: Encode,
    *,
    baselines: Sequence[str],
    seed: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Candidate columns per ranker of one user: all queries by the chosen ranker, evaluated ones by `baselines` too.

    queries: query_id, text, role, profile (ids of the records it may see); records: record_id, text, answer, oldest
    first. Records that try to command an LLM are not ranked, unless settings say so.
    """
    record_ids, texts = records["record_id"].to_numpy(dtype=object), records["text"].tolist()
    query_ids, asked = queries["query_id"].to_numpy(dtype=object), queries["text"].to_numpy(dtype=object)
    visible = visible_mask(queries["profile"], record_ids)
    if not settings.show_commands:
        visible &= ~commanding_records(records)
    evaluated = queries["role"].to_numpy(dtype=object) == "evaluate"
    for ranker in dict.fromkeys((settings.ranker, *baselines)):
        some = np.flatnonzero(evaluated | (ranker == settings.ranker))
        if not len(some):
            continue
        ids, wanted = query_ids[some].tolist(), asked[some].tolist()
        ranking = _rank(ranker, ids, wanted, texts, visible[some], encode, n=settings.n_candidates, seed=seed)
        yield {
            "query_id": query_ids[some][ranking.query_idx],
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
    query_ids: Sequence[str],
    queries: Sequence[str],
    records: Sequence[str],
    visible: np.ndarray,
    encode: Encode,
    *,
    n: int,
    seed: int,
) -> Ranking:
    if ranker == "recency":
        return rank_recency(visible, n)
    if ranker == "random":
        return rank_random(query_ids, visible, n, seed=seed)
    if ranker == "bm25":
        return rank_bm25(records, queries, visible, n)
    return rank_dense(encode(records), encode(queries), visible, n)


class Bm25Index:
    """The words of one user's records, counted once, to be asked under any mask of visible records."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Words are what white space separates; case counts, as in LaMP's retrieval."""
        numbered: defaultdict[str, int] = defaultdict(count().__next__)  # a word not met before gets the next number
        words: list[int] = []
        lengths: list[int] = []
        for text in texts:
            split = text.split()
            words.extend(map(numbered.__getitem__, split))
            lengths.append(len(split))
        self.word_idx = dict(numbered)
        self.n_words = np.array(lengths, dtype=np.float64)  # [R] record lengths
        record = np.repeat(np.arange(len(texts)), lengths)  # [N] of every word as it stands in the texts
        # One number per (word, record), so that one sort counts the occurrences and orders the postings by both.
        posting, occurrences = np.unique(np.array(words, dtype=np.int64) * len(texts) + record, return_counts=True)
        word, self.posting_record = np.divmod(posting, max(len(texts), 1))  # [P] each
        self.posting_count = occurrences.astype(np.float64)  # [P]
        self.n_holders = np.bincount(word, minlength=len(numbered))  # [V] records that have the word, one at least
        self.start = np.cumsum(self.n_holders) - self.n_holders  # [V] where a word's postings begin

    def scores(self, queries: Sequence[str], visible: np.ndarray) -> np.ndarray:
        """float64 [Q, R]: what BM25Okapi, built on exactly a query's visible records, gives them; 0 for the others.

        queries: texts; visible: bool [Q, R]. A query's scores do not depend on the queries beside it, to the bit. Sums
        are taken in another order than rank_bm25's: equal to about 1e-12.
        Source: rank_bm25 0.2.2 (ATIRE BM25; words in over half of the records weigh epsilon times the mean idf).
        """
        scores = np.zeros(visible.shape)
        alike: dict[bytes, list[int]] = {}  # in serving all of a user's queries see the same: word weights once
        for i, seen in enumerate(visible):
            if seen.any():
                alike.setdefault(seen.tobytes(), []).append(i)
        for members in alike.values():
            seen = visible[members[0]]
            idf, holders = self._idf(seen)
            mean_length = max(self.n_words @ seen, 1.0) / seen.sum()
            damping = K1 * (1 - B + B * self.n_words / mean_length)  # [R]
            shared = self._saturated(slice(None), damping) if len(members) > 1 else None  # [P]
            for i in members:
                words, times = self._query_words(queries[i])
                posting, n_postings = self._postings(words)
                weight = self._saturated(posting, damping) if shared is None else shared[posting]  # [T']
                weight *= np.repeat(times * idf[holders[words]], n_postings)
                scores[i] = np.bincount(self.posting_record[posting], weights=weight, minlength=len(seen)) * seen
        return scores

    def _postings(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [T'] of all postings of the words [T], word after word, and how many each word has."""
        n_postings = self.n_holders[words]  # [T]
        gap = self.start[words] - np.cumsum(n_postings) + n_postings  # from where a word stands in T' to where in P
        return np.arange(n_postings.sum()) + np.repeat(gap, n_postings), n_postings

    def _saturated(self, posting: np.ndarray | slice, damping: np.ndarray) -> np.ndarray:
        """What the number of a word's occurrences in a record counts for, at the postings given."""
        occurrences = self.posting_count[posting]
        counted: np.ndarray = occurrences * (K1 + 1) / (occurrences + damping[self.posting_record[posting]])
        return counted

    def _query_words(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """Vocabulary column and number of occurrences [T] of a query's words that some record has."""
        known = Counter(map(self.word_idx.get, query.split()))
        known.pop(None, None)
        return np.array(list(known), dtype=np.int64), np.array(list(known.values()), dtype=np.float64)

    def _idf(self, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A word's weight by the number of seen records that have it (0 for none), and that number for every word [V].

        seen: bool [R]. idf depends on the number alone: a small table instead of a logarithm per word.
        """
        n_seen = int(seen.sum())
        holders = self.n_holders
        if n_seen < len(seen) and len(holders):
            holders = np.add.reduceat(seen[self.posting_record], self.start, dtype=np.int64)
        holding = np.arange(n_seen + 1)
        table = np.log(n_seen - holding + 0.5) - np.log(holding + 0.5)
        table[0] = 0.0
        n_words = np.bincount(holders, minlength=n_seen + 1)  # how many words have 0, 1, 2, ... holders
        mean_idf = (n_words * table).sum() / max(n_words[1:].sum(), 1)
        return np.where(table < 0, EPSILON * mean_idf, table), holders

"""Rankers: BM25 against rank_bm25, and the orders of the others."""

from __future__ import annotations

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from hydra_ml.answering.retrieval import Bm25Index, best_visible, rank_bm25, rank_dense, rank_random, rank_recency

PROSE = [
    "the cat sat on the mat and the dog looked on",
    "the dog barked at the cat",
    "a parliament voted on the new budget",
    "The budget of the new parliament : a cat among pigeons",
    "on the mat the cat slept",
    "stock markets fell as the parliament voted",
    "the the the the",
]


def reference(texts: list[str], query: str) -> np.ndarray:
    return np.asarray(BM25Okapi([text.split() for text in texts]).get_scores(query.split()))


def check_against_reference(texts: list[str], queries: list[str], visible: np.ndarray) -> None:
    scores = Bm25Index(texts).scores(queries, visible)
    ranking = rank_bm25(texts, queries, visible, len(texts))
    for i, query in enumerate(queries):
        seen = np.flatnonzero(visible[i])
        expected = reference([texts[j] for j in seen], query) if len(seen) else np.zeros(0)
        np.testing.assert_allclose(scores[i, seen], expected, rtol=1e-9, atol=1e-9)
        assert not scores[i, ~visible[i]].any()
        rows = ranking.query_idx == i
        in_order = sorted(range(len(seen)), key=lambda k: (-np.float32(expected[k].round(9)), -seen[k]))
        assert ranking.record_idx[rows].tolist() == [int(seen[k]) for k in in_order]


def test_bm25_equals_rank_bm25_on_prose() -> None:
    everything = np.ones((len(PROSE), len(PROSE)), dtype=bool)
    check_against_reference(PROSE, PROSE, everything)
    check_against_reference(PROSE, PROSE, ~np.eye(len(PROSE), dtype=bool))
    check_against_reference(PROSE, PROSE, np.tril(everything, -1))  # earlier ones only, as for dated pseudo-queries


@pytest.mark.parametrize("seed", range(5))
def test_bm25_equals_rank_bm25_on_random_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = np.array([f"w{i}" for i in range(12 if seed % 2 else 300)])  # few words: most idf values negative
    texts = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(30)]
    queries = [" ".join(rng.choice([*words, "unheard"], 15)) for _ in range(200)]  # more than one chunk
    check_against_reference(texts, queries, rng.random((200, 30)) < rng.random((200, 1)))


def test_queries_with_equal_and_with_own_masks_side_by_side_equal_rank_bm25() -> None:
    everything, half = np.ones(len(PROSE), dtype=bool), np.arange(len(PROSE)) < 4
    visible = np.array([everything, half, everything, ~half, half, np.zeros(len(PROSE), dtype=bool), everything])
    check_against_reference(PROSE, PROSE, visible)


def test_a_query_is_scored_to_the_bit_as_it_would_be_alone() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(200)]
    texts = [" ".join(rng.choice(words, 50)) for _ in range(40)]
    queries = [" ".join(rng.choice(words, 20)) for _ in range(30)]
    visible = rng.random((30, 40)) < 0.7
    visible[::2] = True
    index = Bm25Index(texts)
    together = index.scores(queries, visible)
    for i, query in enumerate(queries):
        np.testing.assert_array_equal(index.scores([query], visible[i : i + 1])[0], together[i])


def test_negative_idf_is_floored_to_a_share_of_the_mean() -> None:
    texts = ["x a", "x b", "x c"]
    scores = Bm25Index(texts).scores(["x"], np.ones((1, 3), dtype=bool))
    rare = np.log(2.5) - np.log(1.5)
    mean = (3 * rare + np.log(0.5) - np.log(3.5)) / 4
    assert scores[0] == pytest.approx([0.25 * mean] * 3)  # counts of 1 in records of mean length weigh 1
    np.testing.assert_allclose(scores[0], reference(texts, "x"))


def test_hidden_records_change_nothing() -> None:
    visible = np.array([[True, True, False, False, True, False, False]])
    short = [PROSE[j] for j in np.flatnonzero(visible[0])]
    alone = Bm25Index(short).scores(["the cat voted"], np.ones((1, 3), dtype=bool))
    among = Bm25Index(PROSE).scores(["the cat voted"], visible)
    np.testing.assert_array_equal(among[visible], alone[0])


def test_equal_scores_go_to_the_newer_record() -> None:
    texts = ["same words", "b", "same words", "same words", "c", "d", "e", "f"]
    ranking = rank_bm25(texts, ["same"], np.ones((1, 8), dtype=bool), 3)
    assert ranking.record_idx.tolist() == [3, 2, 0]
    assert len(set(ranking.score)) == 1
    assert ranking.rank.tolist() == [0, 1, 2]
    assert ranking.score.dtype == np.float32
    assert ranking.rank.dtype == np.int16


@pytest.mark.parametrize("n", [0, 1, 7, 49, 50, 80])
def test_top_records_equals_a_plain_sort(n: int) -> None:
    rng = np.random.default_rng(n)
    values = np.array([-2.5, -1e-30, -0.0, 0.0, 1e-30, 0.7, 3e8])  # few: ties at every cut
    scores, visible = rng.choice(values, (20, 50)), rng.random((20, 50)) < rng.random((20, 1))
    ranking = best_visible(scores, visible, n)
    for i in range(20):
        in_order = sorted(np.flatnonzero(visible[i]), key=lambda k: (-np.float32(scores[i, k]), -k))
        rows = ranking.query_idx == i
        assert ranking.record_idx[rows].tolist() == in_order[:n]
        assert ranking.rank[rows].tolist() == list(range(min(n, len(in_order))))
        np.testing.assert_array_equal(ranking.score[rows], scores[i, in_order[:n]].astype(np.float32))


def test_case_counts_and_unknown_queries_score_zero() -> None:
    scores = Bm25Index(["Budget", "budget", "x"]).scores(["Budget", "nothing known", ""], np.ones((3, 3), dtype=bool))
    assert scores[0, 0] > 0
    assert scores[0, 1] == 0
    assert not scores[1:].any()


def test_nothing_visible_gives_no_rows() -> None:
    visible = np.array([[False, False], [True, False]])
    ranking = rank_bm25(["a b", "c"], ["a", "a"], visible, 4)
    assert ranking.query_idx.tolist() == [1]
    assert ranking.record_idx.tolist() == [0]
    nobody = rank_bm25([], ["a"], np.zeros((1, 0), dtype=bool), 4)
    assert [len(column) for column in nobody] == [0, 0, 0, 0]
    assert len(rank_bm25(["", " "], ["a"], np.ones((1, 2), dtype=bool), 4).rank) == 2


def test_recency_is_newest_first_among_the_visible() -> None:
    ranking = rank_recency(np.array([[True, True, False, True], [True, False, False, False]]), 2)
    assert ranking.query_idx.tolist() == [0, 0, 1]
    assert ranking.record_idx.tolist() == [3, 1, 0]
    assert ranking.score.tolist() == [3.0, 1.0, 0.0]


def test_random_depends_on_query_id_and_seed_alone() -> None:
    visible = np.ones((3, 20), dtype=bool)
    three = rank_random(["a", "b", "c"], visible, 5, seed=1)
    one = rank_random(["b"], visible[:1], 5, seed=1)
    picked = three.record_idx.reshape(3, 5)  # [Q, n]
    assert picked[1].tolist() == one.record_idx.tolist()
    assert picked[0].tolist() != picked[1].tolist()
    assert len(set(picked[0])) == 5
    assert one.record_idx.tolist() != rank_random(["b"], visible[:1], 5, seed=2).record_idx.tolist()


def test_random_favours_no_place() -> None:
    visible = np.ones((4000, 8), dtype=bool)
    first = rank_random([str(i) for i in range(4000)], visible, 1, seed=0).record_idx
    assert np.bincount(first, minlength=8).min() > 420  # 500 each expected, sd 21


def test_dense_ranks_by_cosine() -> None:
    records = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=np.float32)
    ranking = rank_dense(records, np.array([[0.0, 1.0]], dtype=np.float32), np.array([[True, True, True]]), 2)
    assert ranking.record_idx.tolist() == [1, 2]
    assert ranking.score.tolist() == pytest.approx([1.0, 0.8])


def test_top_records_compares_as_float32() -> None:
    scores = np.array([[1.0 + 1e-12, 1.0, 0.5]])  # rounding noise of two equal sums
    assert best_visible(scores, np.ones((1, 3), dtype=bool), 3).record_idx.tolist() == [1, 0, 2]

"""Evidence and ranking of a user's candidates, by hand."""

import numpy as np
import pandas as pd

from hydra_ml.answering.reranker import rank_by_score, retrieval_evidence

CANDIDATES = pd.DataFrame(
    {
        "query_id": ["q", "q", "q", "r", "r"],
        "record_id": ["a", "b", "c", "a", "d"],
        "rank": [0, 1, 2, 0, 1],
        "score": [4.0, 2.0, 0.0, -1.0, -2.0],
    }
)


def encode(texts):
    return np.array([[1.0, 0.0] if text == "storm" else [0.6, 0.8] for text in texts], dtype=np.float32)


def test_evidence_is_relative_to_the_querys_best_score_and_knows_the_cosine():
    table = CANDIDATES.assign(a="storm", b=["storm", "vote", "storm", "vote", "vote"])
    expected = [[1, 1, 1], [0.5, 0.5, 0.6], [0, 1 / 3, 1], [0, 1, 0.6], [0, 0.5, 0.6]]
    np.testing.assert_allclose(retrieval_evidence(table, encode), expected, rtol=1e-6)


def test_ranks_within_the_query_and_keeps_the_first_order_on_ties():
    ranking = rank_by_score(CANDIDATES, np.array([0.0, 1.0, 0.0, -1.0, 3.0], dtype=np.float32))
    assert ranking[["query_id", "rank", "record_id"]].values.tolist() == [
        ["q", 0, "b"],
        ["q", 1, "a"],
        ["q", 2, "c"],
        ["r", 0, "d"],
        ["r", 1, "a"],
    ]


def test_row_order_cannot_change_a_ranking():
    scores = np.array([0.1, 0.3, 0.2, 0.5, 0.4], dtype=np.float32)
    order = np.array([4, 2, 0, 3, 1])
    shuffled = rank_by_score(CANDIDATES.iloc[order].reset_index(drop=True), scores[order])
    pd.testing.assert_frame_equal(rank_by_score(CANDIDATES, scores), shuffled)

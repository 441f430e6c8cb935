"""Evidence and ranking of a user's candidates, by hand."""

import numpy as np
import pandas as pd

from hydra_ml.reranker import rank_by_score, retrieval_evidence

CANDIDATES = pd.DataFrame(
    {
        "query_id": ["q", "q", "q", "r", "r"],
        "record_id": ["a", "b", "c", "a", "d"],
        "rank": [0, 1, 2, 0, 1],
        "score": [4.0, 2.0, 0.0, -1.0, -2.0],
    }
)


def test_evidence_is_relative_to_the_querys_best_score():
    np.testing.assert_allclose(
        retrieval_evidence(CANDIDATES), [[1, 1], [0.5, 0.5], [0, 1 / 3], [0, 1], [0, 0.5]], rtol=1e-6
    )


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

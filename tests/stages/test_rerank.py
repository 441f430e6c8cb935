"""rerank: every candidate of every wanted query, ranked once per arm."""

import pandas as pd


def test_evaluated_queries_are_ranked_under_both_arms_and_training_queries_under_one(chain):
    ranking = pd.read_parquet(chain.path("rerank", "ranking.parquet"))
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet")).set_index("query_id")
    role = ranking["query_id"].map(queries["role"])
    assert set(ranking["arm"][role == "evaluate"]) == {"hydra", "hydra_shared"}
    assert set(ranking["arm"][role == "train"]) == {"hydra"}


def test_ranks_are_a_permutation_of_the_candidates_best_score_first(chain):
    ranking = pd.read_parquet(chain.path("rerank", "ranking.parquet"))
    candidates = pd.read_parquet(chain.path("retrieve", "candidates.parquet"))
    candidates = candidates[candidates["ranker"] == "bm25"].groupby("query_id")["record_id"].agg(set)
    for (_, query_id), rows in ranking.groupby(["arm", "query_id"]):
        rows = rows.sort_values("rank")
        assert rows["rank"].tolist() == list(range(len(rows)))
        assert rows["score"].is_monotonic_decreasing
        assert set(rows["record_id"]) == candidates[query_id]

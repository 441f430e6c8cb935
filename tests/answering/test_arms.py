"""Arms: which records a prompt shows."""

import pandas as pd

from hydra_ml.answering.arms import HYDRA, ICL_RANDOM, RAG_K1, RAG_K4, SERVED, ZERO_SHOT, first_rankers, prompt_rows

QUERIES = pd.DataFrame({"query_id": ["q", "lonely"], "user_id": "u", "input": "?"})
BM25 = pd.DataFrame({"query_id": "q", "rank": range(6), "record_id": [f"r{i}" for i in range(6)]})


def test_k_of_the_arm_comes_before_the_general_one() -> None:
    rankings = {"bm25": BM25, "hydra": BM25.iloc[::-1].assign(rank=range(6))}
    table = prompt_rows(QUERIES, [RAG_K1, RAG_K4, HYDRA, ZERO_SHOT], rankings, k=2)
    shown = table[table["query_id"] == "q"].set_index("arm")["demos"].to_dict()
    assert shown == {"rag_k1": ["r0"], "rag_k4": ["r0", "r1", "r2", "r3"], "hydra": ["r5", "r4"], "zero_shot": []}
    assert table.loc[table["query_id"] == "lonely", "demos"].tolist() == [[]] * 4
    assert table.drop_duplicates("arm").set_index("arm")["is_sampled"].to_dict() == {
        "rag_k1": False,
        "rag_k4": True,
        "hydra": True,
        "zero_shot": False,
    }


def test_a_ranking_that_is_not_there_shows_nothing() -> None:
    assert prompt_rows(QUERIES, [ICL_RANDOM], {}, k=2)["demos"].tolist() == [[], []]


def test_only_rankings_without_a_fit_are_asked_of_retrieval() -> None:
    assert first_rankers(SERVED) == ["bm25"]
    assert first_rankers([ZERO_SHOT, ICL_RANDOM, RAG_K1, RAG_K4]) == ["random", "bm25"]


def test_no_arms_are_no_prompts() -> None:
    queries = pd.DataFrame({"query_id": ["q"], "user_id": ["u"], "input": ["?"]})
    none, one = (prompt_rows(queries, arms, {}, k=4) for arms in ([], [ZERO_SHOT]))
    assert none.empty
    assert list(none.columns) == list(one.columns)

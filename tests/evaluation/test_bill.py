"""The bill: every method's prompts by group of users, and what training asked."""

from __future__ import annotations

import pandas as pd

from hydra_ml.answering.arms import HYDRA, RAG_K4
from hydra_ml.evaluation.bill import bill_rows
from hydra_ml.evaluation.methods import all_methods
from hydra_ml.params import LLM
from hydra_ml.records import GREEDY


def test_each_method_pays_for_its_own_prompts_and_samples() -> None:
    rows = [
        (query, arm.name, sample, 0 if sample > 1 else 100, 0 if sample > 1 else 10)
        for query in ("known 1", "known 2", "new 1", "learned from")
        for arm in (HYDRA, RAG_K4)
        for sample in (GREEDY, 1, 2)
        if arm is HYDRA or query != "learned from"
    ]
    answers = pd.DataFrame(rows, columns=["query_id", "arm", "sample_idx", "tokens_in", "tokens_out"])
    answers = answers.assign(prompt=answers["arm"])
    groups = pd.Series({"known 1": "known", "known 2": "known", "new 1": "new"})
    annotations = pd.DataFrame({"query_id": ["learned from"] * 3, "tokens_in": [50] * 3, "tokens_out": [1] * 3})
    methods = [all_methods()[name] for name in ("user_majority", "rag_k4", "hydra")]
    prices = LLM(price_in=1.0, price_out=10.0)
    found = {
        (row["stage"], row["method"], row["group"]): (row["questions"], row["tokens_in"], row["tokens_out"])
        for row in bill_rows(answers, groups, methods, annotations, prices)
    }
    assert found == {
        ("annotate", "", "all"): (1, 150, 3),
        ("generate", "", "all"): (1, 200, 20),
        ("generate", "rag_k4", "all"): (3, 300, 30),
        ("generate", "rag_k4", "known"): (2, 200, 20),
        ("generate", "rag_k4", "new"): (1, 100, 10),
        ("generate", "hydra", "all"): (3, 1200, 120),
        ("generate", "hydra", "known"): (2, 800, 80),
        ("generate", "hydra", "new"): (1, 400, 40),
    }
    costs = [row["cost"] for row in bill_rows(answers, groups, methods, annotations, prices)]
    assert costs[0] == (150 + 3 * 10) / 1e6
    assert [row["cost"] for row in bill_rows(answers, groups, methods, annotations, LLM())] == [None] * 8


def test_prompts_that_a_methods_arms_share_are_paid_for_once() -> None:
    rows = [("q", arm.name, sample, 100, 10) for arm in (HYDRA, RAG_K4) for sample in (GREEDY, 1)]
    answers = pd.DataFrame(rows, columns=["query_id", "arm", "sample_idx", "tokens_in", "tokens_out"])
    annotations = pd.DataFrame({"query_id": [], "tokens_in": [], "tokens_out": []})
    one = answers.assign(prompt="the same")
    [row, *_] = bill_rows(one, pd.Series({"q": "known"}), [all_methods()["hydra"]], annotations, LLM())
    assert (row["tokens_in"], row["tokens_out"]) == (200, 20)

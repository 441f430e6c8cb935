"""HYDRA's reranker without its adapter (HYDRA, section 5's ablation)."""

from dataclasses import replace

from hydra_ml.answering.arms import HYDRA
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = replace(
    greedy_method(
        "hydra_reranker", HYDRA, "the LLM shown the rerank.k records the reranker prefers", place=80, family="hydra"
    ),
    tells_of_reranker=True,
)

"""HYDRA's adapter without its reranker."""

from dataclasses import replace

from hydra_ml.answering.arms import RAG_K4
from hydra_ml.evaluation.methods.method import choice_method

METHOD = replace(
    choice_method("hydra_adapter", (RAG_K4,), "rag_k4's prompt, answer chosen by the adapter", place=90),
    tells_of_reranker=True,
)

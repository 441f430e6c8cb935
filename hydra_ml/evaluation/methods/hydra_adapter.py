"""HYDRA's adapter without its reranker."""

from hydra_ml.answering.arms import RAG_K4
from hydra_ml.evaluation.methods.method import Method

ARMS = (RAG_K4,)
METHOD = Method(
    "hydra_adapter",
    "rag_k4's prompt, answer chosen by the adapter",
    place=90,
    family="hydra",
    answer=lambda bench: bench.chosen(ARMS, by="personal"),
    arms=ARMS,
)

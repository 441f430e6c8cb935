"""Plain RAG: what users would get without HYDRA."""

from hydra_ml.answering.arms import RAG_K4
from hydra_ml.evaluation.methods.method import Method

METHOD = Method(
    "rag_k4",
    "the LLM shown the 4 best records by BM25",
    place=70,
    family="prompt",
    answer=lambda bench: bench.greedy(RAG_K4),
    arms=(RAG_K4,),
)

"""Plain RAG: what users would get without HYDRA."""

from hydra_ml.answering.arms import RAG_K4
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = greedy_method("rag_k4", RAG_K4, "the LLM shown the 4 best records by BM25", place=70)

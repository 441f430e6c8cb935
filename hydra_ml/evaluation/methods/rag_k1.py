"""Plain RAG with one record: BM25's best."""

from hydra_ml.answering.arms import RAG_K1
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = greedy_method("rag_k1", RAG_K1, "the LLM shown the best record by BM25", place=60)

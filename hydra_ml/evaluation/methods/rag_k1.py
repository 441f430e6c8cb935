"""Plain RAG with one record: BM25's best."""

from hydra_ml.answering.arms import RAG_K1
from hydra_ml.evaluation.methods.method import Method

METHOD = Method(
    "rag_k1",
    "the LLM shown the best record by BM25",
    place=60,
    family="prompt",
    answer=lambda bench: bench.greedy(RAG_K1),
    arms=(RAG_K1,),
)

"""The LLM shown the user's newest records."""

from hydra_ml.answering.arms import RECENCY
from hydra_ml.evaluation.methods.method import Method

METHOD = Method(
    "recency",
    "the LLM shown the rerank.k newest records",
    place=50,
    family="prompt",
    answer=lambda bench: bench.greedy(RECENCY),
    arms=(RECENCY,),
)

"""The LLM shown the user's newest records."""

from hydra_ml.answering.arms import RECENCY
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = greedy_method("recency", RECENCY, "the LLM shown the rerank.k newest records", place=50)

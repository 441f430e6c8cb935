"""The LLM shown random records of the user."""

from hydra_ml.answering.arms import ICL_RANDOM
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = greedy_method("icl_random", ICL_RANDOM, "the LLM shown rerank.k random records", place=40)

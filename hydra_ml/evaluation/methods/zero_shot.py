"""The LLM alone, shown nothing of the user."""

from hydra_ml.answering.arms import ZERO_SHOT
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = greedy_method("zero_shot", ZERO_SHOT, "the LLM alone", place=30)

"""The LLM alone, shown nothing of the user."""

from hydra_ml.answering.arms import ZERO_SHOT
from hydra_ml.evaluation.methods.method import Method

METHOD = Method(
    "zero_shot",
    "the LLM alone",
    place=30,
    family="prompt",
    answer=lambda bench: bench.greedy(ZERO_SHOT),
    arms=(ZERO_SHOT,),
)

"""The LLM shown random records of the user."""

from hydra_ml.answering.arms import ICL_RANDOM
from hydra_ml.evaluation.methods.method import Method

METHOD = Method(
    "icl_random",
    "the LLM shown rerank.k random records",
    place=40,
    family="prompt",
    answer=lambda bench: bench.greedy(ICL_RANDOM),
    arms=(ICL_RANDOM,),
)

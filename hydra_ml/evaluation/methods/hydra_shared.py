"""HYDRA without personal heads: what everybody would get."""

from hydra_ml.answering.arms import HYDRA_SHARED, RAG_K4
from hydra_ml.evaluation.methods.method import Method

ARMS = (
    HYDRA_SHARED,
    RAG_K4,
)
METHOD = Method(
    "hydra_shared",
    "hydra with shared heads only",
    place=100,
    family="hydra",
    answer=lambda bench: bench.chosen(ARMS, by="shared"),
    arms=ARMS,
)

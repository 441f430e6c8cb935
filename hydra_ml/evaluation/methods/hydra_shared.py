"""HYDRA without personal heads: what everybody would get."""

from hydra_ml.answering.arms import HYDRA_SHARED, RAG_K4
from hydra_ml.evaluation.methods.method import choice_method

METHOD = choice_method(
    "hydra_shared",
    (
        HYDRA_SHARED,
        RAG_K4,
    ),
    "hydra with shared heads only",
    place=100,
    by="shared",
)

"""A control: HYDRA with strangers' heads. What it reaches is not personal, whatever the heads learned."""

from hydra_ml.answering.arms import SERVED
from hydra_ml.evaluation.methods.method import Method

METHOD = Method(
    "hydra_swapped",
    "hydra, each user under the adapter head of another, the nearest in length of history",
    place=105,
    family="control",
    answer=lambda bench: bench.chosen(SERVED, by="swapped"),
    arms=SERVED,
    is_choice=True,
)

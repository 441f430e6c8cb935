"""LaMP-3, product rating: how many of 5 stars the user gave, from the text of the review."""

from __future__ import annotations

from hydra_ml.tasks.field_task import FieldTask

RATING = FieldTask(
    name="LaMP-3",
    folder="LaMP_3",
    kind="rating",
    instruction=(
        "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 without "
        "further explanation. review:"
    ),
    marker="review:",
    item_keys=("text", "score"),
    measures=("mae", "rmse"),
    labels=("1", "2", "3", "4", "5"),
    document_keys=("text",),
    input_key="text",
    answer_key="score",
)

"""LaMP-4, news headline: the headline its author would give an article."""

from __future__ import annotations

from hydra_ml.tasks.field_task import FieldTask

HEADLINE = FieldTask(
    name="LaMP-4",
    folder="LaMP_4",
    kind="text",
    instruction="Generate a headline for the following article:",
    marker="article:",
    item_keys=("text", "title"),
    measures=("rouge_1", "rouge_l"),
    document_keys=("title", "text"),
    input_key="text",
    answer_key="title",
)

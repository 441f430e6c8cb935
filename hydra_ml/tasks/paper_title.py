"""LaMP-5, scholarly title: the title its author would give a paper, from the abstract."""

from __future__ import annotations

from hydra_ml.tasks.field_task import FieldTask

PAPER_TITLE = FieldTask(
    name="LaMP-5",
    folder="LaMP_5",
    kind="text",
    instruction="Generate a title for the following abstract of a paper:",
    marker="paper:",
    item_keys=("title", "abstract"),
    measures=("rouge_1", "rouge_l"),
    document_keys=("title", "abstract"),
    input_key="abstract",
    answer_key="title",
)

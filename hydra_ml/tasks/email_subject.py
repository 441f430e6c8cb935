"""LaMP-6, email subject: the subject line its sender would give an email (items as after the Avocado fill)."""

from __future__ import annotations

from hydra_ml.tasks.field_task import FieldTask

EMAIL_SUBJECT = FieldTask(
    name="LaMP-6",
    folder="LaMP_6",
    kind="text",
    instruction="Generate a subject for the following email:",
    marker="email:",
    item_keys=("text", "title"),
    measures=("rouge_1", "rouge_l"),
    document_keys=("text",),
    input_key="text",
    answer_key="title",
)

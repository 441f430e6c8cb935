"""LaMP-2N, news categorisation (the LaMP-2 of before 2024): which of 15 categories an article belongs to."""

from __future__ import annotations

from hydra_ml.tasks.field_task import FieldTask

CATEGORIES = (
    "food & drink",
    "sports",
    "education",
    "parents",
    "religion",
    "travel",
    "business",
    "crime",
    "science & technology",
    "culture & arts",
    "entertainment",
    "politics",
    "women",
    "style & beauty",
    "healthy living",
)

NEWS_CATEGORY = FieldTask(
    name="LaMP-2N",
    folder="LaMP_2N",
    kind="label",
    # The official input lists the categories in another order than the evaluator does.
    instruction=(
        "Which category does this article relate to among the following categories? Just answer with the category "
        "name without further explanation. categories: [women, religion, politics, style & beauty, entertainment, "
        "culture & arts, sports, science & technology, travel, business, crime, education, healthy living, parents, "
        "food & drink] article:"
    ),
    marker="article:",
    item_keys=("text", "title", "category"),
    measures=("accuracy", "f1"),
    labels=CATEGORIES,
    document_keys=("title", "text"),
    input_key="text",
    answer_key="category",
)

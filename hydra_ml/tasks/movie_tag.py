"""LaMP-2, movie tagging: which of 15 tags would this user give to a movie, from its description."""

from __future__ import annotations

from hydra_ml.tasks.field_task import FieldTask

TAGS = (
    "sci-fi",
    "based on a book",
    "comedy",
    "action",
    "twist ending",
    "dystopia",
    "dark comedy",
    "classic",
    "psychology",
    "fantasy",
    "romance",
    "thought-provoking",
    "social commentary",
    "violence",
    "true story",
)

MOVIE_TAG = FieldTask(
    name="LaMP-2",
    folder="LaMP_2",
    kind="label",
    instruction=(
        "Which tag does this movie relate to among the following tags? Just answer with the tag name without further "
        f"explanation. tags: [{', '.join(TAGS)}] description:"
    ),
    marker="description:",
    item_keys=("tag", "description"),
    measures=("accuracy", "f1"),
    labels=TAGS,
    document_keys=("description",),
    input_key="description",
    answer_key="tag",
)

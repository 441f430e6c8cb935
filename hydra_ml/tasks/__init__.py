"""The LaMP tasks by folder name, and the way from a name someone typed to one of them."""

from __future__ import annotations

from hydra_ml.errors import ParamsError
from hydra_ml.tasks.citation import CITATION
from hydra_ml.tasks.email_subject import EMAIL_SUBJECT
from hydra_ml.tasks.headline import HEADLINE
from hydra_ml.tasks.movie_tag import MOVIE_TAG
from hydra_ml.tasks.news_category import NEWS_CATEGORY
from hydra_ml.tasks.paper_title import PAPER_TITLE
from hydra_ml.tasks.rating import RATING
from hydra_ml.tasks.task import Task
from hydra_ml.tasks.tweet import TWEET

TASKS: dict[str, Task] = {
    task.folder: task
    for task in (CITATION, MOVIE_TAG, NEWS_CATEGORY, RATING, HEADLINE, PAPER_TITLE, EMAIL_SUBJECT, TWEET)
}


def get_task(name: str) -> Task:
    """The task of that name, "LaMP-2N", "LaMP_2N" and "lamp-2n" alike. Raises ParamsError for any other."""
    wanted = name.strip().casefold().replace("-", "_")
    for folder, task in TASKS.items():
        if folder.casefold() == wanted:
            return task
    allowed = ", ".join(task.name for task in TASKS.values())
    raise ParamsError(f"unknown task {name!r}; allowed are {allowed} (LaMP-2 is movie tags, LaMP-2N news categories).")

"""LaMP's tasks by folder name. Those that a project declares besides are found by `io.task_files`."""

from __future__ import annotations

from importlib.resources import files

from ruamel.yaml import YAML

from hydra_ml.errors import ParamsError
from hydra_ml.tasks.definition import TaskDefinition
from hydra_ml.tasks.field_task import FieldTask
from hydra_ml.tasks.task import Task

__all__ = ["TASKS", "FieldTask", "Task", "as_folder", "get_task"]


def _lamp_tasks() -> dict[str, Task]:
    """The tasks of lamp/*.yaml, which are part of this package as its code is."""
    texts = (entry.read_text("utf-8") for entry in files(__package__).joinpath("lamp").iterdir())
    tasks = [TaskDefinition.model_validate(YAML(typ="safe").load(text)).task() for text in texts]
    return {task.folder: task for task in sorted(tasks, key=lambda task: task.folder)}


TASKS = _lamp_tasks()


_OTHER_NAMES = {"lamp_2m": "lamp_2"}  # movies, to tell them from LaMP's first second task, news


def as_folder(name: str) -> str:
    """A task's name, however it was typed, as tasks are compared by it: "LaMP-2N", "LaMP_2N" and "lamp-2n" alike;
    LaMP-2M, as some name the movies, is LaMP-2."""
    plain = name.strip().casefold().replace("-", "_")
    return _OTHER_NAMES.get(plain, plain)


def get_task(name: str) -> Task:
    """LaMP's task of that name, "LaMP-2N", "LaMP_2N" and "lamp-2n" alike. Raises ParamsError for any other."""
    for folder, task in TASKS.items():
        if as_folder(folder) == as_folder(name):
            return task
    allowed = ", ".join(task.name for task in TASKS.values())
    raise ParamsError(f"unknown task {name!r}; allowed are {allowed} (LaMP-2 is movie tags, LaMP-2N news categories).")

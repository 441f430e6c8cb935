"""The tasks that a project declares in its folder tasks/, a YAML file each, beside LaMP's.

Everybody above the core finds tasks here. A file is read again when it changed; its problems are told all at once, with
their lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hydra_ml.errors import ParamsError
from hydra_ml.io.bounded_yaml import NO_YAML, check_bounds
from hydra_ml.tasks import TASKS, as_folder
from hydra_ml.tasks.definition import Place, TaskDefinition, parse_definition
from hydra_ml.tasks.task import Task

FOLDER = Path("tasks")
REMEDY = "`hydra-ml task check FILE` looks at it again; docs/own_task.md tells every key."


def get_task(name: str) -> Task:
    """The task of that name, LaMP's or of tasks/*.yaml, "LaMP-2N", "LaMP_2N" and "lamp-2n" alike. Raises ParamsError
    for any other, and for one whose file is unfit."""
    wanted = as_folder(name)
    for folder, task in TASKS.items():
        if as_folder(folder) == wanted:
            return task
    for path in own_files():
        if as_folder(path.stem) == wanted:
            return task_in(path)
    own = f"; of {FOLDER}/: {', '.join(path.stem for path in own_files())}" if own_files() else ""
    raise ParamsError(
        f"unknown task {name!r}; allowed are {', '.join(task.name for task in TASKS.values())} (LaMP-2 is movie tags, "
        f"LaMP-2N news categories){own}. `hydra-ml task new` starts one of your own."
    )


def known_tasks() -> Mapping[str, Task]:
    """All tasks by folder, LaMP's first; without those whose files are unfit, which `get_task` tells."""
    found = dict(TASKS)
    for path in own_files():
        try:
            task = task_in(path)
        except ParamsError:
            continue
        found[task.folder] = task
    return found


def own_files() -> list[Path]:
    """The files of tasks/, by name."""
    return sorted(FOLDER.glob("*.yaml")) if FOLDER.is_dir() else []


def task_in(path: Path) -> Task:
    """The task that a file of tasks/ declares. Raises ParamsError with all that is wrong with it."""
    definition = read_definition(path)
    problems = name_problems(definition, path)
    if problems:
        raise ParamsError(told(path, problems, {}))
    return _task_of(definition.model_dump_json())


def read_definition(path: Path) -> TaskDefinition:
    """What a task's file says, wherever it lies. Raises ParamsError with all that is wrong with it."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}). Name a task's YAML file.") from error
    found = _read(path.absolute(), stat.st_mtime_ns, stat.st_size)
    if isinstance(found, str):
        raise ParamsError(found)
    return found


def name_problems(definition: TaskDefinition, path: Path) -> list[tuple[Place, str]]:
    """Why the task cannot have its name: it is not its file's, or another task's."""
    found: list[tuple[Place, str]] = []
    if as_folder(definition.name) != as_folder(path.stem):
        found.append((("name",), f"is {definition.name!r}, but the file is {path.name}: name both alike"))
    if as_folder(definition.name).startswith("lamp_"):
        found.append((("name",), f"{definition.name!r}: names that begin with LaMP are LaMP's own"))
    twins = [other.name for other in own_files() if as_folder(other.stem) == as_folder(path.stem)]
    if len(twins) > 1:
        found.append((("name",), f"is that of {' and '.join(twins)}: case and - or _ do not tell tasks apart"))
    return found


def told(path: Path, problems: Iterable[tuple[Place, str]], lines: Mapping[Place, int]) -> str:
    """The problems of a file as its error says them, in the order of their lines."""
    rows = sorted((_line_of(place, lines), ".".join(map(str, place)) or "the file", what) for place, what in problems)
    shown = [f"  {f'line {line}: ' if line else ''}{where}: {what}" for line, where, what in rows]
    return "\n".join([f"{path}: {len(rows)} problem(s)", *shown, f"Mend these; {REMEDY}"])


def _line_of(place: Place, lines: Mapping[Place, int]) -> int:
    """The line of the place, or of the nearest thing it lies in; 0 if none is known."""
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 0)


@lru_cache(maxsize=256)
def _read(path: Path, changed: int, size: int) -> TaskDefinition | str:
    """The definition in a file of that age and size, or what its error says: told each time, read once."""
    try:
        text = path.read_text("utf-8")
        check_bounds(text)
        document = YAML().load(text)  # round trip: it knows its lines
    except (OSError, *NO_YAML) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or type(error).__name__
        return f"{path}: not YAML{line} ({problem}). {REMEDY}"
    definition, problems = parse_definition(_plain(document))
    if definition is None or problems:
        return told(path, problems, dict(_lines(document)) if isinstance(document, Mapping) else {})
    return definition


@lru_cache(maxsize=256)
def _task_of(content: str) -> Task:
    """One Task for equal definitions, so that tasks can be told apart by identity."""
    definition = TaskDefinition.model_validate_json(content)
    here = str(Path.cwd())
    if (definition.python or any(":" in name for name in definition.measures)) and here not in sys.path:
        sys.path.insert(0, here)  # code of the project's own: the installed command does not look there
    return definition.task()


def _plain(document: Any) -> Any:
    """What ruamel built, as plain mappings, lists and texts: checks are strict about types."""
    if isinstance(document, Mapping):
        return {_plain(key): _plain(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_plain(value) for value in document]
    return str(document) if isinstance(document, str) else document


def _lines(document: Any, place: Place = ()) -> Iterable[tuple[Place, int]]:
    """Where each key and item stands, from 1."""
    if getattr(document, "tag", None) is not None and document.tag.value is not None:
        return  # of a tag that nobody builds ruamel keeps no lines
    entries = document.items() if isinstance(document, Mapping) else enumerate(document)
    places: Any = document.lc  # ruamel's own
    for key, value in entries:
        where = places.key(key) if isinstance(document, Mapping) else places.item(key)
        yield (*place, key), where[0] + 1
        if hasattr(value, "lc") and isinstance(value, Mapping | list):
            yield from _lines(value, (*place, key))

"""What the verbs of `hydra-ml` share: options, the settings they name, and how an answer is printed.

Text for people, JSON with --json for programs; nothing heavy is imported before a wrong option is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_ml.errors import HydraError, ParamsError

if TYPE_CHECKING:
    from hydra_ml.params import Params
    from hydra_ml.tasks.task import Task

DATA = Path("data")
CACHE = Path(".cache")
PARAMS = Path("params.yaml")
ParamsOption = Annotated[Path, typer.Option("--params", help="the settings file")]
TaskOption = Annotated[str | None, typer.Option("--task", help="a task of params.yaml; may be left out if it has one")]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON, for programs")]


def task_settings(params: Path, task: str | None) -> tuple[Params, Task]:
    """The settings and the task meant. Raises ParamsError if none is named and params.yaml does not have just one."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.task_files import get_task

    settings = load_params(params)
    if task is None and len(settings.tasks) > 1:
        raise ParamsError(f"{params} has the tasks {', '.join(settings.tasks)}. Say which with --task.")
    return settings, get_task(task or settings.tasks[0])


def tasks_meant(params: Path, task: str | None) -> list[Task]:
    """The task named, or without a name every task of params.yaml."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.task_files import get_task

    return [get_task(name) for name in ([task] if task else load_params(params).tasks)]


def read_shares(text: str) -> tuple[float, float]:
    """The shares of dev and test in "0.1,0.1". Raises ParamsError."""
    try:
        dev, test = (float(part) for part in text.split(","))
    except ValueError:
        raise ParamsError(f"--time-split {text}: two shares, of dev and test, as in 0.1,0.1.") from None
    return dev, test


def tell_taken(takes: Iterable[Callable[[], Any]], nothing: str, as_json: bool) -> None:
    """Run each, print the reports they give, or `nothing`; exit code 1 if one refused its file or could not be run.

    What fails waits, and the others do not wait for it. A report of None is none.
    """
    from hydra_ml.terminal import plain

    reports, failed = [], False
    for take in takes:
        try:
            report = take()
        except HydraError as error:
            failed = True
            typer.echo(f"{error}", err=True)
        else:
            reports += [] if report is None else [report]
    text = "\n\n".join(plain(report.markdown()) for report in reports) or nothing
    answer(text, [asdict(report) for report in reports], as_json)
    if failed or any(report.refused for report in reports):
        raise typer.Exit(1)


def answer(text: str, document: Any, as_json: bool) -> None:
    """Print one of the two."""
    print(json.dumps(document, indent=1, ensure_ascii=False, default=str) if as_json else text.rstrip("\n"))

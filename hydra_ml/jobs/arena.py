"""arena: some methods side by side on one task, on request. What is lacking is run through DVC; params.yaml stays as it
is.

What was bought or fitted before is used again; answers bought are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from hydra_ml.errors import ParamsError
from hydra_ml.evaluation.methods import chosen_methods, named_by_all
from hydra_ml.evaluation.report import results_table
from hydra_ml.evaluation.results import Document
from hydra_ml.evaluation.samples_table import samples_table
from hydra_ml.io.dvc import work_without_git
from hydra_ml.io.dvc_repro import repro_all
from hydra_ml.io.files import load_json
from hydra_ml.io.lamp.raw_data import bring_data, is_sample, use_folder, use_sample
from hydra_ml.io.layout import REPORT, task_folder
from hydra_ml.io.llm_environment import check_server, in_night, named_model
from hydra_ml.io.params_file import changed_params, load_params
from hydra_ml.jobs import dry_run
from hydra_ml.params import Params
from hydra_ml.tasks.task import Task

EVERY = "all"


def named_methods(text: str, task: Task) -> list[str]:
    """The methods of a comma-separated list, or all, rivals too but none that shows other users' data, that the task
    has. Raises ParamsError for a name that is none, and if the task has none of them."""
    names = named_by_all() if text.strip() == EVERY else [name.strip() for name in text.split(",") if name.strip()]
    found = [method.name for method in chosen_methods(names) if method.fits(task)]
    if not found:
        raise ParamsError(f"{text!r} names no method that {task.name} has. `hydra-ml methods` lists them all.")
    return found


def run_arena(
    task: Task, methods: Sequence[str] | None, *, folder: Path | None, params: Path, data: Path, cache: Path
) -> str:
    """Bring the task's results under these methods (None: as params.yaml has them) up to date; the table, and where the
    page lies. What each method needs is told before anything is asked. folder: LaMP files to use from now on, as
    `hydra-ml run --data` does.

    Raises as stages and DVC do; params.yaml is then as it was, too.
    """
    night = f"arena {datetime.now(UTC).isoformat()}"
    with _workspace(task, methods, folder, params, data) as settings, in_night(night):
        check_server(settings.llm)
        print(dry_run.methods_table(_forecast(task, settings, data, cache), settings.llm), file=sys.stderr)
        repro_all(upto=f"arena@{task.folder}")
    page = task_folder(data, "arena", task) / REPORT
    return f"{shown_results(task, data)}\n\nThe page, to open in a browser: {page}"


def run_samples(
    task: Task, methods: Sequence[str] | None, n: int, *, folder: Path | None, params: Path, data: Path
) -> str:
    """`run_arena` on n samples of users, drawn by the project's seed and the next ones; their results side by side. The
    project's own comes last, so it is what lies there afterwards. Raises ParamsError for n < 2, else as `run_arena`."""
    if n < 2:
        raise ParamsError(f"--samples {n}: at least 2 samples of users can be compared. Without it, one is run.")
    own, found = load_params(params).seed, {}
    with in_night(f"arena {datetime.now(UTC).isoformat()}"):
        for seed in reversed(range(own, own + n)):
            with _workspace(task, methods, folder, params, data, seed=seed) as settings:
                check_server(settings.llm)
                repro_all(upto=f"arena@{task.folder}")
            found[seed] = _results(task, data)
    return samples_table({seed: found[seed] for seed in sorted(found)})


def price_of_arena(
    task: Task, methods: Sequence[str] | None, *, folder: Path | None, params: Path, data: Path, cache: Path
) -> str:
    """What `run_arena` would ask of the LLM; runs the stages that ask nothing and that the estimate needs."""
    with _workspace(task, methods, folder, params, data) as settings:
        forecast = _forecast(task, settings, data, cache)
    tables = (dry_run.methods_table(forecast, settings.llm), dry_run.costs_table(forecast, settings.llm))
    return "\n\n".join(filter(None, tables))


def _forecast(task: Task, settings: Params, data: Path, cache: Path) -> dry_run.Forecast:
    repro_all(upto=f"{dry_run.BEFORE}@{task.folder}")
    return dry_run.dry_run(settings.model_copy(update={"tasks": [task.folder]}), data=data, cache=cache)


def shown_results(task: Task, data: Path) -> str:
    """The table of the task's last evaluation. Raises ArtifactError if there was none."""
    return results_table(*_results(task, data))


def _results(task: Task, data: Path) -> tuple[Document, Document]:
    folder = task_folder(data, "evaluate", task)
    return load_json(folder / "metrics.json"), load_json(folder / "details.json")


@contextmanager
def _workspace(
    task: Task, methods: Sequence[str] | None, folder: Path | None, params: Path, data: Path, *, seed: int | None = None
) -> Iterator[Params]:
    """Data of the task in place, and params.yaml with these methods, and this seed, for as long as the block runs. A
    sample that the project makes follows the seed."""
    work_without_git()
    if folder is not None:
        use_folder(folder, data / "raw", params)
    settings = load_params(params)
    changes = {
        "tasks": [*settings.tasks, *({task.folder} - set(settings.tasks))],
        "evaluate.methods": settings.evaluate.methods if methods is None else list(methods),
        "llm.model": named_model() or settings.llm.model,
        "seed": settings.seed if seed is None else seed,
    }
    with changed_params(params, changes):
        if seed is not None and is_sample(data / "raw"):
            use_sample(data / "raw", params)
        bring_data(data / "raw", params, [task.folder])
        yield load_params(params)

"""The command line that all stages share: options in, logs on stderr, one JSON line on stdout, an exit code out.

A stage module holds one function, `stage(*, <its folders>, task, params) -> summary`, and its
`main = stage_command(stage)`. Its folders are named as `io.layout.INPUTS` has them, besides `out` and `cache`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_ml.errors import HydraError, exit_of
from hydra_ml.io.layout import INPUTS, task_folder
from hydra_ml.io.llm_environment import check_named_model
from hydra_ml.io.params_file import load_params
from hydra_ml.io.private_files import work_privately
from hydra_ml.io.task_files import get_task
from hydra_ml.params import Params
from hydra_ml.tasks.task import Task

MAY_PASS = 75  # what sysexits.h calls a temporary failure: whoever runs the stage may try again
DATA, CACHE, PARAMS = Path("data"), Path(".cache"), Path("params.yaml")

Stage = Callable[..., Mapping[str, Any]]


class Main:
    """The entry point of a stage module: `main(argv)` for a process, `main.run(...)` for a caller in this one."""

    def __init__(self, stage: Stage, *, asks_llm: bool) -> None:
        """asks_llm: whether the stage's answers depend on the LLM, and so on when they come."""
        self.stage, self.name, self.asks_llm = stage, stage.__name__, asks_llm
        given = inspect.signature(stage).parameters
        self.folders = {name: given[name].default is None for name in given if name not in ("task", "params")}

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """The exit code: 0, or the error's (1 failure, 2 usage or params, 75 a failure that may pass by itself).

        argv None: the process's own arguments.
        """
        options = vars(self.parser().parse_args(argv))
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("hydra_ml").setLevel(logging.INFO)
        work_privately()
        try:
            task, params = get_task(options.pop("task")), load_for_run(options.pop("params"))
            summary = self.run(task, params, places={name: path for name, path in options.items() if path})
        except (HydraError, OSError, KeyboardInterrupt) as error:
            message, code = exit_of(error)
            print(f"{self.name}: {message}", file=sys.stderr)
            return MAY_PASS if isinstance(error, HydraError) and error.may_pass else code
        print(json.dumps(summary, ensure_ascii=False))
        return 0

    def run(
        self, task: Task, params: Params, *, data: Path = DATA, cache: Path = CACHE, places: Mapping[str, Path] = {}
    ) -> dict[str, Any]:
        """Run the stage; what the JSON line would hold. Nothing is printed. Raises the stage's HydraError.

        places: folders that lie elsewhere than `io.layout` has them below `data`, by the stage's argument.
        """
        started = time.monotonic()
        folders = {
            name: places.get(name) or self._folder(name, task, data, cache)
            for name, may_lack in self.folders.items()
            if name in places or not may_lack
        }
        summary = self.stage(**folders, task=task, params=params)
        seconds = round(time.monotonic() - started, 2)
        return {"stage": self.name, "task": task.folder, **summary, "seconds": seconds}

    def _folder(self, name: str, task: Task, data: Path, cache: Path) -> Path:
        if name == "cache":
            return cache
        return data / self.name / task.folder if name == "out" else task_folder(data, INPUTS[name], task)

    def parser(self) -> argparse.ArgumentParser:
        """The options: --task, --params, and one per folder, underscores as dashes."""
        parser = argparse.ArgumentParser(
            prog=f"python -m hydra_ml.stages.{self.name}",
            description=sys.modules[self.stage.__module__].__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--task", required=True, help="a LaMP task: LaMP_1, LaMP_2, LaMP_2N, LaMP_3 ... LaMP_7")
        parser.add_argument("--params", default=PARAMS, type=Path, metavar="FILE", help="the settings [%(default)s]")
        for name, may_lack in self.folders.items():
            usual = "none" if may_lack else CACHE if name == "cache" else f"data/{INPUTS.get(name, self.name)}/<task>"
            parser.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="FOLDER", help=f"[{usual}]")
        return parser


def load_for_run(path: Path) -> Params:
    """The settings of a run of the pipeline, which must name the LLM that the environment does. Raises ParamsError."""
    params = load_params(path)
    check_named_model(params.llm)
    return params


def stage_command(stage: Stage, *, asks_llm: bool = False) -> Main:
    """The `main` of a stage: called with `task`, `params` and its folders by keyword, those with default None only
    where they are given; what it returns is printed as the JSON line's fields."""
    return Main(stage, asks_llm=asks_llm)

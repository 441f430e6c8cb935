"""The command line that all stages share: options in, logs on stderr, one JSON line on stdout, an exit code out.

A stage module holds one function, `stage(*, <its paths>, task, params) -> summary`, and `main = stage_command(...)`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_ml.errors import DISK_TROUBLE, HydraError
from hydra_ml.io.llm_environment import check_named_model
from hydra_ml.io.params_file import load_params
from hydra_ml.params import Params
from hydra_ml.tasks import get_task

INTERRUPTED = 130  # what shells expect after Ctrl-C
MAY_PASS = 75  # what sysexits.h calls a temporary failure: whoever runs the stage may try again

Stage = Callable[..., Mapping[str, Any]]


class Main:
    """The entry point of a stage module: `main(argv)` for a process, `main.run(argv)` for a caller in this one."""

    def __init__(self, stage: Stage, paths: Mapping[str, str], optional: Mapping[str, str]) -> None:
        self._stage, self._paths, self._optional = stage, paths, optional

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """The exit code: 0, or the error's (1 failure, 2 usage or params, 75 a failure that may pass by itself).

        argv None: the process's own arguments.
        """
        options = self._options(argv)
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("hydra_ml").setLevel(logging.INFO)
        try:
            summary = self._run(options, load_for_run)
        except HydraError as error:
            print(f"{self._stage.__name__}: {error}", file=sys.stderr)
            return MAY_PASS if error.may_pass else error.exit_code
        except OSError as error:
            if error.errno not in DISK_TROUBLE:
                raise
            told = f"{error}. Nothing half-written stays; mend it and run the same command again."
            print(f"{self._stage.__name__}: {told}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"{self._stage.__name__}: interrupted; run the same command again to go on.", file=sys.stderr)
            return INTERRUPTED
        print(json.dumps(summary, ensure_ascii=False))
        return 0

    def run(self, argv: Sequence[str]) -> Mapping[str, Any]:
        """What the JSON line would hold, nothing printed, from any thread. Raises the stage's HydraError."""
        return self._run(self._options(argv), load_params)

    def _options(self, argv: Sequence[str] | None) -> dict[str, Any]:
        return vars(stage_parser(self._stage, self._paths, self._optional).parse_args(argv))

    def _run(self, options: dict[str, Any], load: Callable[[Path], Params]) -> dict[str, Any]:
        started = time.monotonic()
        task, params = get_task(options.pop("task")), load(options.pop("params"))
        summary = self._stage(**options, task=task, params=params)
        seconds = round(time.monotonic() - started, 2)
        return {"stage": self._stage.__name__, "task": task.folder, **summary, "seconds": seconds}


def load_for_run(path: Path) -> Params:
    """The settings of a run of the pipeline, which must name the LLM that the environment does. Raises ParamsError."""
    params = load_params(path)
    check_named_model(params.llm)
    return params


def stage_command(stage: Stage, paths: Mapping[str, str], *, optional: Mapping[str, str] | None = None) -> Main:
    """The `main` of a stage.

    stage: called with `task`, `params` and every path by keyword; what it returns is printed as the JSON line's fields.
    paths: help text of each path option, by the stage's argument name; all are required, those of `optional` are None
    where they are not given.
    """
    return Main(stage, paths, optional or {})


def stage_parser(
    stage: Stage, paths: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> argparse.ArgumentParser:
    """The options of a stage: --task, --params, and one per path, underscores as dashes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m hydra_ml.stages.{stage.__name__}",
        description=sys.modules[stage.__module__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--task", required=True, help="a LaMP task: LaMP_1, LaMP_2, LaMP_2N, LaMP_3 ... LaMP_7")
    parser.add_argument("--params", required=True, type=Path, metavar="FILE", help="the settings, usually params.yaml")
    for name, text in {**paths, **(optional or {})}.items():
        flag, required = f"--{name.replace('_', '-')}", name in paths
        parser.add_argument(flag, required=required, type=Path, metavar="PATH", help=text)
    return parser

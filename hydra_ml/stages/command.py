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
from typing import Any, Protocol

from hydra_ml.errors import HydraError
from hydra_ml.io.params_file import load_params
from hydra_ml.tasks import get_task

INTERRUPTED = 130  # what shells expect after Ctrl-C

Stage = Callable[..., Mapping[str, Any]]


class Main(Protocol):
    """The entry point of a stage module; `argv` None reads the process's own arguments."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def stage_command(stage: Stage, paths: Mapping[str, str]) -> Main:
    """A `main(argv)` that runs the stage and returns its exit code: 0, or the error's (1 failure, 2 usage or params).

    stage: called with `task`, `params` and every path by keyword; what it returns is printed as the JSON line's fields.
    paths: help text of each path option, by the stage's argument name; all are required.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        options = vars(stage_parser(stage, paths).parse_args(argv))
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("hydra_ml").setLevel(logging.INFO)
        started = time.monotonic()
        try:
            task, params = get_task(options.pop("task")), load_params(options.pop("params"))
            summary = stage(**options, task=task, params=params)
        except HydraError as error:
            print(f"{stage.__name__}: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print(f"{stage.__name__}: interrupted; run the same command again to go on.", file=sys.stderr)
            return INTERRUPTED
        seconds = round(time.monotonic() - started, 2)
        print(
            json.dumps(
                {"stage": stage.__name__, "task": task.folder, **summary, "seconds": seconds}, ensure_ascii=False
            )
        )
        return 0

    return main


def stage_parser(stage: Stage, paths: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options of a stage: --task, --params, and one per path, underscores as dashes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m hydra_ml.stages.{stage.__name__}",
        description=sys.modules[stage.__module__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--task", required=True, help="a LaMP task: LaMP_1, LaMP_2, LaMP_2N, LaMP_3 ... LaMP_7")
    parser.add_argument("--params", required=True, type=Path, metavar="FILE", help="the settings, usually params.yaml")
    for name, text in paths.items():
        parser.add_argument(f"--{name.replace('_', '-')}", required=True, type=Path, metavar="PATH", help=text)
    return parser

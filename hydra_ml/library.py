"""The front door for programs: `from hydra_ml import load_task, open_release, score_requests`.

task = load_task("support-macro")
release = open_release(task)
table = score_requests(release, [{"request_id": "1", "user_id": "a07", "input": "My kettle never came."}])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import load_params
from hydra_ml.io.task_files import get_task, read_definition
from hydra_ml.serving import open_release as opening
from hydra_ml.serving.open_release import OpenRelease
from hydra_ml.serving.served_release import answer_rows
from hydra_ml.tasks.task import Task

__all__ = ["load_params", "load_task", "open_release", "score_requests"]


def load_task(name: str | Path) -> Task:
    """LaMP's task of that name, one of the project's tasks/, or the one in a YAML file. Raises ParamsError."""
    if isinstance(name, Path) or name.endswith((".yaml", ".yml")):
        return read_definition(Path(name)).task()
    return get_task(name)


def open_release(
    task: Task | str, which: str = "champion", *, cache: Path = Path(".cache"), signed_with: str = ""
) -> OpenRelease:
    """The release of the task that an alias or a version names, from MLflow at MLFLOW_TRACKING_URI or this folder's.

    signed_with: the operator's public key, which must have signed it; "": none is asked for.
    Raises ArtifactError if it, or a part of it, is missing, altered or made with another encoder.
    """
    meant = get_task(task) if isinstance(task, str) else task
    return opening.open_release(Registry(cache=cache), meant, which, cache, signed_with=signed_with)


def score_requests(
    release: OpenRelease, requests: Iterable[Mapping[str, Any]], *, data: Path = Path("data")
) -> pd.DataFrame:
    """A row per request, in order, columns PREDICTION_COLUMNS; one that cannot be answered has no prediction and says
    why in `error`.

    requests: request_id, user_id, input, and history where it comes along, a list of items; without it the user's
    records in `data` are read. Raises LLMError if the LLM cannot be asked at all.
    """
    return answer_rows(release, pd.DataFrame([dict(request) for request in requests]), data)

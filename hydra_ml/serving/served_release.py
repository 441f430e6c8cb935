"""A release behind an address: what `mlflow models serve -m models:/lamp-2n.release@champion` answers with.

The class MLflow loads is in the release's package (`io.mlflow.release_package`) and calls this one. Components come
from the registry that MLFLOW_TRACKING_URI names, by the digests in the packaged release.json; a user's history comes
with the request, or from data/ of the folder that is served from.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hydra_ml.io.layout import task_folder
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks.task import Task

if TYPE_CHECKING:
    from hydra_ml.records import Request
    from hydra_ml.serving.open_release import OpenRelease

DATA, CACHE = Path("data"), Path(".cache")


class ServedRelease:
    """Answers requests with one release, one call at a time."""

    def __init__(self, manifest: Path) -> None:
        """Opens the release of a packaged release.json, wherever the aliases point by now; raises as `open_release`."""
        from hydra_ml.io.files import file_digest, load_json
        from hydra_ml.io.mlflow.registry import Registry
        from hydra_ml.io.task_files import get_task
        from hydra_ml.serving.open_release import open_release
        from hydra_ml.tasks.definition import task_from_json

        document = load_json(manifest)
        # Where it is served from, tasks/ need not be.
        definition = document.get("definition", "")
        task = task_from_json(definition) if definition else get_task(document["task"])
        registry = Registry(cache=CACHE)
        version = registry.release_of_digest(task, file_digest(manifest))
        self._opened = open_release(registry, task, version, CACHE)
        self._one_at_a_time = threading.Lock()

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """A row per request, in order, columns PREDICTION_COLUMNS; a request that cannot be answered has no
        prediction and says why in `error`.

        model_input: request_id, user_id, input, and history where it comes along: JSON of a list of items, as
        `io.requests.read_history` takes them. Without it: the user's records in data/, if there are any.
        """
        with self._one_at_a_time:
            return answer_rows(self._opened, model_input)


def answer_rows(opened: OpenRelease, rows: pd.DataFrame, data: Path = DATA) -> pd.DataFrame:
    """What a release answers to requests as rows of a table, as `ServedRelease.predict` has it. data: where the records
    of users lie whose request brings no history."""
    from hydra_ml.io.requests import Unfit, read_request
    from hydra_ml.predictions import PREDICTION_COLUMNS

    task = opened.task
    fit: list[Request] = []
    unfit: list[dict[str, Any]] = []
    asked: set[str] = set()
    for line, row in enumerate(rows.astype(object).to_dict("records"), start=1):
        entry = {str(name): value for name, value in row.items() if isinstance(value, list) or not pd.isna(value)}
        try:
            request = read_request({"task": task.name, **entry}, task, line)
            if request.request_id in asked:
                raise Unfit("request_id repeated")
            asked.add(request.request_id)
            fit.append(request)
        except Unfit as problem:
            ids = {name: str(entry.get(name, "")) for name in ("request_id", "user_id")}
            unfit.append({**ids, "line": line, "release": opened.version, "error": str(problem)})
    table = _answers(opened, fit, data).assign(line=[request.line for request in fit])
    both = pd.concat([table.astype(object), pd.DataFrame(unfit, dtype=object)], ignore_index=True)
    both = both.sort_values("line", ignore_index=True)[list(PREDICTION_COLUMNS)]
    return both.where(both.notna(), None)


def _answers(opened: OpenRelease, requests: list[Request], data: Path) -> pd.DataFrame:
    from hydra_ml.answering.score_requests import give_profiles

    kept = stored([request.user_id for request in requests if request.history is None], opened.task, data)
    table, records = give_profiles(requests, kept, opened.task, limit=opened.params.prepare.history)
    return opened.score(table, records)


def stored(user_ids: list[str], task: Task, data: Path = DATA) -> pd.DataFrame:
    """RECORD_COLUMNS of the users in `data`; empty where the folder served from holds no data of the task."""
    from hydra_ml.io.history_store import stored_records

    if not user_ids or not task_folder(data, "prepare", task).is_dir():
        return pd.DataFrame(columns=list(RECORD_COLUMNS), dtype=str)
    return stored_records(data, task, user_ids)

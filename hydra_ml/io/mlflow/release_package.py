"""A release as an MLflow pyfunc model: `mlflow models serve` answers with it, MLflow's pages describe it.

The package holds release.json and a few lines that load `serving.served_release`; components stay in the registry,
where the served model fetches them by the digests that release.json names.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from hydra_ml.io.files import save_json
from hydra_ml.predictions import PREDICTIONS
from hydra_ml.release import PARTS, Release, model_name
from hydra_ml.tasks.task import Task

LOADER = '''"""What MLflow runs of a release of hydra_ml: the release itself is opened by the installed package."""

from pathlib import Path

import mlflow.models
from mlflow.pyfunc import PythonModel

from hydra_ml.serving.served_release import ServedRelease


class ReleaseModel(PythonModel):
    def load_context(self, context):
        self._served = ServedRelease(Path(context.artifacts["release"]))

    def predict(self, context, model_input, params=None):
        return self._served.predict(model_input)


mlflow.models.set_model(ReleaseModel())
'''
RELEASE_FILE = "artifacts/release.json"  # where pyfunc keeps it inside the package


def save_release_model(release: Release, task: Task, folder: Path) -> None:
    """Write the package to `folder`, which must not exist yet. Same release, same release.json."""
    import mlflow.pyfunc

    manifest = folder.with_name("release.json")
    save_json(release.document(), manifest)
    loader = folder.with_name("release_model.py")
    loader.write_text(LOADER, "utf-8")
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(loader),
        artifacts={"release": str(manifest)},
        signature=signature(),
        input_example=input_example(task),
        pip_requirements=[f"{name}=={version(name)}" for name in ("hydra-ml", "mlflow")],
        metadata={"task": task.name},
    )


def signature() -> Any:
    """What a request and an answer hold: columns of requests in, of predictions out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    asked: list[Any] = [ColSpec(DataType.string, name) for name in ("request_id", "user_id", "input")]
    asked.append(ColSpec(DataType.string, "history", required=False))  # JSON, see `io.requests.read_history`
    given: list[Any] = [ColSpec(_kind(column.type), column.name, required=False) for column in PREDICTIONS]
    return ModelSignature(inputs=Schema(asked), outputs=Schema(given))


def _kind(arrow: pa.DataType) -> Any:
    """MLflow's name of a column's type."""
    from mlflow.types import DataType
    from mlflow.types.schema import Array, Object, Property

    if pa.types.is_list(arrow):
        return Array(_kind(arrow.value_type))
    if pa.types.is_struct(arrow):
        return Object([Property(field.name, _kind(field.type)) for field in arrow])
    if pa.types.is_floating(arrow):
        return DataType.double
    return DataType.long if pa.types.is_integer(arrow) else DataType.string


def input_example(task: Task) -> pd.DataFrame:
    """A made-up request, so that nobody's text stands in the registry."""
    item = {"id": "1", "date": "2026-01-01", **dict.fromkeys(task.item_keys, "example")}
    if task.labels:
        item |= {key: task.labels[0] for key in task.item_keys if key in ("tag", "category", "score")}
    asked = {
        "request_id": "1",
        "user_id": "example",
        "input": task.question("an example"),
        "history": json.dumps([item]),
    }
    return pd.DataFrame([asked])


def description(task: Task, release: Release) -> str:
    """The release in Markdown, as MLflow shows it on the version's page."""
    lines = [
        f"Release of {task.name}, made by {release.made_by} at {release.made_at} from data {release.data_version} and "
        f"git commit {release.git_commit or '(none)'}.",
        "",
        "| component | version | digest of manifest |",
        "|---|---:|---|",
    ]
    for part in PARTS:
        ref = release.components[part]
        lines.append(
            f"| [{part}](#/models/{model_name(task, part)}/versions/{ref.version}) | {ref.version} | {ref.digest} |"
        )
    return "\n".join(lines) + "\n"

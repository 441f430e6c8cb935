"""A release as an MLflow pyfunc model: `mlflow models serve` answers with it, MLflow's pages describe it.

The package holds release.json and a few lines that load `serving.pyfunc_model`; components stay in the registry, where
the served model fetches them by the digests that release.json names.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.io.tables import save_json
from hydra_ml.release import PARTS, Release, model_name
from hydra_ml.tasks.task import Task

LOADER = """import mlflow.models

from hydra_ml.serving.pyfunc_model import ReleaseModel

mlflow.models.set_model(ReleaseModel())
"""
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
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType, Object, Property

    text, number = DataType.string, DataType.double
    candidate = [Property("answer", text), Property("votes", DataType.long)]
    candidate += [Property(name, number) for name in ("personal", "shared")]
    asked: list[Any] = [ColSpec(text, name) for name in ("request_id", "user_id", "input")]
    asked.append(ColSpec(text, "history", required=False))  # JSON, see `io.requests.read_history`
    given: dict[str, Any] = {
        "request_id": text,
        "user_id": text,
        "prediction": text,
        "score": number,
        "generic_prediction": text,
        "personalization": text,
        "n_history": DataType.long,
        "chosen_record_ids": Array(text),
        "candidates": Array(Object(candidate)),
        "release": text,
        "llm_calls": DataType.long,
        "tokens_in": DataType.long,
        "tokens_out": DataType.long,
        "error": text,
    }
    return ModelSignature(
        inputs=Schema(asked), outputs=Schema([ColSpec(kind, name, required=False) for name, kind in given.items()])
    )


def input_example(task: Task) -> pd.DataFrame:
    """A made-up request, so that nobody's text stands in the registry."""
    item = {"id": "1", "date": "2026-01-01", **dict.fromkeys(task.item_keys, "example")}
    if task.labels:
        item |= {key: task.labels[0] for key in task.item_keys if key in ("tag", "category", "score")}
    asked = {
        "request_id": "1",
        "user_id": "example",
        "input": task.templated("an example"),
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

"""MLflow runs: where they are kept, and how a job's parameters, data, curves, measures and files reach them.

Only ids, counts and measures go there, never a prompt or a record's text. `io.registry` keeps models in the same place.
Every function takes `uri`, the store to speak to; None means `tracking_uri()`.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ArtifactError, without_secret
from hydra_ml.io.git import git_commit
from hydra_ml.io.mlflow.store import connect, speaking, sqlite_file, tracking_uri
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.tasks.task import Task

if TYPE_CHECKING:
    from mlflow import MlflowClient

PER_USER = "users/per_user.parquet"  # of a run: a row per evaluated user, see `heads_compare.user_measures`
ROWS_SHOWN = 500  # of that table, in MLflow's own viewer
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # which of its two layouts MLflow's pages take
AT_ONCE = 100  # parameters or tags per request, MLflow's own limit
LONGEST_VALUE = 5000  # characters of a parameter or tag

# Runs.


def experiment_id(task: Task, uri: str | None = None) -> str:
    """The task's experiment, "lamp-2n", made if need be. Beside a SQLite store its files are kept in artifacts/."""
    uri = uri or tracking_uri()
    client, name = connect(uri), task.name.lower()
    with speaking(uri, f"open the experiment {name}"):
        found = client.get_experiment_by_name(name)
        if found is None:
            found = _new_experiment(client, name, uri)
        if found.lifecycle_stage == "deleted":
            raise ArtifactError(
                f"MLflow at {without_secret(uri)}: the experiment {name} was deleted. Restore it with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`."
            )
    return str(found.experiment_id)


def _new_experiment(client: MlflowClient, name: str, uri: str) -> Any:
    from mlflow.exceptions import MlflowException

    database = sqlite_file(uri)
    # A server decides itself; without one MLflow would put files below the working directory of the moment.
    place = (database.parent.resolve() / "artifacts" / name).as_uri() if database else None
    try:
        return client.get_experiment(client.create_experiment(name, place, _KIND))
    except MlflowException:
        made_meanwhile = client.get_experiment_by_name(name)  # by another process
        if made_meanwhile is None:
            raise
        return made_meanwhile


@contextmanager
def start_run(
    task: Task,
    name: str,
    *,
    job: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    lock: Path | None = None,
    uri: str | None = None,
) -> Iterator[str]:
    """The id of a new run of the task's experiment: FINISHED when the block ends well, FAILED otherwise.

    params: the document of params.yaml, logged as dotted keys. Tags: job, task, git commit, LLM. lock: DVC's lock file
    of the stages that made what the run logs, if stages did; their digests become the artifact dvc.lock.json. A run of
    the same job and name that never ended belongs to a process that was killed: it is marked KILLED.
    """
    uri = uri or tracking_uri()
    client, experiment = connect(uri), experiment_id(task, uri)
    digests = lock_digests(task, lock) if lock is not None else {}
    facts = {
        "job": job,
        "task": task.name,
        "llm": str(params.get("llm", {}).get("model", "")),
        "mlflow.source.name": f"hydra_ml/jobs/{job}.py",
        "mlflow.source.type": "JOB",
        "mlflow.source.git.commit": git_commit(lock.parent if lock is not None else Path()),
        **(tags or {}),
    }
    with speaking(uri, f"start the run {name}"):
        _close_killed(client, experiment, name, job)
        run_id = str(client.create_run(experiment, run_name=name).info.run_id)
        _log_facts(client, run_id, flattened(params), facts)
        if digests:
            client.log_dict(run_id, dict(digests), "dvc.lock.json")
    try:
        yield run_id
    except BaseException as error:
        with speaking(uri, f"end the run {name}"):
            client.set_tag(run_id, "error", type(error).__name__)
            client.set_terminated(run_id, "FAILED")
        raise
    with speaking(uri, f"end the run {name}"):
        client.set_terminated(run_id, "FINISHED")


def describe_run(run_id: str, text: str, *, uri: str | None = None) -> None:
    """What the run's page says first, in Markdown."""
    uri = uri or tracking_uri()
    with speaking(uri, f"describe the run {run_id}"):
        connect(uri).set_tag(run_id, "mlflow.note.content", text)


def log_document(run_id: str, document: Any, name: str, *, uri: str | None = None) -> None:
    """Keep a document as JSON among the run's artifacts."""
    uri = uri or tracking_uri()
    with speaking(uri, f"keep {name}"):
        connect(uri).log_dict(run_id, document, name)


def flattened(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys with text values: {"generate.n_samples": "8"}."""
    flat: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _log_facts(client: MlflowClient, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    listed = [Param(key, value[:LONGEST_VALUE]) for key, value in params.items()]
    noted = [RunTag(key, value[:LONGEST_VALUE]) for key, value in tags.items() if value]
    for start in range(0, max(len(listed), len(noted)), AT_ONCE):
        client.log_batch(run_id, params=listed[start : start + AT_ONCE], tags=noted[start : start + AT_ONCE])


def _close_killed(client: MlflowClient, experiment: str, name: str, job: str) -> None:
    for run in client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.job = '{job}'"):
        if run.info.run_name == name:
            client.set_terminated(run.info.run_id, "KILLED")


# What a run holds.


def log_metrics(
    run_id: str,
    metrics: Mapping[str, float | None],
    *,
    step: int = 0,
    model_id: str | None = None,
    uri: str | None = None,
) -> None:
    """Log figures of the run, and of a logged model of it; None and NaN are left out."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    given = [
        Metric(key, float(value), now, step, model_id=model_id)
        for key, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]
    _log_metrics(run_id, given, uri)


def log_curve(
    run_id: str, stage: str, document: Mapping[str, Any], fit: Mapping[str, Any], *, uri: str | None = None
) -> None:
    """Log a training stage's curve.json: losses by epoch, the heads' held-back loss by the ridges tried, and from `fit`
    (of the heads' manifest) which ridge and epoch were chosen.

    The ridge tried is the step, so that no last value of a list can be taken for the choice.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(f"{stage}/{name}", float(value), now, int(point["epoch"]))
        for point in document["curve"]
        for name, value in point.items()
        if name != "epoch" and value is not None
    ]
    tried = document["ridge_losses"]
    whole = len({round(entry["ridge"]) for entry in tried}) == len(tried)  # else the place in the list is the step
    points += [
        Metric(f"{stage}/held_back_loss_by_ridge", float(entry["held_back_loss"]), now, at)
        for at, entry in ((round(entry["ridge"]) if whole else place, entry) for place, entry in enumerate(tried))
        if entry["held_back_loss"] is not None
    ]
    points += [
        Metric(f"{stage}/chosen_{name}", float(fit[name]), now, 0)
        for name in ("ridge", "epochs")
        if fit.get(name) is not None
    ]
    _log_metrics(run_id, points, uri)


def _log_metrics(run_id: str, metrics: Sequence[Any], uri: str | None) -> None:
    uri = uri or tracking_uri()
    client = connect(uri)
    with speaking(uri, "log measures"):
        for start in range(0, len(metrics), AT_ONCE):
            client.log_batch(run_id, metrics=metrics[start : start + AT_ONCE])


def log_measures(run_id: str, metrics: Mapping[str, Any], *, uri: str | None = None) -> None:
    """Log metrics.json of an evaluation: every method's measures, with interval and n for `hydra`."""
    flat: dict[str, float | None] = {}
    for method, measures in metrics.items():
        if not isinstance(measures, Mapping):
            continue
        for measure, found in measures.items():
            flat[f"{method}/{measure}"] = found["value"]
            if method == "hydra":
                flat |= {f"{method}/{measure}.{end}": found[end] for end in ("ci_low", "ci_high", "n")}
    log_metrics(run_id, flat, uri=uri)


def log_dataset(
    run_id: str, name: str, *, digest: str, source: str, context: str = "training", uri: str | None = None
) -> None:
    """Note that the run used a dataset: `source`, a path of the project, and DVC's digest of it; nothing if empty."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not digest:
        return
    uri = uri or tracking_uri()
    client = connect(uri)
    dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=json.dumps({"uri": source}))
    with speaking(uri, f"log the dataset {name}"):
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])


def log_file(run_id: str, path: Path, *, folder: str | None = None, uri: str | None = None) -> None:
    """Keep a file, or all of a folder, among the run's artifacts, below `folder`."""
    uri = uri or tracking_uri()
    client = connect(uri)
    with speaking(uri, f"keep {path.name}"):
        if path.is_dir():
            client.log_artifacts(run_id, str(path), folder)
        else:
            client.log_artifact(run_id, str(path), folder)


def log_user_measures(run_id: str, users: pd.DataFrame, *, uri: str | None = None) -> dict[str, float]:
    """Log a table of `heads_compare.user_measures`: PER_USER, the same for MLflow's table viewer, and the measures by
    cohort as metrics, which come back."""
    from hydra_ml.evaluation.compare_users import cohort_measures  # statistics with it

    uri = uri or tracking_uri()
    client, measures = connect(uri), cohort_measures(users)
    with speaking(uri, "keep the measures by user"), tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / Path(PER_USER).name
        save_table(users, table)
        client.log_artifact(run_id, str(table), str(Path(PER_USER).parent))
        client.log_table(run_id, users.head(ROWS_SHOWN).astype(object), str(Path(PER_USER).with_suffix(".json")))
    log_metrics(run_id, measures, uri=uri)
    return measures


def measures_of(run_id: str, *, uri: str | None = None) -> dict[str, float]:
    """Every figure the run logged, the last step of each."""
    uri = uri or tracking_uri()
    with speaking(uri, f"read the run {run_id}"):
        return dict(connect(uri).get_run(run_id).data.metrics)


def user_measures_of(run_id: str, *, uri: str | None = None) -> pd.DataFrame | None:
    """The run's PER_USER table; None where it has none."""
    uri = uri or tracking_uri()
    client = connect(uri)
    with speaking(uri, f"read the run {run_id}"), tempfile.TemporaryDirectory() as scratch:
        listed = [file.path for file in client.list_artifacts(run_id, str(Path(PER_USER).parent))]
        if PER_USER not in listed:
            return None
        return load_table(Path(client.download_artifacts(run_id, PER_USER, scratch)))


def lock_digests(task: Task, lock: Path) -> dict[str, str]:
    """DVC's digest of every dependency and output of the task's stages, by path, as the lock file has them; {} without
    the file. Raises ArtifactError if it cannot be read."""
    if not lock.is_file():
        return {}
    try:
        stages = YAML(typ="safe").load(lock.read_text("utf-8"))["stages"]
        entries = [stage for name, stage in stages.items() if name.endswith(f"@{task.folder}")]
        used = [entry for stage in entries for entry in (*stage.get("deps", []), *stage.get("outs", []))]
        return {entry["path"]: entry["md5"] for entry in used}
    except (YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{lock}: not DVC's lock file ({error!r}). Restore it with `git checkout {lock}`, or delete it and run "
            "`dvc repro`."
        ) from error

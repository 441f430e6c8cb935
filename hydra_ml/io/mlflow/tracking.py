"""MLflow runs: where they are kept, and how a job's parameters, data, curves, measures and files reach them.

Only ids, counts and measures go there, never a prompt or a record's text. `registry` keeps models in the same place.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ArtifactError, without_secret
from hydra_ml.io.git import git_commit
from hydra_ml.io.mlflow.store import connect, speaking, sqlite_file, tracking_uri
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.tasks.task import Task

PER_USER = "users/per_user.parquet"  # of a run: a row per evaluated user, see `compare_users.user_measures`
ROWS_SHOWN = 500  # of that table, in MLflow's own viewer
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # which of its two layouts MLflow's pages take
AT_ONCE = 100  # parameters or tags per request, MLflow's own limit
LONGEST_VALUE = 5000  # characters of a parameter or tag


class Tracking:
    """The runs of one store. Raises StoreError when it cannot be reached."""

    def __init__(self, uri: str | None = None) -> None:
        """uri: the store to speak to; None means `tracking_uri()`."""
        self.uri = uri or tracking_uri()
        self.client = connect(self.uri)

    def experiment_id(self, task: Task) -> str:
        """The task's experiment, "lamp-2n", made if need be. Beside a SQLite store its files are kept in artifacts/."""
        name = task.name.lower()
        with speaking(self.uri, f"open the experiment {name}"):
            found = self.client.get_experiment_by_name(name) or self._new_experiment(name)
            if found.lifecycle_stage == "deleted":
                raise ArtifactError(
                    f"MLflow at {without_secret(self.uri)}: the experiment {name} was deleted. Restore it with "
                    f"`mlflow experiments restore --experiment-id {found.experiment_id}`."
                )
        return str(found.experiment_id)

    def _new_experiment(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        database = sqlite_file(self.uri)
        # A server decides itself; without one MLflow would put files below the working directory of the moment.
        place = (database.parent.resolve() / "artifacts" / name).as_uri() if database else None
        try:
            return self.client.get_experiment(self.client.create_experiment(name, place, _KIND))
        except MlflowException:
            made_meanwhile = self.client.get_experiment_by_name(name)  # by another process
            if made_meanwhile is None:
                raise
            return made_meanwhile

    @contextmanager
    def start(
        self,
        task: Task,
        name: str,
        *,
        job: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        lock: Path | None = None,
    ) -> Iterator[Run]:
        """A new run of the task's experiment: FINISHED when the block ends well, FAILED otherwise.

        params: the document of params.yaml, logged as dotted keys. Tags: job, task, git commit, LLM. lock: DVC's lock
        file of the stages that made what the run logs, if stages did; their digests become the artifact dvc.lock.json.
        A run of the same job and name that never ended belongs to a process that was killed: it is marked KILLED.
        """
        experiment = self.experiment_id(task)
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
        with speaking(self.uri, f"start the run {name}"):
            self._close_killed(experiment, name, job)
            run = self.run(str(self.client.create_run(experiment, run_name=name).info.run_id))
            run.log_facts(flattened(params), facts)
        if digests:
            run.log_document(dict(digests), "dvc.lock.json")
        try:
            yield run
        except BaseException as error:
            with speaking(self.uri, f"end the run {name}"):
                self.client.set_tag(run.run_id, "error", type(error).__name__)
                self.client.set_terminated(run.run_id, "FAILED")
            raise
        with speaking(self.uri, f"end the run {name}"):
            self.client.set_terminated(run.run_id, "FINISHED")

    def _close_killed(self, experiment: str, name: str, job: str) -> None:
        for run in self.client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.job = '{job}'"):
            if run.info.run_name == name:
                self.client.set_terminated(run.info.run_id, "KILLED")

    def run(self, run_id: str) -> Run:
        """A run there is."""
        return Run(self, run_id)


@dataclass(frozen=True)
class Run:
    """What one run holds, and how more reaches it."""

    tracking: Tracking
    run_id: str

    def _speaking(self, doing: str) -> AbstractContextManager[None]:
        return speaking(self.tracking.uri, doing)

    def describe(self, text: str) -> None:
        """What the run's page says first, in Markdown."""
        with self._speaking(f"describe the run {self.run_id}"):
            self.tracking.client.set_tag(self.run_id, "mlflow.note.content", text)

    def log_facts(self, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Settings and tags; tags without a value are left out, long values cut."""
        from mlflow.entities import Param, RunTag

        listed = [Param(key, value[:LONGEST_VALUE]) for key, value in params.items()]
        noted = [RunTag(key, value[:LONGEST_VALUE]) for key, value in tags.items() if value]
        with self._speaking("log settings"):
            for start in range(0, max(len(listed), len(noted)), AT_ONCE):
                some = slice(start, start + AT_ONCE)
                self.tracking.client.log_batch(self.run_id, params=listed[some], tags=noted[some])

    def log_document(self, document: Any, name: str) -> None:
        """Keep a document as JSON among the run's artifacts."""
        with self._speaking(f"keep {name}"):
            self.tracking.client.log_dict(self.run_id, document, name)

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Keep a file, or all of a folder, among the run's artifacts, below `folder`."""
        client = self.tracking.client
        with self._speaking(f"keep {path.name}"):
            (client.log_artifacts if path.is_dir() else client.log_artifact)(self.run_id, str(path), folder)

    def log_dataset(self, name: str, *, digest: str, source: str, context: str = "training") -> None:
        """Note a dataset that was used: `source`, a path of the project, and DVC's digest of it; nothing if empty."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not digest:
            return
        dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=json.dumps({"uri": source}))
        with self._speaking(f"log the dataset {name}"):
            used = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
            self.tracking.client.log_inputs(self.run_id, [used])

    def log_metrics(self, metrics: Mapping[str, float | None], *, step: int = 0, model_id: str | None = None) -> None:
        """Log figures of the run, and of a logged model of it; None and NaN are left out."""
        self._log([(key, value, step) for key, value in metrics.items()], model_id)

    def log_curve(self, stage: str, document: Mapping[str, Any], fit: Mapping[str, Any]) -> None:
        """Log a training stage's curve.json: losses by epoch, the heads' held-back loss by the ridges tried, and from
        `fit` (of the heads' manifest) which ridge and epoch were chosen.

        The ridge tried is the step, so that no last value of a list can be taken for the choice.
        """
        points = [
            (f"{stage}/{name}", value, int(point["epoch"]))
            for point in document["curve"]
            for name, value in point.items()
            if name != "epoch"
        ]
        tried = document["ridge_losses"]
        whole = len({round(entry["ridge"]) for entry in tried}) == len(tried)  # else the place in the list is the step
        points += [
            (f"{stage}/held_back_loss_by_ridge", entry["held_back_loss"], round(entry["ridge"]) if whole else place)
            for place, entry in enumerate(tried)
        ]
        self._log([*points, *((f"{stage}/chosen_{name}", fit.get(name), 0) for name in ("ridge", "epochs"))])

    def log_measures(self, metrics: Mapping[str, Any]) -> None:
        """Log metrics.json of an evaluation: every method's measures, with interval and n for `hydra`, and the bill."""
        flat: dict[str, float | None] = {}
        for method, measures in metrics.items():
            if not isinstance(measures, Mapping):
                continue
            for measure, found in measures.items():
                flat[f"{method}/{measure}"] = found["value"]
                if method == "hydra":
                    flat |= {f"{method}/{measure}.{end}": found[end] for end in ("ci_low", "ci_high", "n")}
        for row in metrics.get("bill", []):
            name = "/".join(filter(None, ("bill", row["stage"], row["method"], row["group"])))
            flat |= {f"{name}/{figure}": row[figure] for figure in ("questions", "tokens_in", "tokens_out")}
            if row["cost"] is not None:
                flat[f"{name}/cost"] = row["cost"]
        self.log_metrics(flat)

    def _log(self, points: Sequence[tuple[str, float | None, int]], model_id: str | None = None) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        given = [
            Metric(name, float(value), now, step, model_id=model_id)
            for name, value, step in points
            if value is not None and math.isfinite(value)
        ]
        with self._speaking("log measures"):
            for start in range(0, len(given), AT_ONCE):
                self.tracking.client.log_batch(self.run_id, metrics=given[start : start + AT_ONCE])

    def log_user_measures(self, users: pd.DataFrame, by_cohort: Mapping[str, float]) -> None:
        """Log a table of `compare_users.user_measures`, as PER_USER and for MLflow's table viewer, and its measures by
        cohort."""
        client = self.tracking.client
        with self._speaking("keep the measures by user"), tempfile.TemporaryDirectory() as scratch:
            table = Path(scratch) / Path(PER_USER).name
            save_table(users, table)
            client.log_artifact(self.run_id, str(table), str(Path(PER_USER).parent))
            shown = users.head(ROWS_SHOWN).astype(object)
            client.log_table(self.run_id, shown, str(Path(PER_USER).with_suffix(".json")))
        self.log_metrics(by_cohort)

    def measures(self) -> dict[str, float]:
        """Every figure the run logged, the last step of each."""
        with self._speaking(f"read the run {self.run_id}"):
            return dict(self.tracking.client.get_run(self.run_id).data.metrics)

    def user_measures(self) -> pd.DataFrame | None:
        """The run's PER_USER table; None where it has none."""
        client = self.tracking.client
        with self._speaking(f"read the run {self.run_id}"), tempfile.TemporaryDirectory() as scratch:
            listed = [file.path for file in client.list_artifacts(self.run_id, str(Path(PER_USER).parent))]
            if PER_USER not in listed:
                return None
            return load_table(Path(client.download_artifacts(self.run_id, PER_USER, scratch)))


def flattened(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys with text values: {"generate.n_samples": "8"}."""
    flat: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


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

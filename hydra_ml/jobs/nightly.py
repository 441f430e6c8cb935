"""nightly: after the stages of dvc.yaml ran, what they made is logged, registered and put up as the challenger.

Which stage runs when is DVC's affair (`io.versions`), and `flows.nightly`'s to schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.compare_users import user_measures
from hydra_ml.io.git import git_commit
from hydra_ml.io.layout import TRAINERS, task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.mlflow.tracking import (
    describe_run,
    lock_digests,
    log_curve,
    log_dataset,
    log_file,
    log_measures,
    log_user_measures,
    start_run,
)
from hydra_ml.io.tables import load_json, load_table
from hydra_ml.jobs.morning_report import results_rows
from hydra_ml.params import Params
from hydra_ml.release import PARTS, ComponentRef, Release, data_version
from hydra_ml.tasks.task import Task


def register_chain(
    task: Task, params: Params, *, data: Path, run_name: str, registry: Registry | None = None, job: str = "nightly"
) -> str:
    """The version of the release made of `data/<stage>/<task>`, now the challenger.

    One MLflow run holds everything about it: parameters, data, curves, measures, files, and each user's measure. A
    component that is registered already, byte for byte, is not registered again. Raises ArtifactError if a stage has
    not run or its validation failed; nothing becomes the challenger then.
    """
    registry = registry or Registry()
    places = {part: task_folder(data, TRAINERS[part.split(".")[0]], task) / part.split(".")[1] for part in PARTS}
    for folder in places.values():
        load_json(folder / "manifest.json")  # before a run is started
    validated = validation_passed(task_folder(data, "validate", task) / "report.json")
    document = params.model_dump(mode="json", by_alias=True)
    digests = lock_digests(task, data.parent / "dvc.lock")
    drops = load_json(task_folder(data, "prepare", task) / "manifest.json").get("history", [])
    version = data_version(raw_version(task, data, digests), drops)
    tags = {"data_version": version}
    with start_run(
        task, run_name, job=job, params=document, tags=tags, lock=data.parent / "dvc.lock", uri=registry.uri
    ) as run_id:
        measures = _log_chain(task, params, data, run_id, digests, version, registry.uri)
        components: dict[str, ComponentRef] = {
            part: registry.register_component(task, part, folder, run_id=run_id, metrics=measures)
            for part, folder in places.items()
        }
        release = Release(
            task=task.folder,
            components=components,
            data_version=version,
            history=(),  # of the drops its cohorts have learned some; update_heads goes through them all
            params=document,
            git_commit=git_commit(data.parent),
            made_by=job,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            validated=validated,
        )
        made = registry.register_release(task, release, run_id=run_id)
    registry.point(task, {"challenger": made})
    return made


def _description(task: Task, data: Path, params: Params, version: str) -> str:
    """What the run's page says first: the results, and where the rest is."""
    rows = results_rows(task, data)
    table = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    table += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    about = f"All of {task.name} trained and evaluated anew with {params.llm.model}, on data {version}."
    rest = "Plots, every figure and the validation report are among the artifacts; the release is among the models."
    return "\n".join([about, "", *table, "", rest])


def validation_passed(report: Path) -> bool:
    """Whether no expectation of a validate stage's report.json failed. Raises ArtifactError if one did."""
    failed = [str(finding["check"]["name"]) for finding in load_json(report) if finding["failed"]]
    if failed:
        raise ArtifactError(
            f"{report}: {len(failed)} expectation(s) failed ({', '.join(failed[:5])}), so nothing made from this data "
            "is registered. Mend the data and run `dvc repro`."
        )
    return True


def raw_version(task: Task, data: Path, digests: Mapping[str, str]) -> str:
    """DVC's digest of data/raw/<task>; the content digest that `prepare` noted where DVC did not run the chain."""
    noted = load_json(task_folder(data, "prepare", task) / "manifest.json")["data_version"]
    return digests.get(f"data/raw/{task.folder}", str(noted))


def _log_chain(
    task: Task, params: Params, data: Path, run_id: str, digests: Mapping[str, str], version: str, uri: str
) -> dict[str, float]:
    """Log everything the chain's stages left; returns the measures that components are compared by."""
    for stage, context in (("raw", "source"), ("prepare", "training"), ("generate", "training")):
        source = f"data/{stage}/{task.folder}"
        digest = digests.get(source, version if stage == "raw" else "")
        log_dataset(run_id, f"{task.folder}.{stage}", digest=digest, source=source, context=context, uri=uri)
    for stage in TRAINERS.values():
        made = task_folder(data, stage, task)
        log_curve(
            run_id,
            stage,
            load_json(made / "curve.json"),
            load_json(made / "heads/manifest.json").get("fit", {}),
            uri=uri,
        )
    results = task_folder(data, "evaluate", task)
    metrics = load_json(results / "metrics.json")
    log_measures(run_id, metrics, uri=uri)
    for name in ("metrics.json", "details.json", "plots"):
        log_file(run_id, results / name, folder="plots" if name == "plots" else "evaluate", uri=uri)
    for name in ("report.md", "report.json"):
        log_file(run_id, task_folder(data, "validate", task) / name, folder="validate", uri=uri)
    predictions = load_table(results / "predictions.parquet")
    users = user_measures(predictions, task, bands=params.evaluate.bands)
    by_cohort = log_user_measures(run_id, users, uri=uri)
    describe_run(run_id, _description(task, data, params, version), uri=uri)
    return {f"hydra/{name}": metrics["hydra"][name]["value"] for name in task.measures} | by_cohort

"""nightly: after the stages of dvc.yaml ran, what they made is logged, registered and put up as the challenger.

Which stage runs when is DVC's affair (`io.dvc`), and `flows.nightly`'s to schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.compare_users import cohort_measures, user_measures
from hydra_ml.io.files import load_json
from hydra_ml.io.git import git_commit
from hydra_ml.io.layout import FIGURES, TRAINERS, task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.mlflow.tracking import Run, lock_digests
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.morning_report import results_rows
from hydra_ml.jobs.register_release import register_once
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
    lock = data.parent / "dvc.lock"
    with registry.tracking.start(task, run_name, job=job, params=document, tags=tags, lock=lock) as run:
        measures = _log_chain(task, params, data, run, digests, version)
        components: dict[str, ComponentRef] = {
            part: registry.register_component(task, part, folder, run_id=run.run_id, metrics=measures)
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
            served=str(load_json(task_folder(data, "generate", task) / "llm.json")["served"]),
            definition=task.definition,
        )
        return register_once(registry, task, release, run_id=run.run_id)


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
    task: Task, params: Params, data: Path, run: Run, digests: Mapping[str, str], version: str
) -> dict[str, float]:
    """Log everything the chain's stages left; returns the measures that components are compared by."""
    for stage, context in (("raw", "source"), ("prepare", "training"), ("generate", "training")):
        source = f"data/{stage}/{task.folder}"
        digest = digests.get(source, version if stage == "raw" else "")
        run.log_dataset(f"{task.folder}.{stage}", digest=digest, source=source, context=context)
    for stage in TRAINERS.values():
        made = task_folder(data, stage, task)
        fit = load_json(made / "heads/manifest.json").get("fit", {})
        run.log_curve(stage, load_json(made / "curve.json"), fit)
    results = task_folder(data, "evaluate", task)
    metrics = load_json(results / "metrics.json")
    run.log_measures(metrics)
    for name in ("metrics.json", "details.json", "plots"):
        run.log_file(results / name, folder="plots" if name == "plots" else "evaluate")
    run.log_file(task_folder(data, "arena", task) / FIGURES, folder="arena")  # the page without a word of any user
    for name in ("report.md", "report.json"):
        run.log_file(task_folder(data, "validate", task) / name, folder="validate")
    predictions = load_table(results / "predictions.parquet")
    users = user_measures(predictions, task, bands=params.evaluate.bands)
    by_cohort = cohort_measures(users)
    run.log_user_measures(users, by_cohort)
    run.describe(_description(task, data, params, version))
    return {f"hydra/{name}": metrics["hydra"][name]["value"] for name in task.measures} | by_cohort

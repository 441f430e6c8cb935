"""The end of an update of heads: accepted heads into new heads versions, and those into a release."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.git import git_commit
from hydra_ml.io.head_bank import HeadBank, update_bank
from hydra_ml.io.history_store import drop_names
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.mlflow.tracking import Run
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.register_release import register_once
from hydra_ml.jobs.update_report import (
    COMPONENTS,
    RefittedShard,
    UpdatePlan,
    UpdateReport,
    component_figures,
    left_out_of,
    users_table,
)
from hydra_ml.jobs.withdraw import drops_of
from hydra_ml.model.heads import Heads, no_heads
from hydra_ml.release import ComponentRef, Release, data_version
from hydra_ml.tasks.task import Task

JOB = "update_heads"
STALE_S = 86_400.0  # workspaces of other plans that nobody has touched for this long are removed


def finish_update(plan: UpdatePlan, reports: Sequence[RefittedShard], run_name: str) -> UpdateReport:
    """Register the accepted heads and a release with them as challenger, in one MLflow run.

    A component without accepted heads keeps its heads version; the release counts the drops as learned even so. Without
    drops there is no release. reports: of all shards; their files are read from the workspace. Raises ArtifactError if
    a shard is not done.
    """
    with FileLock(Path(plan.cache) / JOB / f"{plan.task}.lock"):  # the flow and the command may finish the same plan
        registry = Registry(plan.uri, cache=Path(plan.cache))
        finished = finished_update(Path(plan.workspace), registry, get_task(plan.task))
        if finished is not None:
            return finished
        if not plan.drops:
            return UpdateReport(plan.task, plan.release, None, "", (), 0, {}, 0.0)
        return _finish(_with_all_shards(plan), registry, reports, run_name)


def _with_all_shards(plan: UpdatePlan) -> UpdatePlan:
    """The plan with its shards as written: one made of an update that was done then counts none of them."""
    written = Path(plan.workspace) / "plan.json"
    return replace(plan, n_shards=len(load_json(written)["shards"]) if written.is_file() else 0)


def _check_done(plan: UpdatePlan) -> None:
    undone = [i for i in range(plan.n_shards) if not (plan.shard_folder(i) / "report.json").is_file()]
    if undone:
        raise ArtifactError(
            f"{plan.workspace}: {len(undone)} of {plan.n_shards} shards are not done, the first is {undone[0]}. Run "
            "the update_heads flow again: it does these alone."
        )


def _finish(plan: UpdatePlan, registry: Registry, reports: Sequence[RefittedShard], run_name: str) -> UpdateReport:
    workspace, task = Path(plan.workspace), get_task(plan.task)
    _check_done(plan)
    started = time.monotonic()
    _, release = registry.release(task, plan.release)
    drops = {drop.name: drop for drop in drops_of(task, data=Path(plan.data))}
    learned_now = [asdict(drops[name]) for name in plan.drops if name in drops]
    tags = {"based_on": plan.release, "drops": ", ".join(str(drop["file"] or drop["name"]) for drop in learned_now)}
    with registry.tracking.start(task, run_name, job=JOB, params=release.params, tags=tags) as run:
        lineage = {"based_on": plan.release, "drops": learned_now, "already_learned": list(release.history)}
        run.log_document(lineage, "lineage.json")
        table = users_table(plan)
        save_table(table, workspace / "users.parquet")
        run.log_file(workspace / "users.parquet", folder="update")
        components, figures = dict(release.components), {}
        for component in COMPONENTS:
            ref, shards = _register_heads(plan, registry, task, release, component, run.run_id)
            components[ref.part] = ref
            figures[component] = {**component_figures(table, component), "shards_written": shards}
        learned = tuple(sorted({*release.history, *plan.drops}))
        made = replace(
            release,
            components=components,
            data_version=data_version(release.data_version, drop_names(task_folder(Path(plan.data), "history", task))),
            history=learned,
            git_commit=git_commit(),
            made_by=JOB,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        version = register_once(registry, task, made, run_id=run.run_id)
        seconds = round(time.monotonic() - started + sum(report.seconds for report in reports), 3)
        _log_figures(plan, run, figures, seconds)
        left_out = left_out_of(plan)
        report = UpdateReport(
            plan.task, plan.release, version, run.run_id, plan.drops, plan.n_users, figures, seconds, left_out
        )
        run.describe(report.markdown())
    save_json(asdict(report), workspace / "done.json")
    _tidy(workspace)
    return report


def _register_heads(
    plan: UpdatePlan, registry: Registry, task: Task, release: Release, component: str, run_id: str
) -> tuple[ComponentRef, int]:
    """The heads version after the update, and how many of its shards were written; the present one if none was."""
    ref = release.components[f"{component}.heads"]
    bank = open_bank(registry, task, release, component)
    accepted = _accepted_heads(plan, component, bank)
    if not accepted.user_ids:
        return ref, 0
    folder = Path(plan.workspace) / "heads" / component
    shutil.rmtree(folder, ignore_errors=True)
    about = {**about_bank(bank), "updated_from": ref.version}
    touched = update_bank(bank, accepted, folder, old_version=ref.version, manifest=about)
    return registry.register_component(task, ref.part, folder, run_id=run_id), len(touched)


def _accepted_heads(plan: UpdatePlan, component: str, bank: HeadBank) -> Heads:
    """The new heads of all shards."""
    parts = [no_heads(bank.kind, bank.width)]
    for shard in range(plan.n_shards):
        folder = plan.shard_folder(shard) / component
        if folder.is_dir():
            table = load_table(folder / "refit.parquet", ["user_id", "replaced"])
            fitted = HeadBank(folder / "heads", base_digest=bank.manifest["base_digest"])
            parts.append(fitted.heads_of(table.loc[table["replaced"], "user_id"].tolist()))
    user_ids = tuple(user_id for part in parts for user_id in part.user_ids)
    return Heads(bank.kind, bank.width, user_ids, np.concatenate([part.table for part in parts]))


def _log_figures(plan: UpdatePlan, run: Run, figures: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
    flat = {f"{component}/{name}": value for component, found in figures.items() for name, value in found.items()}
    run.log_metrics({**flat, "users_changed": plan.n_users, "seconds": seconds})


def finished_update(workspace: Path, registry: Registry, task: Task) -> UpdateReport | None:
    """The report of an update that is done, if the release it made is still there. Raises if nobody can tell."""
    if not (workspace / "done.json").is_file():
        return None
    document = load_json(workspace / "done.json")
    if document["release"] not in {facts.version for facts in registry.versions(task, "release")}:
        (workspace / "done.json").unlink(missing_ok=True)
        return None
    return UpdateReport(**{**document, "drops": tuple(document["drops"])})


def _tidy(workspace: Path) -> None:
    """Remove what only the work needed, and workspaces that were given up."""
    for name in ("shards", "heads", "users.parquet"):
        path = workspace / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for other in workspace.parent.iterdir():
        touched = max((path.stat().st_mtime for path in (other, *other.glob("shards/*"))), default=0.0)
        if other != workspace and time.time() - touched > STALE_S:
            shutil.rmtree(other, ignore_errors=True)


def open_bank(registry: Registry, task: Task, release: Release, component: str) -> HeadBank:
    base = load_json(registry.fetch(task, release.components[f"{component}.base"]) / "manifest.json")
    return registry.open_bank(task, release.components[f"{component}.heads"], base_digest=base["digest"])


def about_bank(bank: HeadBank) -> dict[str, Any]:
    """What the manifest says besides the bank's own shape."""
    own = {"shards", "n_users", "schema_version", "head", "width"}
    return {name: value for name, value in bank.manifest.items() if name not in own}

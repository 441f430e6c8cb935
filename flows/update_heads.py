"""update_heads: refits the heads of users whose history changed, and lets the gate decide. Hourly, and on new records.

Shards of users are worked on side by side, by threads or by Dask; the heads come out the same.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from flows.policy import HOOKS, HOUR, TASK_HOOKS, TRY_AGAIN
from flows.promote import gate
from flows.runs import (
    DATA,
    Runner,
    Tasks,
    artifact_key,
    begin,
    for_each_task,
    link_run,
    named,
    one_writer,
    over_shards,
    run_name,
    settings,
    task_run_named,
    task_runner,
)
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs import update_heads as job
from hydra_ml.jobs import update_release
from hydra_ml.jobs.update_report import RefittedShard, UpdatePlan, UpdateReport
from hydra_ml.params import TaskFolder


@flow(name="update_heads", flow_run_name=named("update-heads"), timeout_seconds=6 * HOUR, **HOOKS)
def update_heads(
    tasks: Tasks = None,
    runner: Runner = "threads",
    workers: int = 2,
    dask_address: str | None = None,
) -> dict[str, Any]:
    """Bring every task's champion up to date; returns by task whether a new release is champion.

    tasks: None for those of params.yaml. runner: who works on the shards of users. workers: threads, or processes of a
    local Dask cluster. dask_address: a running Dask scheduler, instead of a local cluster.
    """
    stamp = begin()
    return for_each_task(tasks, lambda task: update_heads_task(task, stamp, "champion", runner, workers, dask_address))


def update_heads_task(
    task: TaskFolder, stamp: str, which: str, runner: Runner, workers: int, dask_address: str | None
) -> bool:
    """One task's update as a sub-flow on the task runner asked for; whether the release it ends with became champion.

    which: the release to bring up to date. If there is nothing to learn, it goes through the gate as it is, unless it
    is the champion.
    """
    here = task_runner(runner, workers, dask_address)
    return refit_and_judge.with_options(task_runner=here)(task, stamp, which)


@flow(name="update_heads_task", flow_run_name=task_run_named("update-heads"), **HOOKS)
def refit_and_judge(task: TaskFolder, stamp: str, which: str) -> bool:
    """Refit the heads that are behind, register, judge. False where there is no champion yet: nightly makes one."""
    if which == "champion" and which not in Registry().aliases(get_task(task)):
        get_run_logger().info("%s has no champion yet: the first nightly run makes one", task)
        return False
    with one_writer("release", task):
        plan = plan_update(task, which)
        reports = over_shards(update_shard, plan, range(plan.n_shards), key=artifact_key("update-heads", task))
        report = finish_update(plan, reports, run_name("update-heads", task, stamp))
        create_markdown_artifact(report.markdown(), key=artifact_key("update-heads", task))
        if report.run_id:
            link_run(artifact_key("update-heads-run", task), task, report.run_id)
        version = report.release or (None if which == "champion" else which)
        return version is not None and gate(task, version)


@task(name="plan_update", task_run_name="plan_update", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def plan_update(task: TaskFolder, which: str) -> UpdatePlan:
    """Whose heads are behind, by shard."""
    return job.plan_update(get_task(task), settings(), data=DATA, registry=Registry(), which=which)


@task(name="update_shard", task_run_name="update_shard", **TRY_AGAIN, **TASK_HOOKS)
def update_shard(plan: UpdatePlan, shard: int) -> RefittedShard:
    """Refit one shard's users; a shard that is finished is not done again."""
    return job.update_shard(plan, shard)


@task(name="finish_update", task_run_name="finish_update", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def finish_update(plan: UpdatePlan, reports: list[RefittedShard], run_name: str) -> UpdateReport:
    """Register the heads and the release that names them; nothing where nothing changed."""
    return update_release.finish_update(plan, reports, run_name)

"""batch_score: answers every request file that has no predictions yet, with the champion release. Hourly and by hand.

Shards of users are worked on side by side, by threads or by Dask; the predictions come out the same. A run cut short
goes on with the shards that were not finished, and pays for no LLM call twice.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task

from flows.policy import HOOKS, HOUR, TASK_HOOKS, TRY_AGAIN
from flows.runs import (
    DATA,
    Runner,
    Tasks,
    artifact_key,
    begin,
    for_each_task,
    named,
    over_shards,
    raise_failed,
    settings,
    show_table,
    task_run_named,
    task_runner,
    try_each,
)
from hydra_ml.io.files import readable
from hydra_ml.io.layout import common_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs import batch_score as job
from hydra_ml.jobs.batch_report import BatchPlan, BatchReport, ScoredShard
from hydra_ml.jobs.waiting_requests import look_into, waiting_requests
from hydra_ml.params import TaskFolder


@flow(name="batch_score", flow_run_name=named("batch-score"), timeout_seconds=6 * HOUR, **HOOKS)
def batch_score(
    tasks: Tasks = None,
    requests: Path | None = None,
    runner: Runner = "threads",
    workers: int = 2,
    dask_address: str | None = None,
) -> dict[str, Any]:
    """Score what waits in data/requests for every task; returns by task the number of predictions.

    tasks: None for those of params.yaml. requests: this file alone, also if it was scored before with another release.
    runner: who works on the shards of users. workers: threads, or processes of a local Dask cluster. dask_address: a
    running Dask scheduler instead of a local cluster.
    """
    stamp = begin()
    here = task_runner(runner, workers, dask_address)
    one = batch_score_task.with_options(task_runner=here)
    return for_each_task(tasks, lambda task: one(task, stamp, requests))


@flow(name="batch_score_task", flow_run_name=task_run_named("batch-score"), **HOOKS)
def batch_score_task(task: TaskFolder, stamp: str, requests: Path | None = None) -> int:
    """One task's request files, one after another; how many predictions were written.

    Raises FlowFailed at the end, naming the files that failed: they do not stop the others.
    """
    job.clear_texts(get_task(task), data=DATA)
    settle_s = settings().ingest.settle_s
    files = waiting_requests(get_task(task), data=DATA, settle_s=settle_s) if requests is None else [requests]
    for path, why in look_into(DATA).left.items():
        get_run_logger().warning("%s is not taken: %s", readable(path), why)
    get_run_logger().info("%d request files to score for %s", len(files), task)
    reports, failed = try_each({request_name(path): path for path in files}, lambda path: score_file(path, task))
    if reports:
        show_table(artifact_key("batch-score", task), [*reports.values()], f"{len(reports)} batches of {task}")
    raise_failed(failed, f"{len(failed)} of {len(files)} request files were not scored")
    return sum(report["scored"] for report in reports.values())


def request_name(path: Path) -> str:
    """What a request file is called: its name, with the folders of data/requests that it lies in."""
    home = common_folder(DATA, "requests")
    return readable(path.relative_to(home) if path.is_relative_to(home) else path.name)


def score_file(path: Path, task: TaskFolder) -> dict[str, Any]:
    """One file's batch: plan, shards side by side, finish; the report's figures."""
    plan = plan_batch(path, task)
    over_shards(score_shard, plan, plan.unfinished, key=artifact_key("batch-score", task))
    return asdict(finish_batch(plan))


@task(name="plan_batch", task_run_name="plan_batch", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def plan_batch(path: Path, task: TaskFolder) -> BatchPlan:
    """The batch of this file, taken up where it was left."""
    return job.plan_batch(path, get_task(task), settings(), data=DATA, registry=Registry())


@task(name="score_shard", task_run_name="score_shard", **TRY_AGAIN, **TASK_HOOKS)
def score_shard(plan: BatchPlan, shard: int) -> ScoredShard:
    """Score one shard; one that is finished is not scored again."""
    return job.score_shard(plan, shard)


@task(name="finish_batch", task_run_name="finish_batch", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def finish_batch(plan: BatchPlan) -> BatchReport:
    """Predictions, dead letters and the report, once every shard is scored."""
    return job.finish_batch(plan)

"""nightly: retrains both bases and all heads through dvc.yaml, registers the release, and lets the gate decide.

The stages and their order are DVC's: what is up to date is not run again, so that a night cut short goes on where it
stopped. Heads then catch up with records that came since, and the release becomes champion if the gate lets it pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from flows.policy import HOOKS, HOUR, MINUTE, TASK_HOOKS, TRY_AGAIN
from flows.runs import (
    DATA,
    PARAMS,
    Runner,
    Tasks,
    artifact_key,
    begin,
    cause_of,
    for_each_task,
    named,
    report_links,
    run_name,
    settings,
    show_table,
    task_run_named,
)
from flows.update_heads import update_heads_task
from hydra_ml.errors import HydraError
from hydra_ml.io import dvc as versions
from hydra_ml.io.lamp import raw_data
from hydra_ml.io.llm_environment import in_night
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs import drift
from hydra_ml.jobs import nightly as job
from hydra_ml.jobs.doctor import Notice, check_disk, check_llm, check_settings
from hydra_ml.jobs.morning_report import TaskNight, morning_report, results_rows, save_report
from hydra_ml.params import TaskFolder


@flow(name="nightly", flow_run_name=named("nightly"), timeout_seconds=22 * HOUR, **HOOKS)
def nightly(
    tasks: Tasks = None,
    runner: Runner = "threads",
    workers: int = 2,
    dask_address: str | None = None,
) -> dict[str, Any]:
    """A night's work for every task; returns by task whether the night's release is champion.

    tasks: None for those of params.yaml. runner, workers, dask_address: who refits heads, see `update_heads`. Ends with
    the morning report, an artifact of this run and a file in data/reports, whether or not all went well.
    """
    stamp = begin()
    with in_night(stamp):
        return night_of(tasks, stamp, runner, workers, dask_address)


def night_of(tasks: Tasks, stamp: str, runner: Runner, workers: int, dask_address: str | None) -> dict[str, Any]:
    """The night called `stamp`, whose budget all that asks the LLM draws on."""
    chosen = list(dict.fromkeys(settings().tasks if tasks is None else tasks))
    begin_night(chosen)
    nights: dict[str, TaskNight] = {}

    def one(task: TaskFolder) -> bool:
        """One task's night, noted for the report."""
        try:
            live, nights[task] = nightly_task(task, stamp, runner, workers, dask_address)
        except Exception as error:
            nights[task] = TaskNight(task, failed=cause_of(error))
            raise
        return live

    try:
        return for_each_task(chosen, one)
    finally:
        show_report([nights.get(task, TaskNight(task, failed="it was not begun")) for task in chosen], stamp)


@flow(name="nightly_task", flow_run_name=task_run_named("nightly"), **HOOKS)
def nightly_task(
    task: TaskFolder,
    stamp: str,
    runner: Runner = "threads",
    workers: int = 2,
    dask_address: str | None = None,
) -> tuple[bool, TaskNight]:
    """One task's night; whether its release is champion now, and what the morning report says of it."""
    watch_drift(task, stamp)
    stages: dict[str, Any] = {}
    for stage in versions.stage_order(get_task(task)):
        if summary := run_stage.with_options(name=stage, task_run_name=stage)(stage, task):
            stages[stage] = summary
    candidate = register_chain(task, run_name("nightly", task, stamp))
    live = update_heads_task(task, stamp, candidate, runner, workers, dask_address)
    push_versions()
    return live, TaskNight(task, stages, candidate)


def show_report(nights: list[TaskNight], stamp: str) -> None:
    """The morning report as an artifact and a file. What keeps it from being made is logged, and stops nothing."""
    try:
        page = morning_report(nights, stamp, data=DATA, registry=Registry(), links=report_links())
        save_report(page, stamp, DATA)
        create_markdown_artifact(page, key="morning-report", description=f"The night of {stamp}")
    except (HydraError, OSError) as error:
        get_run_logger().warning("no morning report: %s", error)


@task(name="begin_night", task_run_name="begin_night", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def begin_night(tasks: list[TaskFolder]) -> None:
    """What is better found out now than after hours: settings, LLM and disk are as the night needs them.

    Where no data was ever brought, the bundled sample is, so that a fresh clone's first night has something to do.
    """
    checks: dict[str, Callable[[], str]] = {
        "settings": lambda: check_settings(PARAMS),
        "LLM": lambda: check_llm(PARAMS, DATA.parent / ".cache"),
    }
    for name, check in checks.items():
        try:
            get_run_logger().info("%s: %s", name, check())
        except Notice as notice:  # nothing that the night could not be run with
            get_run_logger().warning("%s", notice)
    check_disk(DATA.parent)
    if raw_data.bring_data(DATA / "raw", PARAMS, tasks):
        get_run_logger().warning(
            "data/raw was empty: the bundled sample was put there. `hydra-ml data add` brings yours"
        )


@task(timeout_seconds=12 * HOUR, **TRY_AGAIN, **TASK_HOOKS)
def run_stage(stage: str, task: TaskFolder) -> dict[str, Any]:
    """One stage through `dvc repro`; its lines go to the run's log, its figures become a table artifact and come back.

    {} if it was up to date. What `evaluate` shows is every method's result.
    """
    logger = get_run_logger()
    summary = versions.repro(stage, get_task(task), say=logger.info)
    if summary:
        rows = [{"figure": name, "value": value} for name, value in summary.items()]
        if stage == "evaluate":
            rows = results_rows(get_task(task), DATA)
        show_table(artifact_key(f"stage-{stage}", task), rows, f"{stage} of {task}")
    return summary


@task(name="watch_drift", task_run_name="watch_drift", timeout_seconds=HOUR, **TASK_HOOKS)
def watch_drift(task: TaskFolder, stamp: str) -> None:
    """What may have changed, as an artifact; what is drift, as an event each. What keeps it from looking stops
    nothing."""
    try:
        report = drift.watch_drift(get_task(task), settings(), stamp, data=DATA, registry=Registry())
    except (HydraError, OSError) as error:
        get_run_logger().warning("drift was not looked for: %s", cause_of(error))
        return
    create_markdown_artifact(report.markdown(), key=artifact_key("drift", task), description=f"Drift of {task}")
    for found in report.findings:
        get_run_logger().log(logging.WARNING if found.is_alarm else logging.INFO, "%s: %s", found.watch, found.told)
        if found.is_alarm:
            emit_event(
                f"hydra_ml.drift.{found.watch}",
                resource={"prefect.resource.id": f"hydra_ml.drift.{task}", "prefect.resource.name": task},
                payload={"task": task, "night": stamp, "told": found.told},
            )


@task(name="register_chain", task_run_name="register_chain", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def register_chain(task: TaskFolder, run_name: str) -> str:
    """The release version that the stages' outputs were registered as."""
    return job.register_chain(get_task(task), settings(), data=DATA, run_name=run_name)


@task(name="push_versions", task_run_name="push_versions", timeout_seconds=30 * MINUTE, **TRY_AGAIN, **TASK_HOOKS)
def push_versions() -> None:
    """Data and outputs to the DVC remote, if `nightly.push` says so."""
    if settings().nightly.push:
        versions.push()

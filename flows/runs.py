"""What the flows share about runs: names, missed schedules, a sub-flow per task, shards, one writer at a time, reports.

Knows nothing of what a job does; a flow hands it functions and Prefect tasks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from prefect import Task, get_run_logger, runtime
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.futures import as_completed
from prefect.states import Cancelled
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from hydra_ml.errors import HydraError, without_secret
from hydra_ml.io.mlflow.tracking import Tracking
from hydra_ml.io.params_file import load_params
from hydra_ml.io.task_files import get_task
from hydra_ml.params import Params, TaskFolder
from hydra_ml.shown_text import visible, visible_lines

# A flow runs in the project's folder: on the worker by the deployment's pull step, by hand wherever it is called.
DATA = Path("data")
PARAMS = Path("params.yaml")

Runner = Literal["threads", "dask"]
Tasks = Annotated[list[TaskFolder], Field(min_length=1)] | None  # None: those of params.yaml


T = TypeVar("T")
R = TypeVar("R")


class FlowFailed(HydraError, RuntimeError):
    """Part of a flow failed; the rest was done."""


# ------------------------------------------------------------------------------------------------------------ names


def stamp_of(when: datetime) -> str:
    """The part of a run's name that says which schedule it stands for, date and time of day in UTC: two runs of a day
    have two names."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H-%M")


def named(job: str) -> Callable[[], str]:
    """A `flow_run_name` for a parent flow, by the scheduled time and not by a late start: `ingest-2026-11-20T02-00`."""
    return lambda: f"{job}-{stamp_of(runtime.flow_run.scheduled_start_time)}"


def task_run_named(job: str) -> Callable[[], str]:
    """A `flow_run_name` for a task's sub-flow (parameters `task`, `stamp`): `nightly-LaMP-2N-2026-11-20T02-00`."""
    return lambda: run_name(job, runtime.flow_run.parameters["task"], runtime.flow_run.parameters["stamp"])


def run_name(job: str, task: TaskFolder, stamp: str) -> str:
    """The one name that a task's run has in Prefect and in MLflow."""
    return f"{job}-{get_task(task).name}-{stamp}"


def settings() -> Params:
    """The params.yaml of this moment."""
    return load_params(PARAMS)


# -------------------------------------------------------------------------------------------------- missed schedules


def begin() -> str:
    """What every parent flow does first: drop the runs this one stands in for; returns the stamp of the newest of them.

    While no worker is up, a schedule's runs pile up and would all run when it returns, each doing what the first has
    done. The first to start takes all there is, so the other overdue ones with the same parameters are cancelled.
    """
    due: list[datetime] = [runtime.flow_run.scheduled_start_time]
    if runtime.deployment.id is not None:
        due += _drop_missed(UUID(runtime.deployment.id), UUID(runtime.flow_run.id))
    return stamp_of(max(due))


def _drop_missed(deployment_id: UUID, own_id: UUID) -> list[datetime]:
    """Cancel the overdue scheduled runs of this deployment but this one; returns when they were due."""
    overdue = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)}),
    )
    dropped: list[datetime] = []
    with get_client(sync_client=True) as client:
        own = client.read_flow_run(own_id)
        for run in client.read_flow_runs(flow_run_filter=overdue, limit=200):
            if run.id == own.id or not run.auto_scheduled or run.parameters != own.parameters:
                continue  # one asked for by hand or by an event is somebody's wish: it runs
            client.set_flow_run_state(run.id, Cancelled(message=f"Missed; {own.name} does its work."))
            if run.expected_start_time is not None:
                dropped.append(run.expected_start_time)
    if dropped:
        get_run_logger().info("%d missed runs of this schedule dropped: this one does their work", len(dropped))
    return dropped


# ---------------------------------------------------------------------------------------------- tasks, shards, locks


def for_each_task(tasks: Sequence[TaskFolder] | None, one: Callable[[TaskFolder], Any]) -> dict[str, Any]:
    """`one(task)` for every task (None: those of params.yaml), in order; the results by task.

    One task's failure does not stop the others. Raises FlowFailed at the end, naming those that failed.
    """
    chosen = dict.fromkeys(settings().tasks if tasks is None else tasks)
    results, failed = try_each({task: task for task in chosen}, one)
    raise_failed(failed, f"{len(failed)} of {len(chosen)} tasks failed")
    return results


def try_each(units: Mapping[str, T], one: Callable[[T], R]) -> tuple[dict[str, R], dict[str, str]]:
    """`one(unit)` for every unit by its name, in order: what came of those that went well, and the causes of the
    others, which stop nobody."""
    results: dict[str, R] = {}
    failed: dict[str, str] = {}
    for name, unit in units.items():
        try:
            results[name] = one(unit)
        except Exception as error:
            failed[name] = cause_of(error)
            get_run_logger().error("%s failed: %s", name, visible_lines(str(error)))
    return results, failed


def raise_failed(failed: Mapping[str, str], told: str) -> None:
    """Raise FlowFailed with each one's cause, if any failed."""
    if failed:
        raise FlowFailed(f"{told}. " + "; ".join(f"{name}: {cause}" for name, cause in failed.items()))


def cause_of(error: Exception) -> str:
    """One line on what went wrong: the first of an error of ours; the class alone of others, which may quote a row."""
    first = visible(str(error).strip().partition("\n")[0])
    return first if isinstance(error, HydraError) and first else type(error).__name__


def task_runner(runner: Runner, workers: int, dask_address: str | None) -> TaskRunner[Any]:
    """What works on the shards: `workers` threads here, or Dask at an address, or a local Dask cluster of processes.

    A Dask worker needs the same project folder (a shared file system) and environment. Raises FlowFailed without the
    extra [dask].
    """
    if runner == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise FlowFailed(
            f"runner 'dask' needs prefect-dask, which is not installed ({error}). "
            "Install it with `pip install 'hydra-ml[dask]'`, or run with runner 'threads'."
        ) from None
    if dask_address is not None:
        return DaskTaskRunner(address=dask_address)
    cluster = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


def over_shards(work: Task[..., Any], plan: Any, shards: Sequence[int], *, key: str) -> list[Any]:
    """`work(plan, shard)` for every shard on the flow's task runner; the reports in the order of `shards`.

    Progress is an artifact. A shard that fails does not stop the others: what they did is kept for the next run.
    Raises FlowFailed at the end if one did.
    """
    if not shards:
        return []
    futures = [work.with_options(task_run_name=f"shard-{shard:05d}").submit(plan, shard) for shard in shards]
    artifact = create_progress_artifact(progress=0.0, key=f"{key}-progress", description=f"{len(shards)} shards")
    failed = 0
    for done, future in enumerate(as_completed(futures), start=1):
        failed += isinstance(future.result(raise_on_failure=False), Exception)
        update_progress_artifact(artifact, progress=100.0 * done / len(shards))  # type: ignore[arg-type]
    if failed:
        raise FlowFailed(
            f"{failed} of {len(shards)} shards failed; finished ones are kept. The next run does the rest."
        )
    return [future.result() for future in futures]


@contextmanager
def one_writer(what: str, task: TaskFolder) -> Generator[None]:
    """Holds while nobody else does `what` for this task, on any machine of this Prefect server.

    Waits for its turn. A holder that dies loses its turn after two minutes; one whose server is away for longer works
    on, for what must never happen twice is locked by the jobs themselves.
    """
    name = f"{what}-{get_task(task).name}"
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):  # made by another at the same moment
        client.upsert_global_concurrency_limit_by_name(name, 1)
    with concurrency(name, occupy=1, lease_duration=120, strict=True, raise_on_lease_renewal_failure=False):
        yield


# ---------------------------------------------------------------------------------------------------------- reports


def artifact_key(job: str, task: TaskFolder) -> str:
    """Prefect's kind of key (lower case, digits, dashes), one per job and task, so that the UI shows its history."""
    return f"{job}-{get_task(task).name}".lower().replace("_", "-")


def show_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table artifact. Rows hold names, ids and counts, never a text of a user."""
    create_table_artifact([{name: _cell(value) for name, value in row.items()} for row in rows], key, description)


def link_run(key: str, task: TaskFolder, run_id: str) -> None:
    """A link artifact to an MLflow run; nothing where the store is a file that no server shows."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("http"):
        place = f"/#/experiments/{Tracking().experiment_id(get_task(task))}/runs/{run_id}"
        create_link_artifact(without_secret(address).rstrip("/") + place, key=key, link_text=f"MLflow run {run_id}")


def report_links() -> dict[str, str]:
    """Where a person looks further: this run's page, and the releases and runs; {} where no server shows them."""
    links = {}
    if runtime.flow_run.ui_url:
        links["this night's run"] = runtime.flow_run.ui_url
    address = without_secret(os.environ.get("MLFLOW_TRACKING_URI", "")).rstrip("/")
    if address.startswith("http"):
        links |= {"releases": f"{address}/#/models", "runs": f"{address}/#/experiments"}
    return links


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return value if isinstance(value, (int, type(None))) else escape(visible(str(value)), quote=False)

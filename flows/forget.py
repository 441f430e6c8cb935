"""forget: takes a user, or one record of theirs, out of everything that is kept. Started by hand, never by a schedule.

Who is forgotten stands in the run's parameters until it begins, and no longer: neither the server's pages nor its logs
name anybody afterwards. A run that was cut short is gone on with by another for the same user.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client

from flows.policy import HOOKS, HOUR, TASK_HOOKS
from flows.runs import DATA, FlowFailed, named, one_writer, settings
from hydra_ml.errors import HydraError
from hydra_ml.io.files import load_json
from hydra_ml.io.forgotten import ALL
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs import forget as job
from hydra_ml.params import TaskFolder


@flow(name="forget", flow_run_name=named("forget"), timeout_seconds=6 * HOUR, **HOOKS)
def forget(user: str, record: str = "", task: TaskFolder | None = None) -> str:
    """Forget a user; where the receipt lies.

    record: the id of one record; empty for all of the user. task: None for those of params.yaml.
    """
    _hide_parameters()
    tasks = settings().tasks if task is None else [task]
    with ExitStack() as alone:
        for one in tasks:
            alone.enter_context(one_writer("release", one))
        receipt = forget_user(user, record, task)
    page = job.receipt_page(load_json(Path(receipt)), receipt)
    create_markdown_artifact(page, key="forget-receipt", description="What was taken out, in figures")
    return receipt


@task(name="forget_user", task_run_name="forget_user", timeout_seconds=6 * HOUR, persist_result=False, **TASK_HOOKS)
def forget_user(user: str, record: str, task: TaskFolder | None) -> str:
    """The job. Raises FlowFailed that names nobody: what the error says stays with whoever runs `hydra-ml forget`."""
    place = job.here(DATA, [get_task(one) for one in (settings().tasks if task is None else [task])])
    meant = ALL if task is None else get_task(task).folder
    try:
        plan = job.plan_forget(user, place, record=record, task=meant)
        return str(job.forget(plan, place, settings(), task=meant, say=get_run_logger().info))
    except HydraError as error:
        raise FlowFailed(
            f"{type(error).__name__}: run `hydra-ml forget USER --dry-run` to read what is wrong; the error may "
            "name the user and is not told here."
        ) from None


def _hide_parameters() -> None:
    """Take the parameters off this run's page."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), parameters={})

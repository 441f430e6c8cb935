"""How every flow meets trouble: what is tried again and when, how long it may take, what a failure says."""

from __future__ import annotations

import logging
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.events import emit_event
from prefect.tasks import exponential_backoff

from hydra_ml.errors import HydraError

MINUTE, HOUR = 60, 3600

_log = logging.getLogger("hydra_ml.flows")


def worth_another_try(task: Any, task_run: TaskRun, state: State) -> bool:
    """False for errors that a person must mend, and for plain defects of ours; True for what may pass by itself."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, HydraError):
        return error.may_pass
    return not isinstance(error, (TypeError, AttributeError, NameError, AssertionError))


# For tasks: three more tries after about 5, 10 and 20 s, spread so that shards do not come back all at once.
TRY_AGAIN: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_another_try,
}


def say_failed(flow: Any, flow_run: Any, state: State) -> None:
    """Flow hook: one log line and the event `hydra_ml.<flow>.failed`.

    Prefect calls hooks with exactly these keywords. The event carries ids and the error's class, never its text, which
    may quote a row.
    """
    kind = _kind(state)
    _log.error("%s (%s) %s: %s", flow.name, flow_run.name, state.name, kind)
    emit_event(
        f"hydra_ml.{flow.name}.failed",
        resource={"prefect.resource.id": f"hydra_ml.flow.{flow.name}", "prefect.resource.name": flow.name},
        related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}],
        payload={"flow_run": flow_run.name, "state": state.name, "error": kind},
    )


def say_task_failed(task: Any, task_run: Any, state: State) -> None:
    """Task hook: one log line that names the task run and what stopped it."""
    _log.error("task %s (%s) %s: %s", task.name, task_run.name, state.name, _kind(state))


def _kind(state: State) -> str:
    """Class of the error in a final state; the state's type where there is none (a crash, a cancellation)."""
    try:
        error = state.result(raise_on_failure=False)
    except Exception:  # the result of a process that died is not there to be read
        error = None
    return type(error).__name__ if isinstance(error, BaseException) else state.type.value


HOOKS: dict[str, Any] = {"on_failure": [say_failed], "on_crashed": [say_failed], "on_cancellation": [say_failed]}
TASK_HOOKS: dict[str, Any] = {"on_failure": [say_task_failed]}

"""promote: judges a release against the champion, and makes it live if the gate lets it pass. Started by hand."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from flows.policy import HOOKS, HOUR, TASK_HOOKS, TRY_AGAIN
from flows.runs import DATA, Tasks, artifact_key, begin, for_each_task, named, one_writer, settings, task_run_named
from hydra_ml.evaluation.decision import Decision
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs import promote as job
from hydra_ml.params import TaskFolder


@flow(name="promote", flow_run_name=named("promote"), timeout_seconds=4 * HOUR, **HOOKS)
def promote(tasks: Tasks = None, version: str = "challenger", force: str = "") -> dict[str, Any]:
    """Judge and promote a release of every task.

    tasks: None for those of params.yaml. version: a release version or alias.
    force: why it is to be promoted though a rule fails; kept as a tag. Empty: the gate decides.
    """
    stamp = begin()
    return for_each_task(tasks, lambda task: promote_task(task, stamp, version, force))


@flow(name="promote_task", flow_run_name=task_run_named("promote"), **HOOKS)
def promote_task(task: TaskFolder, stamp: str, version: str = "challenger", force: str = "") -> bool:
    """Whether the release is champion now; the decision with its figures is an artifact of this run."""
    with one_writer("release", task):
        return gate(task, version, force)


def gate(task: TaskFolder, version: str, force: str = "") -> bool:
    """Judge, promote, show and tell; whether the release is champion now. The caller is the only writer."""
    decision = judge_and_promote(task, version, force)
    create_markdown_artifact(decision.markdown(), key=artifact_key("gate", task), description=f"Gate of {task}")
    say = get_run_logger().info if decision.passed or decision.promoted_at else get_run_logger().warning
    say("%s", decision.headline())
    if not decision.promoted_at:
        emit_event(
            "hydra_ml.release.refused",
            resource={"prefect.resource.id": f"hydra_ml.release.{task}", "prefect.resource.name": task},
            payload={"task": task, "version": decision.version, "refused_by": decision.tags()["gate.refused_by"]},
        )
    if decision.promoted_at and decision.against != decision.version:  # not when it was champion already
        emit_event(
            "hydra_ml.release.promoted",
            resource={"prefect.resource.id": f"hydra_ml.release.{task}", "prefect.resource.name": task},
            payload={"task": task, "version": decision.version, "before": decision.against},
        )
    return bool(decision.promoted_at)


@task(name="judge_and_promote", task_run_name="judge_and_promote", timeout_seconds=4 * HOUR, **TRY_AGAIN, **TASK_HOOKS)
def judge_and_promote(task: TaskFolder, version: str, force: str) -> Decision:
    """The job; repeating it after a failure judges from the cache of answers."""
    return job.promote(get_task(task), settings(), data=DATA, registry=Registry(), version=version, force=force)

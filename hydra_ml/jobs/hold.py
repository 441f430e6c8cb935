"""Holds: while one is set, no schedule makes a release of the task live; people still can, with a reason.

Kept as tags of the task's registered release model, so that every machine of the registry sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hydra_ml.errors import ArtifactError
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.release import model_name
from hydra_ml.tasks.task import Task

REASON, SINCE = "hold.reason", "hold.since"


@dataclass(frozen=True)
class Hold:
    """Why promotion of a task is held, and since when."""

    reason: str
    since: str  # ISO 8601, UTC


def hold_of(task: Task, registry: Registry) -> Hold | None:
    """The task's hold; None where there is none."""
    tags = registry.task_tags(task)
    return Hold(tags[REASON], tags.get(SINCE, "")) if REASON in tags else None


def hold(task: Task, registry: Registry, reason: str) -> Hold:
    """Hold the task's promotion. A hold that is there already keeps its time and gets the new reason.

    Raises ArtifactError before the task's first release.
    """
    if not registry.versions(task, "release"):
        raise ArtifactError(f"{model_name(task, 'release')}: no release yet, so there is nothing to hold.")
    known = hold_of(task, registry)
    made = Hold(
        reason or "(no reason given)", known.since if known else datetime.now(UTC).isoformat(timespec="seconds")
    )
    registry.tag_task(task, {REASON: made.reason, SINCE: made.since})
    return made


def release_hold(task: Task, registry: Registry) -> Hold | None:
    """Lift the task's hold; the one there was, None if there was none."""
    known = hold_of(task, registry)
    if known is not None:
        registry.tag_task(task, {REASON: None, SINCE: None})
    return known

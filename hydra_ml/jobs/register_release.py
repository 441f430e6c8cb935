"""A release is registered once, whatever kills the run that registers it: the next run finds what it left."""

from __future__ import annotations

from hydra_ml.errors import ArtifactError
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.release import Release
from hydra_ml.tasks.task import Task


def register_once(registry: Registry, task: Task, made: Release, *, run_id: str) -> str:
    """The release's version, now the challenger: the newest one, if a run that was killed left it; else a new one."""
    version = _left_over(registry, task, made) or registry.register_release(task, made, run_id=run_id)
    registry.point(task, {"challenger": version})
    return version


def _left_over(registry: Registry, task: Task, made: Release) -> str | None:
    """The newest version, if it is this very release but for its time, and nobody has judged it or made it live."""
    newest = next(iter(registry.versions(task, "release")), None)
    if newest is None or "gate.passed" in newest.tags or newest.version == registry.aliases(task).get("champion"):
        return None
    try:
        _, found = registry.release(task, newest.version)
    except ArtifactError:  # damaged: not to be gone on with
        return None
    return newest.version if _essence(found) == _essence(made) else None


def _essence(release: Release) -> tuple[object, ...]:
    files = release.data_version.partition("+")[0]  # drops may have come in between the two runs
    return release.made_by, dict(release.components), tuple(release.history), files, release.params, release.validated

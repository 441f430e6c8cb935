"""What forgetting does to the operator's signatures: a release that somebody was taken out of is another than the one
signed, and nothing but the operator's key can say that it is fine again."""

from __future__ import annotations

from collections.abc import Mapping

from hydra_ml.errors import ArtifactError
from hydra_ml.io.mlflow.forgetting import FORGOTTEN
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.jobs.forget_stores import Place
from hydra_ml.params import Params
from hydra_ml.serving.signed_release import SIGNATURE, signature_fault
from hydra_ml.tasks.task import Task

Lost = Mapping[str, Mapping[str, str]]  # task folder -> release version -> alias that makes it matter, "" for none


def signatures_lost(place: Place, params: Params, since: str) -> Lost:
    """Releases that were signed, and rewritten since (ISO 8601), so that their signature no longer fits; those that
    were signed again are none."""
    public = params.promote.require_signature
    found = {task.folder: _of_task(task, place.registry, public, since) for task in place.tasks}
    return {folder: lost for folder, lost in found.items() if lost}


def signing_lines(lost: Lost) -> list[str]:
    """What the operator does about them, a line a release: live ones first."""
    lines = []
    for folder, releases in sorted(lost.items()):
        for version, alias in sorted(releases.items(), key=lambda one: (one[1] != "champion", not one[1], int(one[0]))):
            which = f"release {version} ({alias})" if alias else f"release {version}"
            lines.append(
                f"{folder}: {which} is no longer as it was signed, and where `promote.require_signature` is set it is "
                f"not opened. Look at it (`hydra-ml releases show {version} --task {folder}`), then "
                f"`hydra-ml releases sign {version} --task {folder} --key KEY`."
            )
    return lines


def signing_ahead(place: Place) -> list[str]:
    """What to have at hand before somebody is forgotten, a line a release that is live and signed."""
    return [
        f"{task.folder}: release {version} ({alias}) is signed. Forgetting may rewrite it, and it must be signed again "
        "then, or it is not opened where `promote.require_signature` is set."
        for task in place.tasks
        for alias, version in sorted(place.registry.aliases(task).items())
        if place.registry.release_tags(task, version).get(SIGNATURE)
    ]


def live_unsigned(task: Task, registry: Registry, public: str) -> str:
    """What is wrong with the signature of the task's champion, with the next command; "" if nothing, if none is asked
    for, or if nothing is live. Raises ArtifactError if the release was altered."""
    if not public or "champion" not in registry.aliases(task):
        return ""
    version, release = registry.release(task, "champion")
    fault = signature_fault(task, registry, version, release, public)
    return fault and (
        f"release {version} is champion and is not opened: {fault}. Look at it, then "
        f"`hydra-ml releases sign {version} --task {task.folder} --key KEY`"
    )


def _of_task(task: Task, registry: Registry, public: str, since: str) -> dict[str, str]:
    aliases = {version: alias for alias, version in registry.aliases(task).items() if alias != "champion"}
    aliases |= {version: alias for alias, version in registry.aliases(task).items() if alias == "champion"}
    lost = {}
    for facts in registry.versions(task, "release"):
        if facts.tags.get(SIGNATURE) and facts.tags.get(FORGOTTEN, "") >= since:
            try:
                _, release = registry.release(task, facts.version)
            except ArtifactError:  # altered before: refused with or without a signature
                continue
            if not public or signature_fault(task, registry, facts.version, release, public):
                lost[facts.version] = aliases.get(facts.version, "")
    return lost

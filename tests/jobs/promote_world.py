"""Releases to promote: the champion's parts with a table changed, and the calls that judge them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hydra_ml.io.files import load_json
from hydra_ml.io.head_bank import save_heads
from hydra_ml.jobs.promote import judge, promote


def pointers(project) -> dict[str, str]:
    return project.registry.aliases(project.task)


def add_release(project, change=None, *, same=False, **facts) -> str:
    """A release of the champion's parts, with the adapter's head table changed; it becomes the challenger.

    change: None for one too small to change an answer, another each time. same: nothing is changed at all.
    """
    registry, task = project.registry, project.task
    n_before = len(registry.versions(task, "release"))
    if change is None and not same:
        change = lambda table: table * (1 + 1e-5 * n_before)  # noqa: E731
    _, release = registry.release(task, project.champion)
    run_id = registry.version(task, "release", project.champion).run_id
    components = dict(release.components)
    if change is not None:
        folder = project.root / f"changed-{len(registry.versions(task, 'release'))}"
        base = load_json(registry.fetch(task, components["adapter.base"]) / "manifest.json")
        bank = registry.open_bank(task, components["adapter.heads"], base_digest=base["digest"])
        heads = bank.heads_of(bank.user_ids())
        about = {key: bank.manifest[key] for key in ("task", "component", "base_digest", "fit")}
        save_heads(replace(heads, table=change(heads.table).astype(np.float32)), folder, about)
        ref = registry.register_component(task, "adapter.heads", folder, run_id=run_id)
        components["adapter.heads"] = ref
    made = replace(release, **{"components": components, "made_by": "update_heads", **facts})
    version = registry.register_release(task, made, run_id=run_id)
    registry.point(task, {"challenger": version})
    return version


def go(project, **options):
    return promote(
        project.task, project.params, data=project.data, registry=project.registry, cache=project.cache, **options
    )


def look(project, **options):
    return judge(
        project.task, project.params, data=project.data, registry=project.registry, cache=project.cache, **options
    )


def negated(table: np.ndarray) -> np.ndarray:
    return -100.0 * table


def refused_by(decision) -> set[str]:
    return {reason.name for reason in decision.reasons if not reason.passed}

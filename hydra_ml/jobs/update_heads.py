"""update_heads: refits the heads of the users whose history changed, on the bases of a release, into a new release.

    plan_update    which users have records in drops that the release has not learned, cut into shards
    update_shard   a shard's users through the chain's stages, with frozen bases        (any thread, process or machine)
    finish_update  the accepted heads into new heads versions, and those into a release, alias challenger

All three can be run again at any point: finished shards stay finished, a finished update is told again. Bases, prompts
and settings are the release's own, so only `llm` (but its model) and `update_heads` are read from params.yaml.

New heads may have learned records later than the questions the gate asks: the service answers tomorrow's questions. So
the gate's figure on such a release is a check against regressions, not a claim of quality.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from hydra_ml.errors import ArtifactError
from hydra_ml.io.dvc import stages_to
from hydra_ml.io.files import file_digest, load_json, save_json
from hydra_ml.io.head_bank import save_heads
from hydra_ml.io.history_store import changed_users, drop_names
from hydra_ml.io.layout import TRAINERS, task_folder
from hydra_ml.io.llm import asked_identity
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.update_release import JOB, about_bank, finished_update, open_bank
from hydra_ml.jobs.update_report import (
    COMPONENTS,
    RefittedShard,
    UpdatePlan,
)
from hydra_ml.jobs.update_workspace import Sources, run_stage, write_prepared
from hydra_ml.llm.served import served_of
from hydra_ml.params import Params, parse_params
from hydra_ml.records import content_digest
from hydra_ml.release import PARTS, Release
from hydra_ml.serving.open_release import release_params, task_of
from hydra_ml.tasks.task import Task

log = logging.getLogger(__name__)

# Planning.


def plan_update(
    task: Task,
    params: Params,
    *,
    data: Path,
    registry: Registry,
    which: str = "champion",
    cache: Path = Path(".cache"),
    root: Path = Path(),
) -> UpdatePlan:
    """The users with records that a release (alias or version) has not learned, in shards below cache/update_heads.

    root: where dvc.yaml lies, which says what runs. The same release, drops and settings give the same plan and the
    same workspace, so that a killed run goes on there. Raises ArtifactError if the release, one of its components, or a
    table of `prepare` is missing or was altered; VersionsError if dvc.yaml cannot be read.
    """
    version, release = registry.release(task, which)
    history, prepared = task_folder(data, "history", task), task_folder(data, "prepare", task)
    drops = tuple(name for name in drop_names(history) if name not in release.history)
    if drops and _is_redefined(task, version, release, len(drops)):
        drops = ()
    settings = _params_of(release, f"{task.folder} release {version}", params)
    if drops:
        _tell_of_other_model(task, version, release, settings, cache)
    stages = stages_to(list(TRAINERS.values()), task, root, there={"prepare"}) if drops else []
    manifests = [registry.fetch(task, release.components[part]) / "manifest.json" for part in PARTS]
    about: dict[str, Any] = {
        "task": task.folder,
        "release": version,
        "digests": [file_digest(manifest) for manifest in manifests],
        "learned": list(release.history),
        "drops": list(drops),
        "params": settings.model_dump(by_alias=True),
    }
    if drops:
        about |= {"prepared": _prepared_digest(prepared, task), "stages": stages}
    workspace = cache / JOB / task.folder / content_digest(json.dumps(about, sort_keys=True))[:16]
    users = changed_users(history, release.history) if drops else []
    shards = _shards(users, params.update_heads.users_per_shard)
    if users and not (workspace / "plan.json").is_file():
        save_json({**about, "shards": shards}, workspace / "plan.json")
    n_shards = 0 if finished_update(workspace, registry, task) else len(shards)
    return UpdatePlan(
        task=task.folder,
        release=version,
        drops=drops,
        n_users=len(users),
        n_shards=n_shards,
        data=str(data.absolute()),
        cache=str(cache.absolute()),
        workspace=str(workspace.absolute()),
        stages=stages,
        uri=registry.uri,
    )


def _is_redefined(task: Task, version: str, release: Release, n_drops: int) -> bool:
    """Whether the task is another than the release's; says what that means."""
    if task_of(release, task) is task:
        return False
    log.warning(
        "%s: its definition changed since release %s was made: %d drop(s) wait for the next nightly, for heads go on "
        "learning what their base has learned",
        *(task.name, version, n_drops),
    )
    return True


def _tell_of_other_model(task: Task, version: str, release: Release, params: Params, cache: Path) -> None:
    """Say so where the LLM's server tells of another model than the one whose answers the release learned from."""
    served = served_of(asked_identity(params.llm, cache / "responses.sqlite"))
    if release.served and served and served != release.served:
        log.warning(
            "%s: release %s learned from answers of %s, but behind %s its server now tells of %s: new heads learn from "
            "answers that their base has not seen the like of. The next nightly learns all anew.",
            *(task.name, version, release.served, params.llm.model, served),
        )


def _params_of(release: Release, where: str, params: Params) -> Params:
    """The settings the release was made with, under today's way of calling the LLM and of sharding."""
    return release_params(release, where, params.llm).model_copy(update={JOB: params.update_heads})


def _shards(users: Sequence[str], size: int) -> list[list[str]]:
    """The users by stable hash, `size` at a time: neighbours in name, who often share a cohort, are spread."""
    order = sorted(users, key=content_digest)
    return [sorted(order[start : start + size]) for start in range(0, len(order), size)]


def _prepared_digest(prepared: Path, task: Task) -> str:
    """What the tables that refits read are known by. Raises ArtifactError if one is missing."""
    for name in ("manifest.json", "guard.parquet", "records.parquet", "queries.parquet"):
        if not (prepared / name).is_file():
            raise ArtifactError(f"{prepared / name}: missing. Run `dvc repro prepare@{task.folder}` to make it.")
    return file_digest(prepared / "manifest.json")


# One shard.


def update_shard(plan: UpdatePlan, shard: int) -> RefittedShard:
    """Refit the heads of one shard's users; what a finished shard reported before, nothing done.

    Torch runs on one thread, here and in all that follows in this thread: shards are what runs side by side, and equal
    thread counts give equal bits. Raises the HydraError of the stage that failed.
    """
    import torch

    torch.set_num_threads(1)
    folder = plan.shard_folder(shard)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # of two workers with one shard, the second finds it done
        if not (folder / "report.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)  # half a shard of a killed run; its LLM answers are in the cache
            save_json(asdict(_refit_shard(plan, shard, folder)), folder / "report.json")
        return RefittedShard(**load_json(folder / "report.json"))


def _refit_shard(plan: UpdatePlan, shard: int, folder: Path) -> RefittedShard:
    started = time.monotonic()
    task, document = get_task(plan.task), load_json(Path(plan.workspace) / "plan.json")
    params, users = _shard_params(document, shard), document["shards"][shard]
    data, scratch = Path(plan.data), folder / "scratch"
    learned = frozenset(document["learned"])
    sources = Sources(
        task_folder(data, "prepare", task),
        task_folder(data, "history", task),
        task_folder(data, "feedback/store", task),
        learned,
    )
    some, left_out = write_prepared(sources, users, task, params, task_folder(scratch, "prepare", task))
    stages: dict[str, Any] = {}
    if some:
        frozen = folder / "frozen"
        _write_frozen(plan, task, () if document.get("anew") else some, frozen)  # anew: as if nobody had a head yet
        own: dict[str, dict[str, Path]] = {TRAINERS[name]: {"frozen": frozen / name} for name in COMPONENTS}
        caches = {True: Path(plan.cache), False: scratch / "cache"}
        for name in plan.stages:
            stages[name] = run_stage(name, task, params, data=scratch, caches=caches, places=own.get(name, {}))
    for component in COMPONENTS if some else ():
        task_folder(scratch, TRAINERS[component], task).replace(folder / component)
    n_queries = len(load_table(task_folder(scratch, "prepare", task) / "queries.parquet", ["query_id"]))
    shutil.rmtree(scratch)  # texts of users are kept no longer than needed
    return RefittedShard(
        shard=shard,
        n_users=len(users),
        n_queries=n_queries,
        replaced={component: stages.get(f"train_{component}", {}).get("replaced", 0) for component in COMPONENTS},
        seconds=round(time.monotonic() - started, 3),
        stages=stages,
        left_out=dict(sorted(left_out.items())),
    )


def _shard_params(document: Mapping[str, Any], shard: int) -> Params:
    """The plan's settings with the shard's part of the LLM's budget, by its users: shards that know nothing of each
    other keep to it together, stage by stage."""
    params = parse_params(document["params"], "plan.json")
    sizes = [len(users) for users in document["shards"]]
    return params.model_copy(update={"llm": params.llm.share(sum(sizes[:shard]), sum(sizes[: shard + 1]), sum(sizes))})


def _write_frozen(plan: UpdatePlan, task: Task, users: Sequence[str], folder: Path) -> None:
    """The release's bases, by link, and the present heads of the users."""
    registry = Registry(plan.uri, cache=Path(plan.cache))
    _, release = registry.release(task, plan.release)
    for component in COMPONENTS:
        base = registry.fetch(task, release.components[f"{component}.base"])
        bank = open_bank(registry, task, release, component)
        save_heads(bank.heads_of(users), folder / component / "heads", about_bank(bank))
        (folder / component / "base").symlink_to(base.absolute(), target_is_directory=True)

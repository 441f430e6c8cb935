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
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from hydra_ml.errors import ArtifactError
from hydra_ml.io.dvc import stages_to
from hydra_ml.io.files import file_digest, load_json, save_json
from hydra_ml.io.git import git_commit
from hydra_ml.io.head_bank import HeadBank, save_heads, update_bank
from hydra_ml.io.history_store import changed_users, drop_names
from hydra_ml.io.layout import TRAINERS, task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.mlflow.tracking import Run
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.jobs.update_report import (
    COMPONENTS,
    RefittedShard,
    UpdatePlan,
    UpdateReport,
    component_figures,
    left_out_of,
    users_table,
)
from hydra_ml.jobs.update_workspace import Sources, run_stage, write_prepared
from hydra_ml.jobs.withdraw import drops_of
from hydra_ml.model.heads import Heads, no_heads
from hydra_ml.params import Params, parse_params
from hydra_ml.records import content_digest
from hydra_ml.release import PARTS, ComponentRef, Release, data_version
from hydra_ml.serving.open_release import release_params
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

JOB = "update_heads"
STALE_S = 86_400.0  # workspaces of other plans that nobody has touched for this long are removed


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
    stages: list[str] = []
    manifests = [registry.fetch(task, release.components[part]) / "manifest.json" for part in PARTS]
    about: dict[str, Any] = {
        "task": task.folder,
        "release": version,
        "digests": [file_digest(manifest) for manifest in manifests],
        "learned": list(release.history),
        "drops": list(drops),
        "params": _params_of(release, f"{task.folder} release {version}", params).model_dump(by_alias=True),
    }
    if drops:
        for name in ("manifest.json", "guard.parquet", "records.parquet", "queries.parquet"):
            if not (prepared / name).is_file():
                raise ArtifactError(f"{prepared / name}: missing. Run `dvc repro prepare@{task.folder}` to make it.")
        about["prepared"] = file_digest(prepared / "manifest.json")
        about["stages"] = stages = stages_to(list(TRAINERS.values()), task, root, there={"prepare"})
    workspace = cache / JOB / task.folder / content_digest(json.dumps(about, sort_keys=True))[:16]
    users = changed_users(history, release.history) if drops else []
    if users:
        _write_plan(workspace, about, users, params.update_heads.users_per_shard)
    n_shards = 0 if _finished(workspace, registry, task) else len(_shards(users, params.update_heads.users_per_shard))
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


def _params_of(release: Release, where: str, params: Params) -> Params:
    """The settings the release was made with, under today's way of calling the LLM and of sharding."""
    return release_params(release, where, params.llm).model_copy(update={JOB: params.update_heads})


def _shards(users: Sequence[str], size: int) -> list[list[str]]:
    """The users by stable hash, `size` at a time: neighbours in name, who often share a cohort, are spread."""
    order = sorted(users, key=content_digest)
    return [sorted(order[start : start + size]) for start in range(0, len(order), size)]


def _write_plan(workspace: Path, about: Mapping[str, Any], users: Sequence[str], size: int) -> None:
    if (workspace / "plan.json").is_file():
        return
    save_json({**about, "shards": _shards(users, size)}, workspace / "plan.json")


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
    sources = Sources(task_folder(data, "prepare", task), task_folder(data, "history", task), learned)
    some, left_out = write_prepared(sources, users, task, params, task_folder(scratch, "prepare", task))
    stages: dict[str, Any] = {}
    if some:
        frozen = folder / "frozen"
        _write_frozen(plan, task, some, frozen)
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
        bank = _open_bank(registry, task, release, component)
        save_heads(bank.heads_of(users), folder / component / "heads", _about(bank))
        (folder / component / "base").symlink_to(base.absolute(), target_is_directory=True)


def _open_bank(registry: Registry, task: Task, release: Release, component: str) -> HeadBank:
    base = load_json(registry.fetch(task, release.components[f"{component}.base"]) / "manifest.json")
    return registry.open_bank(task, release.components[f"{component}.heads"], base_digest=base["digest"])


def _about(bank: HeadBank) -> dict[str, Any]:
    """What the manifest says besides the bank's own shape."""
    own = {"shards", "n_users", "schema_version", "head", "width"}
    return {name: value for name, value in bank.manifest.items() if name not in own}


# Finishing.


def finish_update(plan: UpdatePlan, reports: Sequence[RefittedShard], run_name: str) -> UpdateReport:
    """Register the accepted heads and a release with them as challenger, in one MLflow run.

    A component without accepted heads keeps its heads version; the release counts the drops as learned even so. Without
    drops there is no release. reports: of all shards; their files are read from the workspace. Raises ArtifactError if
    a shard is not done.
    """
    with FileLock(Path(plan.cache) / JOB / f"{plan.task}.lock"):  # the flow and the command may finish the same plan
        registry = Registry(plan.uri, cache=Path(plan.cache))
        finished = _finished(Path(plan.workspace), registry, get_task(plan.task))
        if finished is not None:
            return finished
        if not plan.drops:
            return UpdateReport(plan.task, plan.release, None, "", (), 0, {}, 0.0)
        return _finish(_with_all_shards(plan), registry, reports, run_name)


def _with_all_shards(plan: UpdatePlan) -> UpdatePlan:
    """The plan with its shards as written: one made of an update that was done then counts none of them."""
    written = Path(plan.workspace) / "plan.json"
    return replace(plan, n_shards=len(load_json(written)["shards"]) if written.is_file() else 0)


def _finish(plan: UpdatePlan, registry: Registry, reports: Sequence[RefittedShard], run_name: str) -> UpdateReport:
    workspace, task = Path(plan.workspace), get_task(plan.task)
    undone = [i for i in range(plan.n_shards) if not (plan.shard_folder(i) / "report.json").is_file()]
    if undone:
        raise ArtifactError(
            f"{workspace}: {len(undone)} of {plan.n_shards} shards are not done, the first is {undone[0]}. Run the "
            "update_heads flow again: it does these alone."
        )
    started = time.monotonic()
    _, release = registry.release(task, plan.release)
    drops = {drop.name: drop for drop in drops_of(task, data=Path(plan.data))}
    learned_now = [asdict(drops[name]) for name in plan.drops if name in drops]
    tags = {"based_on": plan.release, "drops": ", ".join(str(drop["file"] or drop["name"]) for drop in learned_now)}
    with registry.tracking.start(task, run_name, job=JOB, params=release.params, tags=tags) as run:
        lineage = {"based_on": plan.release, "drops": learned_now, "already_learned": list(release.history)}
        run.log_document(lineage, "lineage.json")
        table = users_table(plan)
        save_table(table, workspace / "users.parquet")
        run.log_file(workspace / "users.parquet", folder="update")
        components, figures = dict(release.components), {}
        for component in COMPONENTS:
            ref, shards = _register_heads(plan, registry, task, release, component, run.run_id)
            components[ref.part] = ref
            figures[component] = {**component_figures(table, component), "shards_written": shards}
        learned = tuple(sorted({*release.history, *plan.drops}))
        made = replace(
            release,
            components=components,
            data_version=data_version(release.data_version, drop_names(task_folder(Path(plan.data), "history", task))),
            history=learned,
            git_commit=git_commit(),
            made_by=JOB,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        version = _registered(registry, task, made) or registry.register_release(task, made, run_id=run.run_id)
        registry.point(task, {"challenger": version})
        seconds = round(time.monotonic() - started + sum(report.seconds for report in reports), 3)
        _log_figures(plan, run, figures, seconds)
        left_out = left_out_of(plan)
        report = UpdateReport(
            plan.task, plan.release, version, run.run_id, plan.drops, plan.n_users, figures, seconds, left_out
        )
        run.describe(report.markdown())
    save_json(asdict(report), workspace / "done.json")
    _tidy(workspace)
    return report


def _register_heads(
    plan: UpdatePlan, registry: Registry, task: Task, release: Release, component: str, run_id: str
) -> tuple[ComponentRef, int]:
    """The heads version after the update, and how many of its shards were written; the present one if none was."""
    ref = release.components[f"{component}.heads"]
    bank = _open_bank(registry, task, release, component)
    accepted = _accepted_heads(plan, component, bank)
    if not accepted.user_ids:
        return ref, 0
    folder = Path(plan.workspace) / "heads" / component
    shutil.rmtree(folder, ignore_errors=True)
    about = {**_about(bank), "updated_from": ref.version}
    touched = update_bank(bank, accepted, folder, old_version=ref.version, manifest=about)
    return registry.register_component(task, ref.part, folder, run_id=run_id), len(touched)


def _accepted_heads(plan: UpdatePlan, component: str, bank: HeadBank) -> Heads:
    """The new heads of all shards."""
    parts = [no_heads(bank.kind, bank.width)]
    for shard in range(plan.n_shards):
        folder = plan.shard_folder(shard) / component
        if folder.is_dir():
            table = load_table(folder / "refit.parquet", ["user_id", "replaced"])
            fitted = HeadBank(folder / "heads", base_digest=bank.manifest["base_digest"])
            parts.append(fitted.heads_of(table.loc[table["replaced"], "user_id"].tolist()))
    user_ids = tuple(user_id for part in parts for user_id in part.user_ids)
    return Heads(bank.kind, bank.width, user_ids, np.concatenate([part.table for part in parts]))


def _registered(registry: Registry, task: Task, made: Release) -> str | None:
    """The newest release's version, if it is this very one: registered by a run that was killed before it could say."""
    version = registry.versions(task, "release")[0].version
    _, newest = registry.release(task, version)
    same = newest.made_by == JOB and (newest.components, newest.history) == (made.components, made.history)
    return version if same else None


def _log_figures(plan: UpdatePlan, run: Run, figures: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
    flat = {f"{component}/{name}": value for component, found in figures.items() for name, value in found.items()}
    run.log_metrics({**flat, "users_changed": plan.n_users, "seconds": seconds})


def _finished(workspace: Path, registry: Registry, task: Task) -> UpdateReport | None:
    """The report of an update that is done, if the release it made is still there. Raises if nobody can tell."""
    if not (workspace / "done.json").is_file():
        return None
    document = load_json(workspace / "done.json")
    if document["release"] not in {facts.version for facts in registry.versions(task, "release")}:
        (workspace / "done.json").unlink(missing_ok=True)
        return None
    return UpdateReport(**{**document, "drops": tuple(document["drops"])})


def _tidy(workspace: Path) -> None:
    """Remove what only the work needed, and workspaces that were given up."""
    for name in ("shards", "heads", "users.parquet"):
        path = workspace / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for other in workspace.parent.iterdir():
        touched = max((path.stat().st_mtime for path in (other, *other.glob("shards/*"))), default=0.0)
        if other != workspace and time.time() - touched > STALE_S:
            shutil.rmtree(other, ignore_errors=True)

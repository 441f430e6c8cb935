"""The end of forgetting one record: the user's head fitted anew on what is left, as if the record had never been."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_ml.errors import ArtifactError
from hydra_ml.io.dvc import stages_to
from hydra_ml.io.files import save_json
from hydra_ml.io.head_bank import HeadBank
from hydra_ml.io.history_store import drop_names
from hydra_ml.io.layout import TRAINERS, task_folder
from hydra_ml.io.mlflow.forgetting import ReleasesRewriter
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.forget_stores import Place
from hydra_ml.jobs.update_heads import update_shard
from hydra_ml.jobs.update_release import open_bank
from hydra_ml.jobs.update_report import COMPONENTS, UpdatePlan
from hydra_ml.model.heads import Heads
from hydra_ml.params import Params
from hydra_ml.serving.open_release import release_params
from hydra_ml.tasks.task import Task

WORK = "forget"


def refit_heads(place: Place, user_id: str, params: Params, drops: Mapping[str, str]) -> dict[str, Any]:
    """Fit the user's head anew for every live release of the tasks meant, and put it in; what became of it, by task and
    version. Other releases keep the user without a head: the shared one serves.

    The user must have no head in any version now.
    """
    told: dict[str, Any] = {}
    for task in place.tasks:
        for version in sorted({*place.registry.aliases(task).values()}, key=int):
            heads = fitted_heads(place, task, version, user_id, params)
            given = {}
            _, release = place.registry.release(task, version)
            for component, head in heads.items():
                part = f"{component}.heads"
                given[part, release.components[part].version] = head
            at = datetime.now(UTC).isoformat(timespec="seconds")
            ReleasesRewriter(place.registry, task).take_out((), at=at, drops=drops, given=given, resuming=True)
            told.setdefault(task.folder, {})[version] = sorted(heads)
    return told


def fitted_heads(place: Place, task: Task, version: str, user_id: str, params: Params) -> dict[str, Heads]:
    """The head that the user's records as they lie now give on a release's bases, by component; without those where
    there is nothing to learn from, or a personal head is not better. A head that is there does not count.

    Stages run as in an update, so answers that are not kept are bought. Raises as `jobs.update_heads` does.
    """
    _, release = place.registry.release(task, version)
    work = place.cache / WORK / task.folder
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    history = task_folder(place.data, "history", task)
    if not (task_folder(place.data, "prepare", task) / "records.parquet").is_file():
        raise ArtifactError(f"{place.data}: nothing of {task.name} is prepared. Run `dvc repro prepare@{task.folder}`.")
    settings = release_params(release, f"{task.folder} release {version}", params.llm)
    settings = settings.model_copy(update={"update_heads": params.update_heads})
    learned = drop_names(history)
    document = {"shards": [[user_id]], "learned": learned, "params": settings.model_dump(by_alias=True), "anew": True}
    save_json(document, work / "plan.json")
    plan = UpdatePlan(
        task=task.folder,
        release=version,
        drops=tuple(learned),
        n_users=1,
        n_shards=1,
        data=str(place.data.absolute()),
        cache=str(place.cache.absolute()),
        workspace=str(work.absolute()),
        stages=stages_to(list(TRAINERS.values()), task, place.root, there={"prepare"}),
        uri=place.registry.uri,
    )
    try:
        update_shard(plan, 0)
        return {name: head for name in COMPONENTS if (head := _accepted(place, plan, task, name)) is not None}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _accepted(place: Place, plan: UpdatePlan, task: Task, component: str) -> Heads | None:
    """The new head, if one was fitted and is not worse than the shared one."""
    folder = Path(plan.shard_folder(0)) / component
    if not folder.is_dir():
        return None
    table = load_table(folder / "refit.parquet", ["user_id", "replaced"])
    _, release = place.registry.release(task, plan.release)
    bank = open_bank(place.registry, task, release, component)
    fitted = HeadBank(folder / "heads", base_digest=bank.manifest["base_digest"])
    heads = fitted.heads_of(table.loc[table["replaced"], "user_id"].tolist())
    return heads if heads.user_ids else None

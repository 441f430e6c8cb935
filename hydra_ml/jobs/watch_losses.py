"""watch_losses: whether personal heads do harm, by answers of which the user's own is known, each counted once.

    feedback with a final answer among the candidates that were kept     every kind of task; scores as they were served
    records that came in, of tasks with a closed answer set              every label is a candidate: no LLM is asked

A record is judged by the newest release that was live and made before the record's drop came, so by heads that cannot
have learned it. Free texts have no candidates without an LLM: of those tasks feedback alone is counted. Only users who
have a head tell anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import candidate_rows, scored_candidates
from hydra_ml.answering.score_requests import give_profiles
from hydra_ml.evaluation.drift import DriftFinding, UserLosses, choice_loss, e_bh, has_drifted
from hydra_ml.io.drift import DriftFolder, Losses
from hydra_ml.io.feedback_store import record_backers, standing_feedback, stored_feedback
from hydra_ml.io.history_store import drop_names, opened_drop, stored_records
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.params import Params
from hydra_ml.records import RECORD_COLUMNS, Request
from hydra_ml.serving.component import torch_threads
from hydra_ml.serving.open_release import OpenRelease, open_release
from hydra_ml.tasks.task import Task

MOST_RECORDS = 2000  # of a drop that are judged, the first by date
TOLD = 5  # users named
Outcome = tuple[str, float, float]  # user, personal loss, shared loss


def watch_losses(task: Task, params: Params, *, data: Path, registry: Registry, cache: Path) -> DriftFinding:
    """What all answers counted so far say. Raises ArtifactError if a table or the state is damaged."""
    folder = DriftFolder(data, task)
    before = folder.losses()
    keys, outcomes = _of_feedback(task, data, set(before.requests))
    losses = replace(_after(before, outcomes), requests=[*before.requests, *keys])
    n_skipped = 0
    if task.labels and task.kind != "choice":
        backed = record_backers(stored_feedback(data, task, ["user_id", "record_id"]))
        for name in sorted(drop_names(task_folder(data, "history", task)), key=lambda one: _came(task, data, one)):
            if name not in before.drops:
                found = _of_drop(name, task, backed, data, registry, cache)
                n_skipped += found is None
                losses = replace(_after(losses, found or []), drops=[*losses.drops, name])
    folder.keep_losses(losses)
    return _finding(losses, params.drift.alpha, n_skipped, has_records=bool(task.labels) and task.kind != "choice")


def _after(losses: Losses, outcomes: Sequence[Outcome]) -> Losses:
    users, together = dict(losses.users), losses.together
    for user_id, personal, shared in outcomes:
        users[user_id] = users.get(user_id, UserLosses()).after(personal, shared)
        together = together.after(personal, shared)
    return replace(losses, users=users, together=together)


def _of_feedback(task: Task, data: Path, counted: set[str]) -> tuple[list[str], list[Outcome]]:
    """Requests with a final answer among their candidates that were not counted yet, and their losses."""
    columns = ["request_id", "user_id", "answer", "personalization", "candidates"]
    said = standing_feedback(stored_feedback(data, task, columns))
    keys, outcomes = [], []
    for request_id, user_id, answer, served, candidates in zip(*(said[name] for name in columns), strict=True):
        key = f"{user_id}\x1f{request_id}"
        among = [one["answer"] for one in candidates]
        if key in counted or served != "personal" or answer not in among or len(among) < 2:
            continue
        place = among.index(answer)
        personal, shared = (choice_loss([one[name] for one in candidates], place) for name in ("personal", "shared"))
        keys.append(key)
        outcomes.append((user_id, personal, shared))
    return keys, outcomes


def _came(task: Task, data: Path, name: str) -> float:
    return (task_folder(data, "history", task) / f"{name}.parquet").stat().st_mtime


def _of_drop(
    name: str, task: Task, backed: set[tuple[str, str]], data: Path, registry: Registry, cache: Path
) -> list[Outcome] | None:
    """Losses on the drop's records; None where no release is known that cannot have learned them."""
    came = _came(task, data, name)
    release = _innocent(task, name, came, registry, cache)
    if release is None:
        return None
    with opened_drop(task_folder(data, "history", task), name) as drop:
        records = drop.read().to_pandas()[list(RECORD_COLUMNS)]
    heads = release.adapter.bank.heads_of(set(records["user_id"]))
    keys = zip(records["user_id"], records["record_id"], strict=True)
    fresh = np.array([key not in backed for key in keys], dtype=bool)
    records = records[fresh & records["user_id"].isin(heads.user_ids) & records["answer"].isin(task.labels)]
    records = records.sort_values(["date", "user_id", "record_id"]).head(MOST_RECORDS).reset_index(drop=True)
    if records.empty:
        return []
    earlier = stored_records(data, task, set(records["user_id"]), np.nextafter(came, 0))
    asked = [Request(str(i), row.user_id, row.input, i, None) for i, row in enumerate(records.itertuples())]
    table, seen = give_profiles(asked, earlier, task, limit=release.params.prepare.history)
    queries = table.rename(columns={"request_id": "query_id"})
    queries = queries.assign(text=[task.query_text(input) for input in queries["input"]])
    pool = queries[["query_id"]].assign(answer=task.labels[0], votes=0, n_samples=0, greedy_share=0.0, is_plain=False)
    with torch_threads(1):
        rows, evidence = candidate_rows(pool, queries, seen, task, release.texts.encode)
        rows = scored_candidates(rows, evidence, release.adapter.score)
    return _losses(rows, records)


def _losses(rows: pd.DataFrame, records: pd.DataFrame) -> list[Outcome]:
    found = []
    for query_id, some in rows.groupby("query_id", sort=False):
        record = records.iloc[int(str(query_id))]
        place = some["answer"].tolist().index(record["answer"])
        personal, shared = (choice_loss(some[name].tolist(), place) for name in ("personal", "shared"))
        found.append((int(str(query_id)), (str(record["user_id"]), personal, shared)))
    return [outcome for _, outcome in sorted(found)]


def _innocent(task: Task, drop: str, came: float, registry: Registry, cache: Path) -> OpenRelease | None:
    """The newest release that was live once, made before the drop came, and not named as having learned it."""
    for facts in sorted(registry.versions(task, "release"), key=lambda one: -int(one.version)):
        if not facts.tags.get("promoted_at") and facts.version != registry.aliases(task).get("champion"):
            continue
        version, release = registry.release(task, facts.version)
        made = datetime.fromisoformat(release.made_at)
        made = made if made.tzinfo else made.replace(tzinfo=UTC)
        if made.timestamp() < came and drop not in release.history:
            return open_release(registry, task, version, cache)
    return None


def _finding(losses: Losses, alpha: float, n_skipped: int, *, has_records: bool) -> DriftFinding:
    rest = f"; {n_skipped} drops came before any release that could judge them" if n_skipped else ""
    rest += "" if has_records else "; records are not counted: candidates of this kind of task need the LLM"
    if not losses.together.n:
        return DriftFinding("losses", False, f"no answer to judge heads by yet{rest}")
    told = f"{losses.together.n:,} answers of {len(losses.users):,} users, {losses.together.told}"
    worse = e_bh({user_id: one.process.log_e for user_id, one in losses.users.items()}, alpha)
    if has_drifted(losses.together.process, alpha):
        return DriftFinding("losses", True, f"personal heads do harm beside the shared one ({told}){rest}")
    if worse:
        told = f"the heads of {len(worse)} users do harm ({told}){rest}"
        return DriftFinding("losses", True, told, tuple(worse[:TOLD]))
    return DriftFinding("losses", False, f"no harm by personal heads shown ({told}){rest}")

"""show: one user as the service knows them, for the operator's own terminal: records, head in words, last answers.

What a head favours is told in log-odds against the shared head: +0.7 is twice as likely this user's choice. It is read
off the candidates of the user's own questions, which hold both scores of each answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hydra_ml.answering.explain import evidence_names
from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.evaluation.explanation import TOLD
from hydra_ml.io.feedback_store import standing_feedback, stored_feedback
from hydra_ml.io.files import load_json
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.predictions import load_predictions
from hydra_ml.io.record_reader import read_id
from hydra_ml.predictions import whole_candidates
from hydra_ml.tasks.task import Task

RECORDS = 10  # newest shown
ANSWERS = 5  # last predictions shown
FILES = 20  # newest batches looked through
WIDTH = 90
log = logging.getLogger(__name__)


def user_text(user_id: str, task: Task, *, data: Path, registry: Registry, which: str = "champion") -> str:
    """What is kept of the user. Raises DataError if nothing is."""
    user_id = read_id(user_id, "user_id")
    records = stored_records(data, task, [user_id])
    predictions = _predictions_of(user_id, task, data)
    if records.empty and not predictions:
        raise DataError(f"{task.name}: nothing is kept of user {user_id!r}, no record and no prediction.")
    lines = [f"user {user_id}, {task.name}: {len(records):,} records"]
    for _, record in records.tail(RECORDS).iloc[::-1].iterrows():
        lines.append(
            f"  {record['date'] or 'undated'}  {_short(task.query_text(record['input']))} -> {_short(record['answer'])}"
        )
    lines += ["", *_head_lines(user_id, task, registry, which), *_favours(predictions, task)]
    lines += ["", "last predictions" if predictions else "last predictions: none yet (`hydra-ml score`)"]
    for row in predictions[:ANSWERS]:
        same = row["generic_prediction"] == row["prediction"]
        beside = "" if same else f"  (generic: {_short(str(row['generic_prediction']))})"
        lines.append(f"  {row['request_id']}  {_short(str(row['prediction']))}{beside}  release {row['release']}")
    return "\n".join([*lines, *_feedback_lines(user_id, task, data)])


def _feedback_lines(user_id: str, task: Task, data: Path) -> list[str]:
    """What the user said of answers, the newest first; only what counts: the last word on each request."""
    said = standing_feedback(stored_feedback(data, task, ["request_id", "user_id", "verdict", "answer", "date"]))
    own = said[said["user_id"] == user_id].tail(ANSWERS).iloc[::-1].to_dict("records")
    lines = ["", "feedback" if own else "feedback: none yet (docs/feedback.md)"]
    for row in own:
        end = "" if row["answer"] is None else f" -> {_short(row['answer'])}"
        lines.append(f"  {row['date']}  {row['request_id']}  {row['verdict']}{end}")
    return lines


def _predictions_of(user_id: str, task: Task, data: Path) -> list[dict[str, Any]]:
    """The user's predictions of the newest batches, newest first, each request once. A damaged file is told in the
    log."""
    home = task_folder(data, "predictions", task)
    files = sorted(home.glob("*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)[:FILES]
    rows: dict[str, dict[str, Any]] = {}
    for path in files:
        try:
            table = load_predictions(path)
        except DataError as error:
            log.warning("%s", error)
            continue
        for row in table[table["user_id"] == user_id].to_dict("records"):
            rows.setdefault(str(row["request_id"]), {str(name): value for name, value in row.items()})
    return list(rows.values())


def _head_lines(user_id: str, task: Task, registry: Registry, which: str) -> list[str]:
    """Whether the release has a head of the user's own, and how far it leans on each kind of evidence."""
    if which not in registry.aliases(task) and not which.isdigit():
        return [f"head: no release is {which} yet"]
    version, release = registry.release(task, which)
    base, heads = (release.components[f"adapter.{half}"] for half in ("base", "heads"))
    manifest = load_json(registry.fetch(task, base) / "manifest.json")
    try:
        bank = registry.open_bank(task, heads, base_digest=manifest["digest"])
        found = bank.heads_of([user_id])
    except ArtifactError as error:
        return [f"head: cannot be read ({error})"]
    if not found.user_ids:
        return [f"head: none of the user's own in release {version}; the shared one answers"]
    names = evidence_names(task)
    weights = found.table[0][-len(names) :] if found.kind == "residual" else np.zeros(0)
    size = float(np.linalg.norm(found.table[0]))
    lines = [f"head: the user's own in release {version}, {found.table.shape[1]} numbers, length {size:.2f}"]
    lines += ["  leans, beside everybody's head, per unit of what speaks for an answer"] if len(weights) else []
    told = sorted(zip(names, weights.tolist(), strict=False), key=lambda pair: -abs(pair[1]))
    return [*lines, *(f"  {weight:+6.2f}  {TOLD[name]}" for name, weight in told)]


def _favours(predictions: Sequence[dict[str, Any]], task: Task) -> list[str]:
    """Which answers the head favours against the shared one, mean over the user's predictions."""
    rows = []
    for row in predictions:
        known = whole_candidates(row["candidates"])
        if len(known) > 1:
            gain = np.array([one["personal"] - one["shared"] for one in known])
            rows += [
                {"answer": one["answer"], "gain": value}
                for one, value in zip(known, (gain - gain.mean()).tolist(), strict=True)
            ]
    if not rows or not task.labels:
        return []
    table = pd.DataFrame(rows)
    mean = table.groupby("answer")["gain"].agg(["mean", "size"]).sort_values("mean", ascending=False)
    lines = ["  favours, against everybody's head, in log-odds over the predictions below"]
    return [
        *lines,
        *(f"  {row['mean']:+6.2f}  {answer}  ({int(row['size'])} times)" for answer, row in mean.iterrows()),
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."

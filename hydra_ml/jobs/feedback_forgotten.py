"""Feedback on answers to users who were forgotten: rows often name a request and nobody, so predictions tell whose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hydra_ml.errors import DataError
from hydra_ml.io.feedback import WaitingRow, save_waiting_rows
from hydra_ml.io.forgotten import leave_out, load_forgotten
from hydra_ml.io.gx.feedback_checks import JudgedFeedback
from hydra_ml.io.layout import common_folder
from hydra_ml.io.predictions import find_predictions
from hydra_ml.io.record_reader import Fault, read_text
from hydra_ml.io.row_files import read_rows
from hydra_ml.learning.feedback import Feedback, record_of
from hydra_ml.tasks.task import Task


def leave_out_feedback(path: Path, data: Path) -> int:
    """Rewrite a file of feedback without the rows of those who were forgotten, by the users they name and by whom
    their requests were of; how many went. Raises ArtifactError if the list cannot be read."""
    try:
        requests = _forgotten_requests((row.value for row in read_rows(path)), data)
    except DataError:  # no table: the job refuses it
        requests = set()
    return leave_out(path, data, requests)


def still_waiting(waiting: Sequence[WaitingRow], data: Path) -> list[WaitingRow]:
    """The rows that wait, without those whose request turned out to be of somebody forgotten: these go from disk."""
    requests = _forgotten_requests((row.value for row in waiting), data)
    kept = [row for row in waiting if _request(row.value) not in requests] if requests else [*waiting]
    if len(kept) < len(waiting):
        save_waiting_rows(data, kept)
    return kept


def without_forgotten(judged: JudgedFeedback, data: Path) -> JudgedFeedback:
    """What was said without what is of a forgotten user, or would bring a forgotten record back, by its text too."""
    forgotten = load_forgotten(data)
    if not forgotten.stones:
        return judged

    def is_gone(task: Task, said: Feedback) -> bool:
        answer = said.prediction if said.answer is None else said.answer
        return forgotten.has_said(task.folder, record_of(task, said.user_id, said.input, answer, said.date))

    return replace(judged, said={i: one for i, one in judged.said.items() if not is_gone(*one)})


def _forgotten_requests(values: Iterable[object], data: Path) -> set[str]:
    """Of the rows' requests those that were asked by forgotten users alone."""
    forgotten = load_forgotten(data)
    ids = {_request(value) for value in values} - {""} if forgotten.stones else set()
    gone: set[str] = set()
    kept: set[str] = set()
    for row in find_predictions(common_folder(data, "predictions"), ids):
        is_gone = forgotten.has_user(row["folder"], row["user_id"])
        (gone if is_gone else kept).add(row["request_id"])
    return gone - kept


def _request(value: object) -> str:
    """The request that a row names; "" for none."""
    try:
        return read_text(value, "request_id") if isinstance(value, dict) else ""
    except Fault:
        return ""

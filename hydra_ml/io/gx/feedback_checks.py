"""Every row of feedback judged by Great Expectations: what was said, or why the row says nothing we can use.

Rounds: a row, its verdict, and the verdict beside the prediction it is of. A row whose request has no prediction yet is
neither sound nor bad: it waits. Reasons say what was expected, never what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.errors import ParamsError
from hydra_ml.io.asked_texts import answered_on, asked_texts
from hydra_ml.io.gx.drop_checks import UNKNOWN, Judging, holds
from hydra_ml.io.gx.expectations import Check, date_check
from hydra_ml.io.layout import common_folder
from hydra_ml.io.predictions import find_predictions
from hydra_ml.io.record_reader import EPOCH, ROUNDED, Fault, has_date, is_missing, read_date, read_text
from hydra_ml.io.row_files import Row
from hydra_ml.io.task_files import get_task
from hydra_ml.learning.feedback import Feedback, Verdict, shown_candidates
from hydra_ml.tasks.task import Task

FLAGS, TEXTS = ("accepted", "rejected"), ("chosen", "edited")
YES, NO = {"true", "1", "1.0"}, {"false", "0", "0.0", ""}


@dataclass(frozen=True)
class JudgedFeedback:
    """A file's rows after all checks, by position."""

    said: Mapping[int, tuple[Task, Feedback]]  # the sound ones, in order
    reasons: Mapping[int, Sequence[str]]  # of each bad one, all that it does not fulfil
    tasks: Sequence[str]  # per row: folder of the task it was of, or UNKNOWN
    waiting: Sequence[int]  # whose request has no prediction yet


def judge_feedback(
    rows: Sequence[Row], *, data: Path, max_text_chars: int, today: date, context: Any, run_name: str
) -> JudgedFeedback:
    """Check every row and join it with its prediction in data/predictions, the newest of its request where the row
    names no release. today, context, run_name: as for `drop_checks.judge_rows`."""
    judging = Judging(context, run_name)
    lines = pd.DataFrame({"is_object": [not row.fault and isinstance(row.value, dict) for row in rows]})
    objects = judging.check("feedback rows", lines, [holds("is_object", "row is a JSON object in UTF-8")])
    tomorrow = (today + timedelta(days=1)).isoformat()
    verdicts = {i: _verdict(rows[i].value, tomorrow) for i in objects}
    table = pd.DataFrame([*verdicts.values()], index=objects)
    formed = judging.check("feedback verdicts", table, _verdict_checks(max_text_chars, tomorrow))
    ids = {i: str(verdicts[i]["request_id"]) for i in formed}
    of_request: dict[str, list[dict[str, Any]]] = {}
    for found in find_predictions(common_folder(data, "predictions"), set(ids.values())):
        of_request.setdefault(found["request_id"], []).append(found)
    waiting = [i for i in formed if ids[i] not in of_request]
    matched = {i: _match(rows[i].value, of_request[ids[i]]) for i in formed if ids[i] in of_request}
    texts = asked_texts(
        [(row["path"], task, row["request_id"]) for row, task, _ in matched.values() if row and task], data
    )
    tasks = [UNKNOWN] * len(rows)
    joined: dict[int, tuple[Task, Feedback]] = {}
    facts = {}
    for i, (row, task, faults) in matched.items():
        tasks[i] = task.folder if task else UNKNOWN
        said = _feedback(verdicts[i], rows[i].value, row, task, texts) if row and task else None
        facts[i] = {**faults, **_content(said, task)}
        if said and task:
            joined[i] = (task, said)
    table = pd.DataFrame([*facts.values()], index=[*facts])
    sound = judging.check("feedback, with its prediction", table, _CONTENT_CHECKS)
    return JudgedFeedback({i: joined[i] for i in sound}, judging.reasons, tasks, waiting)


def _verdict_checks(max_chars: int, tomorrow: str) -> list[Check]:
    return [
        Check("has a request_id", "request_id", "ExpectColumnValuesToNotBeNull"),
        Check("request_id is text or a whole number", "request_id", "ExpectColumnValuesToMatchRegex", {"regex": r"\S"}),
        holds("is_exact", f"request_id is not a {ROUNDED}"),
        holds("is_one", "has one verdict, and no more: accepted, chosen, edited, rating or rejected"),
        holds("is_told", "accepted or rejected is true, rating 1 or -1, chosen or edited a text"),
        Check(
            f"the answer has at most {max_chars} characters",
            "answer",
            "ExpectColumnValueLengthsToBeBetween",
            {"max_value": max_chars},
        ),
        date_check("date"),
        holds("is_no_count", f"date is not a {EPOCH}"),
        holds("is_day", "date is a day of the calendar"),
        holds("is_past", f"date is not after {tomorrow}"),
    ]


_CONTENT_CHECKS = [
    holds("fits", "user_id, task and release, where the row has them, are those of a prediction of this request"),
    holds("is_single", "request_id is of one user and one task; if not, the row names them"),
    holds("is_known", "the task of its prediction is known here"),
    holds("is_candidate", "chosen is one of the candidates that the prediction keeps"),
    holds("is_allowed", "the answer is one of the task's, as it is defined now"),
    holds("has_input", "the request lies in data/requests as it was scored; if it does not, the row has its input"),
]


def _verdict(value: Mapping[str, Any], tomorrow: str) -> dict[str, Any]:
    """What the row says by itself: request_id (None missing, "" no text), verdict, is_rating, answer ("" none), date;
    and whether each can be read."""
    try:
        request_id, fault = read_text(value, "request_id"), ""
    except Fault as error:
        fault = error.kind
        request_id = None if fault == "missing" else "?" if fault == "rounded" else ""  # type: ignore[assignment]
    day, when = "", ""
    if has_date(value):
        try:
            day = read_date(value)
        except Fault as error:
            day, when = ("" if error.kind in ("epoch", "no day") else "no date"), error.kind
    named = [name for name in (*FLAGS, *TEXTS, "rating") if _is_given(value.get(name), name)]
    verdict, answer, is_told = _told(value, named[0]) if named else ("rejected", "", True)
    return {
        "request_id": request_id,
        "is_exact": fault != "rounded",
        "is_one": len(named) == 1,
        "is_told": is_told,
        "verdict": verdict,
        "is_rating": named == ["rating"],
        "answer": answer,
        "date": day,
        "is_no_count": when != "epoch",
        "is_day": when != "no day",
        "is_past": day <= tomorrow or not day[:1].isdigit(),
    }


def _is_given(value: object, name: str) -> bool:
    """Whether the column says anything: a table has all of them in every row."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return False
    return not (name in FLAGS and str(value).strip().lower() in NO)


def _told(value: Mapping[str, Any], name: str) -> tuple[Verdict, str, bool]:
    """The verdict, its answer if it brings one, and whether it can be read."""
    if name in FLAGS:
        return ("accepted" if name == "accepted" else "rejected"), "", str(value[name]).strip().lower() in YES
    if name == "rating":
        liked = str(value[name]).strip().removeprefix("+") in YES - {"true"}
        return ("accepted" if liked else "rejected"), "", liked or str(value[name]).strip() in {"-1", "-1.0"}
    try:
        answer, is_told = read_text(value, name, closed=True), True
    except Fault:
        answer, is_told = "", False
    return ("chosen" if name == "chosen" else "edited"), answer, is_told


def _match(
    value: Mapping[str, Any], predictions: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any] | None, Task | None, dict[str, bool]]:
    """The prediction that the row is of, its task, and whether there is one such and no more."""
    named = {key: _name(value, key) for key in ("user_id", "task", "release")}
    fitting = [
        row
        for row in predictions
        if named["user_id"] in (None, row["user_id"])
        and named["task"] in (None, row["folder"])
        and named["release"] in (None, row["release"])
    ]
    is_single = len({(row["user_id"], row["folder"]) for row in fitting}) <= 1
    row = fitting[-1] if fitting and is_single else None
    task = _task(row["folder"]) if row else None
    return row, task, {"fits": bool(fitting), "is_single": is_single, "is_known": row is None or task is not None}


def _name(value: Mapping[str, Any], key: str) -> str | None:
    """What the row names; None where it names nothing. A name that cannot be read fits nothing."""
    if is_missing(value.get(key)) or value.get(key) == "":
        return None
    try:
        name = read_text({**value, "id": value[key]}, "user_id" if key == "user_id" else "id")
    except Fault:
        return ""
    task = _task(name) if key == "task" else None
    return task.folder if task else name


def _task(name: str) -> Task | None:
    try:
        return get_task(name)
    except ParamsError:
        return None


def _feedback(
    verdict: Mapping[str, Any],
    value: Mapping[str, Any],
    row: Mapping[str, Any],
    task: Task,
    texts: Mapping[tuple[Path, str], tuple[str, str]],
) -> Feedback:
    """What was said, joined with the prediction."""
    user_id, input = texts.get((row["path"], row["request_id"]), ("", ""))
    if user_id != row["user_id"]:
        input = _own_input(value, task)
    answer = {"accepted": row["prediction"], "rejected": None}.get(verdict["verdict"], verdict["answer"])
    if answer is not None and task.labels:
        answer = task.spelled(answer.strip())
    return Feedback(
        request_id=row["request_id"],
        user_id=row["user_id"],
        verdict=verdict["verdict"],
        is_rating=bool(verdict["is_rating"]),
        answer=answer,
        date=verdict["date"] or answered_on(row["path"]),
        input=input,
        release=row["release"],
        prediction=row["prediction"],
        generic_prediction=row["generic_prediction"],
        personalization=row["personalization"],
        chosen_record_ids=row["chosen_record_ids"] or [],
        candidates=shown_candidates(row["candidates"] or [], row["prediction"], verdict["verdict"]),
    )


def _own_input(value: Mapping[str, Any], task: Task) -> str:
    try:
        return "" if is_missing(value.get("input")) else read_text(value, "input")
    except Fault:
        return ""


def _content(said: Feedback | None, task: Task | None) -> dict[str, bool]:
    """Whether the answer is one that can have been given, and what was asked is known. True where there is nothing to
    compare with: such a row has failed already."""
    if said is None or task is None:
        return {"is_candidate": True, "is_allowed": True, "has_input": True}
    answers = {one.answer for one in said.candidates}
    return {
        "is_candidate": said.verdict != "chosen" or said.answer in answers,
        "is_allowed": said.answer is None or not task.labels or said.answer in task.labels,
        "has_input": said.answer is None or said.input != "",
    }

"""Requests, from files of rows.

A request that cannot be answered becomes a dead letter with its line and the reason, never dropped; a reason holds no
word of what the request says. Which records a request may be answered from is `answering.score_requests`'s affair.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.arrivals import DEPTH
from hydra_ml.io.bounded_json import parse_json
from hydra_ml.io.predictions import DeadLetter
from hydra_ml.io.record_reader import Fault, has_date, is_missing, read_date, read_item, read_text
from hydra_ml.io.row_files import TAKEN, format_of, read_rows
from hydra_ml.io.task_files import get_task, known_tasks
from hydra_ml.learning.history import made_record, read_record
from hydra_ml.records import Record, Request
from hydra_ml.tasks import as_folder
from hydra_ml.tasks.task import Task

SHARED = (
    "requests"  # data/requests: each task's batch takes its own of a file that lies outside of the tasks' folders there
)


class Unfit(ValueError):
    """Why one request cannot be answered."""


def read_requests(path: Path, task: Task) -> tuple[list[Request], list[DeadLetter]]:
    """The task's requests, in order, and what is none. Raises DataError if the file cannot be read or holds nothing.

    Another task's request is a dead letter, unless the file is shared: then it is left to its task.
    """
    if not format_of(path) and not path.is_dir():
        raise DataError(f"{path}: requests are read from files that end in {TAKEN}, and from folders of such.")
    requests: list[Request] = []
    dead: list[DeadLetter] = []
    first_line: dict[str, int] = {}
    every_tasks = is_shared(path)
    for row in read_rows(path):
        request_id, line, entry = "", row.number, row.value
        try:
            if row.fault:
                raise Unfit(row.fault)
            if not isinstance(entry, dict):
                raise Unfit("not a JSON object")
            if every_tasks and _is_of_another(entry, task):
                continue
            request_id = _text(entry, "request_id")
            if request_id in first_line:
                raise Unfit(f"request_id repeated; it stands on line {first_line[request_id]} already")
            first_line[request_id] = line
            requests.append(read_request(entry, task, line))
        except Unfit as problem:
            dead.append(DeadLetter(request_id, line, str(problem)))
    if not requests and not dead:
        raise DataError(f"{path}: holds no request for {task.name}. A request has request_id, user_id, task and input.")
    return requests, dead


@contextmanager
def requests_of_stdin(cache: Path) -> Iterator[Path]:
    """A file of what standard input holds, which goes with the block: a batch is known by its content."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".stdin-", dir=cache) as folder:
        path = Path(folder) / "stdin.jsonl"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def is_shared(path: Path) -> bool:
    """Whether the file lies in data/requests, or a folder of it that is not one task's."""
    names = [folder.name for folder in path.absolute().parents[: DEPTH + 1]]
    above = names[: names.index(SHARED)] if SHARED in names else [*known_tasks()]
    return not known_tasks().keys() & set(above)


def read_request(entry: Mapping[str, Any], task: Task, line: int = 1) -> Request:
    """The request in a decoded object; of an own task its input is the bare text. Raises Unfit with the reason;
    fields beyond the known ones are overlooked."""
    _check_task(_text(entry, "task"), task)
    user_id, input = _text(entry, "user_id"), _text(entry, "input")
    other = next((found for found in known_tasks().values() if found.folder != task.folder and found.asks(input)), None)
    if other is not None and not task.asks(input):
        raise Unfit(f"its input is a question of {other.name}, not of {task.name}")
    history = entry.get("history")
    records = None if is_missing(history) else tuple(read_history(history, user_id, task))
    return Request(_text(entry, "request_id"), user_id, input, line, records)


def read_history(history: object, user_id: str, task: Task) -> list[Record]:
    """The records of a request's history, each once, in the order given. Raises Unfit.

    history: a list, or the JSON of one, of the task's LaMP items, or of records (input, answer, optional text and
    date). A record's id names its content, whatever id it came with.
    """
    if isinstance(history, str):
        try:
            history = parse_json(history)
        except ValueError:
            raise Unfit("history is not JSON") from None
    if not isinstance(history, list):
        raise Unfit("history is not a list")
    dated = any(isinstance(item, dict) and has_date(item) for item in history)
    records = [_record(item, place, user_id, task, dated) for place, item in enumerate(history, start=1)]
    return list({record.record_id: record for record in reversed(records)}.values())[::-1]


def _text(entry: Mapping[str, Any], name: str) -> str:
    try:
        return read_text(entry, name)
    except Fault as fault:
        raise Unfit(str(fault)) from None


def _is_of_another(entry: Mapping[str, Any], task: Task) -> bool:
    """Whether the entry names a task, and that is not this one."""
    try:
        name = _text(entry, "task")
        return as_folder(name) != as_folder(task.folder) and get_task(name).folder != task.folder
    except (ParamsError, Unfit):
        return False


def _check_task(name: str, task: Task) -> None:
    if as_folder(name) == as_folder(task.folder):  # also where the project's tasks/ is not: a release knows its own
        return
    try:
        found = get_task(name)
    except ParamsError:
        raise Unfit("task is none that is known here") from None
    raise Unfit(f"is for {found.name}; this batch scores {task.name}")


def _record(item: object, place: int, user_id: str, task: Task, dated: bool) -> Record:
    if not isinstance(item, dict):
        raise Unfit(f"history item {place} is not an object")
    is_sent = "input" in item and "answer" in item and not set(task.item_keys) <= item.keys()
    try:
        if is_sent:
            return _sent_record(item, user_id, task, dated)
        return read_record(task, user_id, read_item(item, task, dated=dated))
    except Fault as fault:
        needed = ", ".join((*(("input", "answer") if is_sent else task.item_keys), *(["date"] if dated else [])))
        allowed = ", its answer one of the task's" if task.kind in ("label", "rating") else ""
        raise Unfit(
            f"history item {place} is no record of {task.name} ({fault}): it needs the texts {needed}{allowed}"
        ) from None


def _sent_record(item: Mapping[str, Any], user_id: str, task: Task, dated: bool) -> Record:
    """A record that was sent as such. Raises Fault if its texts are none or its answer is not the task's."""
    input = read_text(item, "input")
    answer = read_text(item, "answer") if item["answer"] != "" else ""
    text = task.query_text(input) if is_missing(item.get("text")) else read_text(item, "text")
    date = read_date(item) if dated else ""
    if task.kind in ("label", "rating") and answer not in task.labels:
        raise Fault("no text", "answer is outside the task's set")
    return made_record(user_id, text=text, input=input, answer=answer, date=date)

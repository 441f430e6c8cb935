"""Requests, as JSONL or Parquet, and what we keep of their users.

A request that cannot be answered becomes a dead letter with its line and the reason, never dropped; a reason holds no
word of what the request says. Which records a request may be answered from is `scoring.give_profiles`'s affair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.errors import ArtifactError, DataError, ParamsError
from hydra_ml.io.history_store import records_of
from hydra_ml.io.lamp.checks import Problems, checked_date, checked_item
from hydra_ml.io.layout import task_folder
from hydra_ml.io.parquet_rows import UNREADABLE, parquet_rows
from hydra_ml.io.predictions import DeadLetter
from hydra_ml.io.user_tables import read_users
from hydra_ml.learning.history import read_record
from hydra_ml.records import RECORD_COLUMNS, Record, Request, content_digest, normalized
from hydra_ml.tasks import TASKS, get_task
from hydra_ml.tasks.task import Task

ENDINGS = (".jsonl", ".parquet")
SHARED = "requests"  # data/requests: each task's batch takes its own of a file that lies in this folder itself


class Unfit(ValueError):
    """Why one request cannot be answered."""


def read_requests(path: Path, task: Task) -> tuple[list[Request], list[DeadLetter]]:
    """The task's requests, in order, and what is none. Raises DataError if the file cannot be read or holds nothing.

    Another task's request is a dead letter, unless the file lies in data/requests itself: then it is left to its task.
    """
    if path.suffix not in ENDINGS:
        raise DataError(f"{path}: requests are read from files that end in {' or '.join(ENDINGS)}.")
    requests: list[Request] = []
    dead: list[DeadLetter] = []
    first_line: dict[str, int] = {}
    is_shared = path.absolute().parent.name == SHARED
    for line, raw in _entries(path):
        request_id = ""
        try:
            entry = _decoded(raw)
            if is_shared and _is_of_another(entry, task):
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


def read_request(entry: Mapping[str, Any], task: Task, line: int = 1) -> Request:
    """The request in a decoded object. Raises Unfit with the reason; fields beyond the known ones are overlooked."""
    _check_task(_text(entry, "task"), task)
    user_id, input = _text(entry, "user_id"), _text(entry, "input")
    other = next((found for found in TASKS.values() if found is not task and _leads_in(input, found)), None)
    if other is not None and not _leads_in(input, task):
        raise Unfit(f"its input is a question of {other.name}, not of {task.name}")
    history = entry.get("history")
    records = None if history is None else tuple(read_history(history, user_id, task))
    return Request(_text(entry, "request_id"), user_id, input, line, records)


def read_history(history: object, user_id: str, task: Task) -> list[Record]:
    """The records of a request's history, each once, in the order given. Raises Unfit.

    history: a list, or the JSON of one, of the task's LaMP items, or of records (input, answer, optional text and
    date). A record's id names its content, whatever id it came with.
    """
    if isinstance(history, str):
        try:
            history = json.loads(history)
        except (ValueError, RecursionError):  # the latter: brackets thousands deep
            raise Unfit("history is not JSON") from None
    if not isinstance(history, list):
        raise Unfit("history is not a list")
    items = [_without_gaps(item, place) for place, item in enumerate(history, start=1)]
    dated = any("date" in item for item in items)
    records = [_record(item, place, user_id, task, dated) for place, item in enumerate(items, start=1)]
    return list({record.record_id: record for record in reversed(records)}.values())[::-1]


def stored_records(data: Path, task: Task, user_ids: Iterable[str]) -> pd.DataFrame:
    """What we keep of these users: RECORD_COLUMNS, each record once, each user's oldest first.

    From data/prepare/<task>/records.parquet and the drops in data/history/<task>; row groups of other users are not
    read. Raises ArtifactError if a table is missing or damaged.
    """
    wanted = sorted(set(user_ids))
    if not wanted:
        return pd.DataFrame({name: [] for name in RECORD_COLUMNS}, dtype="str")
    path = task_folder(data, "prepare", task) / "records.parquet"
    try:
        with pq.ParquetFile(path) as table:
            prepared: pd.DataFrame = read_users(table, wanted, RECORD_COLUMNS).to_pandas()
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such table. Run `dvc pull` to get it, or `dvc repro` to make it.") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path}: cannot be read as Parquet ({error}). Run `dvc checkout` or `dvc repro`."
        ) from error
    both = pd.concat([prepared, records_of(task_folder(data, "history", task), wanted)], ignore_index=True)
    both = both.drop_duplicates(["user_id", "record_id"])
    return both.sort_values(["user_id", "date"], kind="stable", ignore_index=True)


def _entries(path: Path) -> Iterator[tuple[int, object]]:
    """Line and content of each request: undecoded lines of JSONL, rows of Parquet."""
    try:
        if path.suffix == ".parquet":
            yield from enumerate(parquet_rows(path), start=1)
        else:
            with path.open("rb") as lines:
                yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]}).") from error


def _decoded(raw: object) -> dict[str, Any]:
    if isinstance(raw, bytes):
        try:
            raw = json.loads(raw.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise Unfit("not UTF-8") from None
        except (ValueError, RecursionError):
            raise Unfit("not JSON") from None
    if not isinstance(raw, dict):
        raise Unfit("not a JSON object")
    return raw


def _text(entry: Mapping[str, Any], name: str) -> str:
    """The field as text; ids may be whole numbers."""
    value = entry.get(name)
    if value is None:
        raise Unfit(f"lacks {name}")
    if value is UNREADABLE:
        raise Unfit(f"{name} cannot be read")
    if type(value) is int and name.endswith("_id"):
        return str(value)
    if not isinstance(value, str):
        raise Unfit(f"{name} is not a text")
    if not value.strip():
        raise Unfit(f"{name} is empty")
    if not _is_writable(value):
        raise Unfit(f"{name} holds half a character (a lone surrogate)")
    return value


def _is_writable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_of_another(entry: Mapping[str, Any], task: Task) -> bool:
    """Whether the entry names a task, and that is not this one."""
    try:
        return get_task(_text(entry, "task")) is not task
    except (ParamsError, Unfit):
        return False


def _check_task(name: str, task: Task) -> None:
    try:
        found = get_task(name)
    except ParamsError:
        raise Unfit("task is none of LaMP's") from None
    if found is not task:
        raise Unfit(f"is for {found.name}; this batch scores {task.name}")


def _leads_in(input: str, task: Task) -> bool:
    """Whether the input begins as the task's own questions do: the first four words tell all tasks apart."""
    return input.split(maxsplit=4)[:4] == task.instruction.split(maxsplit=4)[:4]


def _without_gaps(item: object, place: int) -> dict[str, Any]:
    """The item without empty fields, which Parquet puts where other rows have a value."""
    if not isinstance(item, dict):
        raise Unfit(f"history item {place} is not an object")
    return {key: value for key, value in item.items() if value is not None}


def _record(item: dict[str, Any], place: int, user_id: str, task: Task, dated: bool) -> Record:
    needed = ", ".join((*task.item_keys, *(["date"] if dated else [])))
    problems = Problems(Path("history"))
    if "input" in item and "answer" in item and not set(task.item_keys) <= item.keys():
        record = _sent_record(item, user_id, task, problems)
        needed = "input, answer" + (", date" if dated else "")
        problems.count += dated and "date" not in item
    else:
        checked = checked_item({"id": str(place), **item}, task, dated, "item", problems)
        record = read_record(task, user_id, checked) if checked is not None else None
    if record is None or problems.count:
        allowed = ", its answer one of the task's" if task.kind in ("label", "rating") else ""
        raise Unfit(f"history item {place} is no record of {task.name}: it needs the texts {needed}{allowed}")
    return record


def _sent_record(item: Mapping[str, Any], user_id: str, task: Task, problems: Problems) -> Record | None:
    """A record that was sent as such; None if its texts are none or its answer is not the task's."""
    input, answer = item["input"], item["answer"]
    if not (isinstance(input, str) and input.strip() and isinstance(answer, str)):
        return None
    text = item.get("text", task.query_text(input))
    date = checked_date(dict(item), "item", problems) if "date" in item else ""
    if not isinstance(text, str) or not all(map(_is_writable, (input, answer, text))):
        return None
    if task.kind in ("label", "rating") and answer not in task.labels:
        return None
    content = "\x1f".join((user_id, normalized(text), normalized(answer), date))
    return Record(content_digest(content)[:16], user_id, text, input, answer, date)

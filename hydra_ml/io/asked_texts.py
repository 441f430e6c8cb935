"""What was asked of requests that were answered, from the files in data/requests that still lie there.

Predictions hold no text of a request: a batch knows its file of requests by its content alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.arrivals import look
from hydra_ml.io.batch_folder import BatchFolder, content_of
from hydra_ml.io.layout import common_folder
from hydra_ml.io.requests import Unfit, read_request
from hydra_ml.io.row_files import read_rows
from hydra_ml.records import Request
from hydra_ml.tasks.task import Task


def asked_texts(wanted: Iterable[tuple[Path, Task, str]], data: Path) -> dict[tuple[Path, str], tuple[str, str]]:
    """By (file of predictions, request id) the user and the task's input, for those of `wanted` whose file of requests
    is there as it was. Files are read once each, and only where something is wanted."""
    by_content: dict[str, list[tuple[Path, Task]]] = {}
    ids: dict[Path, set[str]] = {}
    for path, task, request_id in wanted:
        ids.setdefault(path, set()).add(request_id)
        facts = BatchFolder(path.with_suffix("")).known_facts() if len(ids[path]) == 1 else None
        if facts is not None:
            by_content.setdefault(facts.content, []).append((path, task))
    found: dict[tuple[Path, str], tuple[str, str]] = {}
    for file in look(common_folder(data, "requests")).taken if by_content else []:
        try:
            for path, task in by_content.get(content_of(file), []):
                found |= _texts_of(file, path, task, ids[path])
        except DataError:  # unreadable now: its requests' texts are not known
            continue
    return found


def answered_on(predictions: Path) -> str:
    """The day, in UTC, that the batch was finished; "" where nothing says so."""
    report = predictions.with_suffix("") / "report.json"
    try:
        return str(BatchFolder(report.parent).report().batch.get("scored_at", ""))[:10] if report.exists() else ""
    except ArtifactError:
        return ""


def asked_request(
    predictions: Path, task: Task, request_id: str, data: Path, more: Sequence[Path] = ()
) -> Request | None:
    """The request as it was sent, its history with it; None where no file holds it. Looked through are the files of
    data/requests whose content the batch was of, and before them `more`, whatever their content."""
    facts = BatchFolder(predictions.with_suffix("")).known_facts()
    lying = look(common_folder(data, "requests")).taken if facts else []
    for file in (*more, *lying):
        try:
            if file not in more and facts is not None and content_of(file) != facts.content:
                continue
            found = next((one for one in _requests_in(file, task) if one.request_id == request_id), None)
        except DataError:
            if file in more:
                raise
            continue
        if found is not None:
            return found
    return None


def _texts_of(file: Path, path: Path, task: Task, ids: set[str]) -> dict[tuple[Path, str], tuple[str, str]]:
    found: dict[tuple[Path, str], tuple[str, str]] = {}
    for asked in _requests_in(file, task, with_history=False):
        if asked.request_id in ids:
            found.setdefault((path, asked.request_id), (asked.user_id, asked.input))
    return found


def _requests_in(file: Path, task: Task, *, with_history: bool = True) -> Iterator[Request]:
    """The task's requests of a file; what is none is left out."""
    for row in read_rows(file):
        if isinstance(row.value, dict) and not row.fault:
            try:
                yield read_request(row.value if with_history else {**row.value, "history": None}, task)
            except Unfit:
                continue

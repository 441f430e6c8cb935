"""why: what was predicted for one request and what it was chosen from, told for the operator's own terminal.

Reads the batch's predictions, which hold ids and figures; the records' texts come from data/ when they are told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.errors import ArtifactError, DataError, ParamsError
from hydra_ml.io.batch_folder import BatchFolder
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.predictions import load_dead_letters, load_predictions
from hydra_ml.io.task_files import get_task
from hydra_ml.tasks.task import Task

WIDTH = 100  # characters told of a record's text
SERVED = {
    "personal": "with heads of the user's own",
    "shared": "with the shared heads and the user's own records: this user has no head yet",
    "none": "with the shared heads alone: nothing is known of this user",
}


def why_text(predictions: Path, request_id: str, data: Path, others: Sequence[Path] = ()) -> str:
    """Prediction, generic prediction, the records shown to the LLM, and every candidate's votes and scores.

    predictions: what batch scoring wrote, data/predictions/<task>/<name>.parquet. others: further such files that
    answer the request, told side by side: what an earlier release said of it. Raises DataError if it is no such file,
    or holds no prediction for the request; if the request was refused, with the reason.
    """
    task = _task_of(predictions)
    table = load_predictions(predictions)
    found = table[table["request_id"] == request_id]
    if found.empty:
        raise DataError(_not_there(predictions, request_id, table["request_id"].tolist()))
    row = {str(name): value for name, value in found.iloc[0].items()}
    served = SERVED.get(row["personalization"], row["personalization"])
    lines = [
        f"request     {request_id} of user {row['user_id']}, {task.name}, release {row['release']}{_when(predictions)}",
        f"prediction  {row['prediction']}",
        f"generic     {_generic(row)}",
        f"served      {served}; {row['n_history']} records of history",
        f"cost        {row['llm_calls']} LLM calls; tokens {row['tokens_in']} in, {row['tokens_out']} out",
        *([f"trouble     {row['error']}"] if row["error"] else []),
        "",
        *_record_lines(row, stored_records(data, task, [row["user_id"]])),
        "",
        *_beside(row, request_id, others),
        "candidates (score: 1 more is 2.7 times as likely this user's choice; personal counts, shared is everybody's)",
        *_candidate_lines(row["candidates"] or [], row["prediction"]),
    ]
    return "\n".join(lines)


def _when(predictions: Path) -> str:
    """When the batch was finished, if its report is there and says so."""
    report = predictions.with_suffix("") / "report.json"
    try:
        at = str(BatchFolder(report.parent).report().batch.get("scored_at", "")) if report.exists() else ""
    except ArtifactError:  # it says only when, and the predictions are there
        at = ""
    return f", {at}" if at else ""


def _beside(row: Mapping[str, Any], request_id: str, others: Sequence[Path]) -> list[str]:
    """This answer and what other batches said of the same request, a line each."""
    rows = [(row["release"], row["prediction"], row["personalization"], "")]
    for path in others:
        table = load_predictions(path)
        for _, other in table[table["request_id"] == request_id].iterrows():
            rows.append((other["release"], other["prediction"], other["personalization"], _when(path)))
    if len(rows) == 1:
        return []
    lines = [f"  release {release}: {said}  ({served}{at})" for release, said, served, at in rows]
    return ["answers to this request", *lines, ""]


def _task_of(predictions: Path) -> Task:
    try:
        return get_task(predictions.resolve().parent.name)
    except ParamsError:
        raise DataError(
            f"{predictions}: lies in no task's folder. Name a file data/predictions/<task>/<name>.parquet."
        ) from None


def _not_there(predictions: Path, request_id: str, known: Sequence[str]) -> str:
    for letter in load_dead_letters(predictions.with_suffix("") / "dead_letters.jsonl"):
        if letter.request_id == request_id:
            return f"request {request_id!r} was not answered: {letter.reason} (line {letter.line} of the requests)."
    some = ", ".join(map(repr, known[:3])) or "none at all"
    return f"{predictions}: holds no request {request_id!r}; it holds {len(known)}: {some}{' ...' * (len(known) > 3)}."


def _generic(row: Mapping[str, Any]) -> str:
    if pd.isna(row["generic_prediction"]):
        return "(nothing the task can read)"
    same = row["generic_prediction"] == row["prediction"]
    return f"{row['generic_prediction']}{' (the same)' if same else ''}"


def _record_lines(row: Mapping[str, Any], records: pd.DataFrame) -> list[str]:
    if not row["chosen_record_ids"]:
        return ["records shown to the LLM: none"]
    kept = records.set_index("record_id")
    lines = ["records shown to the LLM, most useful first"]
    for record_id in row["chosen_record_ids"]:
        if record_id not in kept.index:
            lines.append(f"  {record_id}  (came with the request: its text is not kept)")
            continue
        record = kept.loc[record_id]
        lines.append(f"  {record_id}  {record['date'] or 'undated'}  {_short(record['text'])} -> {record['answer']}")
    return lines


def _candidate_lines(candidates: Sequence[Mapping[str, Any]], chosen: str) -> list[str]:
    lines = ["     votes  personal    shared  answer"]
    whole = [one for one in candidates if one is not None and None not in one.values()]
    for candidate in sorted(whole, key=lambda one: -one["personal"]):
        mark = "->" if candidate["answer"] == chosen else "  "
        figures = f"{candidate['votes']:5d}  {candidate['personal']:8.3f}  {candidate['shared']:8.3f}"
        lines.append(f"  {mark} {figures}  {_short(candidate['answer'])}")
    return lines


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."

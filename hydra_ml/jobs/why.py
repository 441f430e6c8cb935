"""why: what was predicted for one request and what it was chosen from, told for the operator's own terminal or as a
page.

Reads the batch's predictions, which hold ids and figures; the texts come from data/, and the parts of the score from
`jobs.explain`, which works the answer out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.errors import ArtifactError, DataError, ParamsError
from hydra_ml.evaluation.explanation import Candidate, Explanation, UsedRecord
from hydra_ml.io.batch_folder import BatchFolder
from hydra_ml.io.feedback_store import stored_feedback
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.predictions import load_dead_letters, load_predictions
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.explain import explain
from hydra_ml.jobs.why_text import text_of
from hydra_ml.params import LLM
from hydra_ml.predictions import whole_candidates
from hydra_ml.tasks.task import Task

SERVED = {
    "personal": "with heads of the user's own",
    "shared": "with the shared heads and the user's own records: this user has no head yet",
    "none": "with the shared heads alone: nothing is known of this user",
}


def why_text(predictions: Path, request_id: str, data: Path, others: Sequence[Path] = ()) -> str:
    """What the prediction itself tells: nothing is worked out. Arguments and errors as `why`."""
    return text_of(why(predictions, request_id, data, others))


def why(
    predictions: Path,
    request_id: str,
    data: Path,
    others: Sequence[Path] = (),
    *,
    registry: Registry | None = None,
    cache: Path = Path(".cache"),
    llm: LLM | None = None,
    ask: bool = False,
    files: Sequence[Path] = (),
) -> Explanation:
    """Why the request was answered as it was; with a registry and settings of how to call the LLM, taken apart.

    predictions: what batch scoring wrote, data/predictions/<task>/<name>.parquet. others: further such files that
    answer the request: what an earlier release said of it. ask: buy what the LLM would say without each record.
    files: of requests, where data/requests lacks it. Raises DataError if it is no such file, or holds no prediction
    for the request; if the request was refused, with the reason.
    """
    task = _task_of(predictions)
    table = load_predictions(predictions)
    found = table[table["request_id"] == request_id]
    if found.empty:
        raise DataError(_not_there(predictions, request_id, table["request_id"].tolist()))
    row = {str(name): value for name, value in found.iloc[0].items()}
    told = _told(row, predictions, task, data, others)
    if registry is None or llm is None:
        return told
    told = _with_release(told, row, task, registry)
    return explain(
        told, row, predictions, task, data=data, registry=registry, cache=cache, llm=llm, ask=ask, files=files
    )


def _told(row: Mapping[str, Any], path: Path, task: Task, data: Path, others: Sequence[Path]) -> Explanation:
    """What the prediction itself says, and the texts of the records it names."""
    same = "" if pd.isna(row["generic_prediction"]) else str(row["generic_prediction"])
    kept = whole_candidates(row["candidates"])
    return Explanation(
        request_id=str(row["request_id"]),
        user_id=str(row["user_id"]),
        task=task.name,
        prediction=str(row["prediction"]),
        generic=same or None,
        score=None if pd.isna(row["score"]) else float(row["score"]),
        served=SERVED.get(row["personalization"], str(row["personalization"])),
        n_history=int(row["n_history"]),
        cost=f"{row['llm_calls']} LLM calls; tokens {row['tokens_in']} in, {row['tokens_out']} out",
        trouble=str(row["error"] or ""),
        facts={"release": str(row["release"]), **({"answered": at} if (at := _when(path)) else {})},
        candidates=tuple(
            Candidate(one["answer"], one["votes"], one["personal"], one["shared"], one["answer"] == row["prediction"])
            for one in sorted(kept, key=lambda one: -one["personal"])
        ),
        records=_records(row, stored_records(data, task, [row["user_id"]])),
        others=tuple(_beside(row, path, others)),
        feedback=tuple(_feedback(row, task, data)),
    )


def _with_release(told: Explanation, row: Mapping[str, Any], task: Task, registry: Registry) -> Explanation:
    """With what its release was made from, where the registry still has it."""
    try:
        _, release = registry.release(task, str(row["release"]))
    except ArtifactError as error:
        reason = str(error).partition("\n")[0]
        return replace(told, missing=(*told.missing, f"what release {row['release']} was made from: {reason}"))
    facts = {
        "data": release.data_version,
        "LLM": release.llm,
        "made": f"by {release.made_by}, {release.made_at}",
        **({"commit": release.git_commit} if release.git_commit else {}),
    }
    return replace(told, facts={**told.facts, **facts})


def _when(predictions: Path) -> str:
    """When the batch was finished, if its report is there and says so."""
    report = predictions.with_suffix("") / "report.json"
    try:
        return str(BatchFolder(report.parent).report().batch.get("scored_at", "")) if report.exists() else ""
    except ArtifactError:  # it says only when, and the predictions are there
        return ""


def _beside(row: Mapping[str, Any], path: Path, others: Sequence[Path]) -> list[str]:
    """This answer and what other batches said of the same request, a line each; none where no other did."""
    rows = [(row["release"], row["prediction"], row["personalization"], "")]
    for other in others:
        table = load_predictions(other)
        for _, one in table[table["request_id"] == row["request_id"]].iterrows():
            at = _when(other)
            rows.append((one["release"], one["prediction"], one["personalization"], f", {at}" if at else ""))
    if len(rows) == 1:
        return []
    return [f"release {release}: {said}  ({served}{at})" for release, said, served, at in rows]


def _feedback(row: Mapping[str, Any], task: Task, data: Path) -> list[str]:
    """What the user said of this request's answers, a line each, as it came."""
    said = stored_feedback(data, task, ["request_id", "user_id", "verdict", "answer", "date", "release"])
    said = said[(said["request_id"] == row["request_id"]) & (said["user_id"] == row["user_id"])]
    answers = [f": {answer}" if answer else "" for answer in said["answer"]]
    columns = (said[name] for name in ("date", "verdict", "release"))
    return [
        f"{date}  {verdict}{answer}, of release {release}"
        for date, verdict, release, answer in zip(*columns, answers, strict=True)
    ]


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


def _records(row: Mapping[str, Any], stored: pd.DataFrame) -> tuple[UsedRecord, ...]:
    """The records that the prediction names, most useful first."""
    kept = stored.set_index("record_id")
    found = []
    for record_id in row["chosen_record_ids"] or []:
        there = kept.loc[record_id] if record_id in kept.index else None
        asked, answer, date = ("", "", "") if there is None else (there["text"], there["answer"], there["date"])
        found.append(UsedRecord(str(record_id), str(date), str(asked), str(answer), ("hydra",), None))
    return tuple(found)

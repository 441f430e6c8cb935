"""Feedback: what a user said of an answer they were given, and the record that becomes of it.

Knows nothing of files: `io.feedback` keeps it, `jobs.feedback` takes it in, `answering.feedback` learns from choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from hydra_ml.learning.history import made_record
from hydra_ml.records import Record, content_digest
from hydra_ml.tasks.task import Task

CHOICE_COLUMNS = {
    "query_id": "str",
    "answer": "str",
    "votes": "int64",
    "greedy_share": "float64",
    "n_samples": "int64",
    "is_shown": "bool",
}
Verdict = Literal["accepted", "chosen", "edited", "rejected"]  # a rating of 1 is "accepted", of -1 "rejected"


@dataclass(frozen=True, slots=True)
class Shown:
    """One candidate of the answered request, as its prediction kept it."""

    answer: str
    votes: int
    personal: float
    shared: float
    greedy_share: float | None  # of the greedy answers; None of predictions from before it was kept
    place: int  # in the prediction's list, from 0
    is_served: bool  # it was the answer given
    is_shown: bool  # the user surely saw it: all of a list that was chosen from, else the answer given alone


@dataclass(frozen=True, slots=True)
class Feedback:
    """What one user said of one answer, joined with the prediction that it is of."""

    request_id: str
    user_id: str
    verdict: Verdict
    is_rating: bool  # sent as a rating
    answer: str | None  # the user's final one; None where they rejected what they got and gave no other
    date: str
    input: str  # the task's input; "" where it is not known, which only a rejection may lack
    release: str
    prediction: str
    generic_prediction: str | None
    personalization: str
    chosen_record_ids: Sequence[str]
    candidates: Sequence[Shown]

    @property
    def row_id(self) -> str:
        """Names what was said: the same row again has the same."""
        parts = (self.request_id, self.user_id, self.verdict, str(self.is_rating), self.answer or "", self.date)
        return content_digest("\x1f".join(parts))[:16]


def shown_candidates(candidates: Sequence[dict[str, Any]], prediction: str, verdict: Verdict) -> list[Shown]:
    """The candidates of a prediction with their places, and which of them the verdict says were seen."""
    return [
        Shown(
            answer=one["answer"],
            votes=int(one["votes"]),
            personal=float(one["personal"]),
            shared=float(one["shared"]),
            greedy_share=one["greedy_share"],
            place=place,
            is_served=one["answer"] == prediction,
            is_shown=verdict == "chosen" or one["answer"] == prediction,
        )
        for place, one in enumerate(candidates)
    ]


def choices_of(said: pd.DataFrame, queries: pd.DataFrame) -> pd.DataFrame:
    """What standing choices say of the pseudo-queries of the records they brought: CHOICE_COLUMNS, a row each candidate
    that was kept of the answer.

    said: user_id, record_id, verdict, answer, candidates; of two that brought one record the last counts. queries:
    QUERY_COLUMNS. A choice is one among at least two candidates that the user saw; taking the one answer that was
    shown is none. Choices kept before greedy shares were have no row: their records are learned like any other.
    """
    last = said[(said["verdict"] == "chosen") & (said["record_id"] != "")]
    columns = (last[name] for name in ("user_id", "record_id", "answer", "candidates"))
    picked = {(user_id, record_id): kept for user_id, record_id, *kept in zip(*columns, strict=True)}
    asked = queries[queries["role"] == "train"]
    rows = []
    for query_id, *key in zip(asked["query_id"], asked["user_id"], asked["source_record_id"], strict=True):
        answer, candidates = picked.get((key[0], key[1]), (None, ()))
        seen = [one["answer"] for one in candidates if one["is_shown"]]
        if len(seen) < 2 or answer not in seen or any(one["greedy_share"] is None for one in candidates):
            continue
        n_samples = sum(one["votes"] for one in candidates)
        names = ("answer", "votes", "greedy_share", "is_shown")
        rows += [
            {"query_id": query_id, "n_samples": n_samples, **{name: one[name] for name in names}} for one in candidates
        ]
    table = pd.DataFrame(rows, columns=list(CHOICE_COLUMNS))
    return table.astype(CHOICE_COLUMNS).sort_values("query_id", kind="stable", ignore_index=True)


def feedback_record(task: Task, said: Feedback) -> Record | None:
    """The record of the user's final answer; None for a rejection, and for a choice between references (LaMP-1), whose
    history holds what the user wrote and no choices."""
    if said.answer is None or task.kind == "choice":
        return None
    return record_of(task, said.user_id, said.input, said.answer, said.date)


def record_of(task: Task, user_id: str, input: str, answer: str, date: str) -> Record:
    """The record of a final answer to an input."""
    return made_record(user_id, text=task.query_text(input), input=input, answer=answer, date=date)

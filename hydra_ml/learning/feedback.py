"""Feedback: what a user said of an answer they were given, and the record that becomes of it.

Knows nothing of files: `io.feedback` keeps it, `jobs.feedback` takes it in, `answering.feedback` learns from choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra_ml.learning.history import made_record
from hydra_ml.records import Record, content_digest
from hydra_ml.tasks.task import Task

Verdict = Literal["accepted", "chosen", "edited", "rejected"]  # a rating of 1 is "accepted", of -1 "rejected"


@dataclass(frozen=True, slots=True)
class Shown:
    """One candidate of the answered request, as its prediction kept it."""

    answer: str
    votes: int
    personal: float
    shared: float
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
            place=place,
            is_served=one["answer"] == prediction,
            is_shown=verdict == "chosen" or one["answer"] == prediction,
        )
        for place, one in enumerate(candidates)
    ]


def feedback_record(task: Task, said: Feedback) -> Record | None:
    """The record of the user's final answer; None for a rejection, and for a choice between references (LaMP-1), whose
    history holds what the user wrote and no choices."""
    if said.answer is None or task.kind == "choice":
        return None
    return record_of(task, said.user_id, said.input, said.answer, said.date)


def record_of(task: Task, user_id: str, input: str, answer: str, date: str) -> Record:
    """The record of a final answer to an input."""
    return made_record(user_id, text=task.query_text(input), input=input, answer=answer, date=date)

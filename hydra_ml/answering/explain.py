"""Why an answer was chosen: its score taken apart exactly, and what would have been chosen without a record.

Everything is worked out by the functions that chose it (`answering.score_requests`), on the release that did.
Legend: n candidates of one query, E pieces of evidence, T terms, R records of the query's profile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from hydra_ml.answering.adapter import (
    EVIDENCE,
    RATING_EVIDENCE,
    candidate_rows,
    choose_best,
    distinct_candidates,
    plain_answers,
    scored_candidates,
)
from hydra_ml.answering.history_support import support_by_record
from hydra_ml.answering.score_requests import Models, Worked
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import head_scores
from hydra_ml.tasks.task import Task

TEXTS = "texts"  # what the base reads of question and answer
TOGETHER = "together"  # what a head of kind mlp makes of several features at once
HISTORY = "history_support"


@dataclass(frozen=True)
class ScoreParts:
    """The scores of one query's candidates in terms that add up to them, but for the rounding of single precision."""

    names: tuple[str, ...]  # [T]: TEXTS, the evidence, and for heads of kind mlp TOGETHER
    shared: np.ndarray  # float64 [n, T], of the head that all users share
    own: np.ndarray  # float64 [n, T], of the user's own residual; zeros without one
    by_record: np.ndarray  # float64 [n, R]: HISTORY, both heads together, by record
    no_record: np.ndarray  # float64 [n]: what of it no record gives
    scores: np.ndarray  # float64 [n], as they were computed when the answer was chosen


def evidence_names(task: Task) -> tuple[str, ...]:
    """What the columns of `candidate_evidence` are."""
    return (*EVIDENCE, *(RATING_EVIDENCE if task.kind == "rating" else ()))


def score_parts(
    worked: Worked,
    x: np.ndarray,
    shared: SharedPart,
    own: np.ndarray,
    *,
    records: pd.DataFrame,
    task: Task,
    models: Models,
) -> ScoreParts:
    """The parts of the candidates of a `Worked` of one query. x float32 [n, F]: what heads read of its rows; own
    float32 [P]: the user's residual, zeros for none; records: those that its profile names."""
    names = evidence_names(task)
    width, n_evidence = x.shape[1], len(names)
    columns = [slice(0, width - n_evidence), *(slice(i, i + 1) for i in range(width - n_evidence, width))]
    wide = x.astype(np.float64)
    parts = [
        np.stack([wide[:, some] @ theta[:width][some].astype(np.float64) for some in columns], axis=1)
        for theta in (shared.theta_0, own)
    ]  # [n, T] each
    if shared.head == "mlp":
        names = (*names, TOGETHER)
        totals = [_exact(shared, theta, x) for theta in (shared.theta_0, shared.theta_0 + own)]
        totals[1] = totals[1] - totals[0]
        parts = [np.column_stack([part, total - part.sum(axis=1)]) for part, total in zip(parts, totals, strict=True)]
    names = (TEXTS, *names)
    weight = float(sum(theta[width - n_evidence + EVIDENCE.index(HISTORY)] for theta in (shared.theta_0, own)))
    by_record, without = support_by_record(worked.rows, records, task, models.encode)
    return ScoreParts(
        names,
        shared=parts[0],
        own=parts[1],
        by_record=weight * by_record,
        no_record=weight * without,
        scores=worked.rows["personal"].to_numpy(dtype=np.float64),
    )


def _exact(shared: SharedPart, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Scores float64 [n] under one head."""
    scores: np.ndarray = head_scores(
        shared.head, torch.from_numpy(theta.astype(np.float64)), torch.from_numpy(x.astype(np.float64))
    ).numpy()
    return scores


def without_each(request: pd.DataFrame, record_ids: Collection[str]) -> pd.DataFrame:
    """Rows as of `request` (one row, request_id and profile among its columns), one a record, which is its request_id
    and missing from its profile."""
    first = request.iloc[0]
    rows = [
        {**first.to_dict(), "request_id": left_out, "profile": [one for one in first["profile"] if one != left_out]}
        for left_out in record_ids
    ]
    return pd.DataFrame(rows, columns=list(request.columns))


def chosen_if_same_said(
    worked: Worked, variants: pd.DataFrame, records: pd.DataFrame, models: Models, *, task: Task
) -> dict[str, str]:
    """By the id of a row of `without_each` what is chosen where the LLM says what it said with the record: what the
    record does through the evidence alone."""
    if variants.empty:
        return {}
    answers = pd.concat([worked.answers.assign(query_id=name) for name in variants["request_id"]], ignore_index=True)
    queries = variants.rename(columns={"request_id": "query_id"})
    queries = queries.assign(text=[task.query_text(input) for input in queries["input"]])
    rows, evidence = candidate_rows(distinct_candidates(answers), queries, records, task, models.encode)
    return chosen_answers(scored_candidates(rows, evidence, models.adapter), task, models.margin)


def chosen_answers(rows: pd.DataFrame, task: Task, margin: float | None) -> dict[str, str]:
    """By query id the answer that is chosen among scored rows."""
    best = choose_best(rows, rows["personal"].to_numpy(), task, margin=margin)
    return dict(zip(best["query_id"].astype(str), best["answer"].astype(str), strict=True))


@dataclass(frozen=True)
class Choice:
    """How the answer of one query came to be chosen among its scored rows."""

    chosen: str
    free: str  # what would be chosen if plain RAG's answer had no privilege
    plain: str | None  # plain RAG's; None: it gave none that can be chosen
    lead: float | None  # in score, of `free` over `plain`
    margin: float | None  # that it needs
    runner_up: str | None  # the highest score but the chosen one's

    @property
    def is_kept(self) -> bool:
        """Whether plain RAG's answer stands because no other leads it far enough."""
        return self.chosen != self.free


def choice_of(rows: pd.DataFrame, task: Task, margin: float | None) -> Choice:
    """How it was chosen, from the scored rows of one query, at least one."""
    scores = rows["personal"].to_numpy()
    free, chosen = (str(choose_best(rows, scores, task, margin=m)["answer"].iloc[0]) for m in (None, margin))
    plain = plain_answers(rows, scores)
    of_answer = dict(zip(rows["answer"].astype(str), scores.astype(float), strict=True))
    others = sorted((answer for answer in of_answer if answer != chosen), key=lambda answer: -of_answer[answer])
    said = None if plain.empty else str(plain["answer"].iloc[0])
    lead = None if said is None else of_answer[free] - of_answer[said]
    return Choice(chosen, free, said, lead, margin, others[0] if others else None)


def records_to_tell(parts: np.ndarray, ids: Sequence[str], shown: Collection[str], most: int) -> list[str]:
    """The records shown, in their order, then those that move a difference most, at most so many in all. parts [R]: of
    the difference, by record, of `ids`."""
    moved = dict(zip(ids, np.abs(parts).tolist(), strict=True))
    rest = sorted((one for one in ids if one not in set(shown)), key=lambda one: (-moved[one], one))
    kept = list(dict.fromkeys(one for one in shown if one in moved))
    return kept + [one for one in rest if moved[one] > 0][: max(0, most - len(kept))]

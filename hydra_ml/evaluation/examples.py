"""Questions to look at: a few where the full method did better, worse and as well as without personalization, with what
was shown and what was answered.

Drawn by seed and in set shares, so they show what happens and not how often. Knows no files and no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hydra_ml.answering.arms import HYDRA, RAG_K4, prompt_rows
from hydra_ml.evaluation.harm import TIE
from hydra_ml.evaluation.results import HELD_AGAINST, OURS, REFERENCE, SWAPPED
from hydra_ml.learning.history import draw_order
from hydra_ml.measures import higher_is_better, per_query
from hydra_ml.tasks.task import Task

DRAWN_FIRST = ("better", "worse", "equal")  # who gets one more where the number does not divide by three
ANSWERS = ("zero_shot", REFERENCE, OURS, SWAPPED)  # whose answers stand side by side
PROMPTS = (HYDRA, RAG_K4)  # what the full method's candidates were answered from


@dataclass(frozen=True)
class Shown:
    """A record that a prompt showed."""

    asked: str  # without the task's template
    answer: str
    date: str
    places: tuple[str, ...]  # "hydra 1", "rag_k4 3": in which prompts, and where


@dataclass(frozen=True)
class Example:
    """One question with everything that was said of it."""

    query_id: str
    cohort: str
    n_history: int
    verdict: str  # of DRAWN_FIRST, by the task's first measure
    against: str  # the method that the verdict holds OURS against
    question: str
    gold: str
    answers: dict[str, str | None]  # by method of ANSWERS, those that ran; None: no answer that could be read
    scores: dict[str, float]  # the same in the task's first measure
    records: list[Shown]


@dataclass(frozen=True)
class Examples:
    """Some questions, better first, then worse, then equal, and how many of each there were to draw from."""

    drawn: list[Example]
    counts: dict[str, int]


def draw_examples(
    predictions: pd.DataFrame,
    queries: pd.DataFrame,
    records: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    task: Task,
    *,
    k: int,
    n: int,
    seed: int,
) -> Examples:
    """At most n questions, a third of each verdict where there are as many, drawn by seed whatever the rows' order.

    predictions: grid.ARENA_COLUMNS; queries: the evaluated ones; rankings: by name, as `arms.rankings_by_name` gives
    them; k: `rerank.k`. Without OURS or a method to hold it against nothing is drawn.
    """
    ran = set(predictions["method"])
    against = next((name for name in reversed(HELD_AGAINST) if name in ran), None)
    if OURS not in ran or against is None:
        return Examples([], {})
    given = predictions[predictions["method"].isin(ANSWERS)]
    answers = [None if pd.isna(answer) else str(answer) for answer in given["prediction"]]
    measure = task.measures[0]
    given = given.assign(score=per_query(task, answers, given["gold"].tolist())[measure][:, 0])
    scores = given.pivot(index="query_id", columns="method", values="score").sort_index()
    gaps = (scores[OURS] - scores[against]).dropna() * (1 if higher_is_better(measure) else -1)
    verdicts = pd.Series(np.select([gaps > TIE, gaps < -TIE], ["better", "worse"], "equal"), index=gaps.index)
    chosen = _chosen(verdicts, n, seed)

    shown = _shown(queries[queries["query_id"].isin(chosen.index)], records, rankings, task, k)
    rows = zip(given["query_id"], given["method"], given["prediction"], given["score"], strict=True)
    said = {(query_id, method): (_text(answer), float(score)) for query_id, method, answer, score in rows}
    facts = {row["query_id"]: row for row in queries.to_dict("records")}
    beside = [method for method in ANSWERS if method in ran]
    drawn = [
        Example(
            query_id=str(query_id),
            cohort=facts[query_id]["cohort"],
            n_history=len(facts[query_id]["profile"]),
            verdict=verdict,
            against=against,
            question=_question(facts[query_id]["input"], task),
            gold=facts[query_id]["gold"],
            answers={m: said[query_id, m][0] for m in beside if (query_id, m) in said},
            scores={m: said[query_id, m][1] for m in beside if (query_id, m) in said},
            records=shown.get(str(query_id), []),
        )
        for query_id, verdict in chosen.items()
    ]
    return Examples(drawn, {verdict: int((verdicts == verdict).sum()) for verdict in DRAWN_FIRST})


def _chosen(verdicts: pd.Series, n: int, seed: int) -> pd.Series:
    """The verdicts of the questions drawn. What one verdict lacks goes to the others, in the order of DRAWN_FIRST."""
    luck = sorted(verdicts.index, key=lambda query_id: draw_order(str(query_id), seed))
    waiting = {verdict: [q for q in luck if verdicts[q] == verdict] for verdict in DRAWN_FIRST}
    taken: dict[str, list[str]] = {verdict: [] for verdict in DRAWN_FIRST}
    while sum(map(len, taken.values())) < n and any(waiting.values()):
        for verdict in DRAWN_FIRST:
            if waiting[verdict] and sum(map(len, taken.values())) < n:
                taken[verdict].append(waiting[verdict].pop(0))
    return verdicts.loc[[query_id for verdict in DRAWN_FIRST for query_id in taken[verdict]]]


def _shown(
    queries: pd.DataFrame, records: pd.DataFrame, rankings: Mapping[str, pd.DataFrame], task: Task, k: int
) -> dict[str, list[Shown]]:
    """By query the records of PROMPTS, the first prompt's first."""
    columns = (records[name] for name in ("user_id", "record_id", "input", "answer", "date"))
    facts = {(user_id, record_id): said for user_id, record_id, *said in zip(*columns, strict=True)}
    places: dict[str, dict[tuple[str, str], list[str]]] = {}
    for row in prompt_rows(queries, PROMPTS, rankings, k=k).to_dict("records"):
        for place, record_id in enumerate(row["demos"], start=1):
            of_query = places.setdefault(str(row["query_id"]), {})
            of_query.setdefault((row["user_id"], record_id), []).append(f"{row['arm']} {place}")
    return {
        query_id: [
            Shown(_question(facts[key][0], task), facts[key][1], facts[key][2], tuple(where))
            for key, where in of_query.items()
        ]
        for query_id, of_query in places.items()
    }


def _question(input: str, task: Task) -> str:
    """What a person must read of an input; all of a choice, whose template is part of the question."""
    return input if task.kind == "choice" else task.query_text(input)


def _text(answer: object) -> str | None:
    return answer if isinstance(answer, str) else None

"""The adapter: which of the LLM's candidate answers this user would prefer.

Groups samples and greedy answers into distinct candidates with their share of the votes, labels them for training, and
chooses by the factored model's score (HYDRA, arXiv 2406.02888, section 4). Greedy answers are always candidates, so the
adapter can fall back to what a prompt alone would have said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from hydra_ml.answering.preferred_answers import positive_labels
from hydra_ml.model.interfaces import ScorePairs
from hydra_ml.records import GREEDY
from hydra_ml.tasks.task import Task

Support = Callable[[pd.DataFrame], np.ndarray]  # candidate rows -> the history's support of each, float32 [N]
EVIDENCE = ("log_vote_share", "greedy_share", "history_support")  # scored with weights that all users share


def distinct_candidates(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per distinct answer of a query: query_id, answer, votes (of n_samples), greedy_share (of greedy answers).

    answers has query_id, sample_idx, answer, of one prompt or of several pooled; an answer in the task's own spelling,
    or raw where it has none; one that failed is "" and no candidate. Order: query id, greedy first, then votes, then
    text: equal input gives equal output.
    """
    answers = answers[answers["answer"] != ""]
    sampled = answers["sample_idx"] != GREEDY
    table = (
        answers.assign(vote=sampled.astype(int), greedy=~sampled)
        .groupby(["query_id", "answer"], as_index=False, sort=True)
        .agg(votes=("vote", "sum"), greedy_share=("greedy", "sum"))
    )
    of_query = table.groupby("query_id")
    table["n_samples"] = of_query["votes"].transform("sum")
    table["greedy_share"] = table["greedy_share"] / of_query["greedy_share"].transform("sum").clip(lower=1)
    table = table.sort_values(["query_id", "greedy_share", "votes", "answer"], ascending=[True, False, False, True])
    return table.reset_index(drop=True)


def with_every_label(candidates: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The candidates and, for closed answer sets, every other label with 0 votes; other tasks' unchanged.

    For training only: a label the LLM did not propose is a wrong answer it could have given, or the right one it
    missed, and both teach what a user's answers look like. It costs no LLM call. Serving chooses among proposals.
    """
    if task.kind == "text":
        return candidates
    of_query = candidates.drop_duplicates("query_id")
    every = of_query.loc[of_query.index.repeat(len(task.labels))].reset_index(drop=True)
    every = every.assign(answer=list(task.labels) * len(of_query), votes=0, greedy_share=0.0)
    both = pd.concat([candidates, every], ignore_index=True)
    return both.drop_duplicates(["query_id", "answer"], keep="first").reset_index(drop=True)


def candidate_evidence(candidates: pd.DataFrame, support: np.ndarray) -> np.ndarray:
    """Evidence float32 [N, 3]: log of the vote share, add-half smoothed so that an answer without votes stays finite;
    its share of the greedy answers; and the history's support [N] (`history_support`)."""
    share = (candidates["votes"].to_numpy() + 0.5) / (candidates["n_samples"].to_numpy() + 1.0)
    return np.stack([np.log(share), candidates["greedy_share"].to_numpy(), support], axis=1).astype(
        np.float32
    )  # [N, 3]


def training_candidates(
    candidates: pd.DataFrame, task: Task, text_labels: Literal["above_mean", "gold"]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Candidates to learn from and their labels, from rows of `distinct_candidates` with gold.

    For free text with text_labels "gold" the LLM's answers are all negative and the user's own text is added as the
    positive (the released code's way); its votes are 0 of n, like an answer the LLM never gave.
    """
    if task.kind != "text" or text_labels == "above_mean":
        table = with_every_label(candidates, task)
        columns = (table["answer"].tolist(), table["gold"].tolist(), table["query_id"].tolist())
        return table, positive_labels(task, *columns)
    golds = candidates.drop_duplicates("query_id")
    golds = golds.assign(answer=golds["gold"], votes=0, greedy_share=0.0)
    table = pd.concat([candidates[candidates["answer"] != candidates["gold"]], golds], ignore_index=True)
    return table, (table["answer"] == table["gold"]).to_numpy().astype(np.float32)


def scored_candidates(
    pool: pd.DataFrame, queries: pd.DataFrame, task: Task, *, score: ScorePairs, support: Support
) -> pd.DataFrame:
    """The rows of `distinct_candidates`, in order, with their query's user_id, input, text and profile, their own text
    b and support, and the adapter's personal and shared score (float32)."""
    columns = ["query_id", "user_id", "input", "text", "profile"]
    rows = pool.merge(queries[columns], on="query_id", validate="many_to_one")
    rows = rows.assign(b=answer_texts(rows, task))
    evidence = candidate_evidence(rows, support(rows))
    personal, shared = score(rows["text"].tolist(), rows["b"].tolist(), evidence, rows["user_id"].to_numpy(dtype=str))
    return rows.assign(support=evidence[:, -1], personal=personal, shared=shared)


def choose_best(candidates: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """The chosen answer per query: query_id, answer, score. Equal scores go to the greedy answer, then to votes."""
    table = candidates[["query_id", "answer", "greedy_share", "votes"]].assign(score=scores)
    table = table.sort_values(
        ["query_id", "score", "greedy_share", "votes", "answer"], ascending=[True, False, False, False, True]
    )
    return table.groupby("query_id", as_index=False).first()[["query_id", "answer", "score"]]


def answer_texts(candidates: pd.DataFrame, task: Task) -> list[str]:
    """What an encoder reads of each candidate, for rows with answer and input."""
    pairs = zip(candidates["answer"], candidates["input"], strict=True)
    return [task.answer_text(answer, input) for answer, input in pairs]

"""The adapter: which of the LLM's candidate answers this user would prefer.

Groups samples and greedy answers into distinct candidates with their share of the votes, labels them for training, and
chooses by the factored model's score (HYDRA, arXiv 2406.02888, section 4). Greedy answers are always candidates, so the
adapter can fall back to what a prompt alone would have said.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hydra_ml.answering.arms import RAG_K4
from hydra_ml.answering.history_support import history_support
from hydra_ml.model.interfaces import Encode, ScorePairs
from hydra_ml.model.text_pairs import cosines
from hydra_ml.records import GREEDY
from hydra_ml.tasks.task import Task

NO_VOTES = 0.03  # share that an answer without votes counts with
ROUNDING = 1e-9
NEVER = 20.0  # a margin in log-odds by which no choice leads: plain RAG's answer is always kept
SQUARE = 0.3  # weight of a rating's squared error beside its absolute one: MAE as low as by the median, RMSE lower
EVIDENCE = ("log_vote_share", "greedy_share", "history_support", "cosine")
RATING_EVIDENCE = ("nearness_to_votes", "nearness_to_greedy", "nearness_to_history")


def distinct_candidates(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per distinct answer of a query: query_id, answer, votes (of n_samples), greedy_share (of greedy answers),
    is_plain, whether plain RAG would say it.

    answers has query_id, arm, prompt, sample_idx, answer, of one prompt or of several pooled; arms that share a prompt
    count once. An answer is in the task's own spelling, or raw where it has none; one that failed is "" and no
    candidate. Order: query id, greedy first, then votes, then text: equal input gives equal output.
    """
    answers = answers[answers["answer"] != ""]
    sampled = answers["sample_idx"] != GREEDY
    plain = ~sampled & (answers["arm"] == RAG_K4.name)
    once = ~answers.duplicated(["query_id", "prompt", "sample_idx"])
    table = (
        answers.assign(vote=(sampled & once).astype(int), greedy=~sampled & once, plain=plain)
        .groupby(["query_id", "answer"], as_index=False, sort=True)
        .agg(votes=("vote", "sum"), greedy_share=("greedy", "sum"), is_plain=("plain", "any"))
    )
    of_query = table.groupby("query_id")
    table["n_samples"] = of_query["votes"].transform("sum")
    table["greedy_share"] = table["greedy_share"] / of_query["greedy_share"].transform("sum").clip(lower=1)
    table = table.sort_values(["query_id", "greedy_share", "votes", "answer"], ascending=[True, False, False, True])
    return table.reset_index(drop=True)


def every_choice(candidates: pd.DataFrame, task: Task) -> pd.DataFrame:
    """What may be chosen, a query's rows together: for closed answer sets every label, with 0 votes where no answer
    named it, and nothing else; other tasks' candidates unchanged.

    When learning and when serving: a label the LLM did not propose is a wrong answer it could have given, or the right
    one it missed. It costs no LLM call. A query of which no answer names a label has no choice at all.
    """
    if task.kind == "text":
        return candidates
    proposed = candidates[candidates["answer"].isin(task.labels)]
    of_query = proposed.drop_duplicates("query_id")
    every = of_query.loc[of_query.index.repeat(len(task.labels))]
    every = every.assign(answer=list(task.labels) * len(of_query), votes=0, greedy_share=0.0, is_plain=False)
    both = pd.concat([proposed, every], ignore_index=True)
    both = both.drop_duplicates(["query_id", "answer"], keep="first")
    return both.sort_values("query_id", kind="stable", ignore_index=True)


def candidate_evidence(candidates: pd.DataFrame, support: np.ndarray, task: Task, encode: Encode) -> np.ndarray:
    """What needs no learning, float32 [N, E], for rows of `every_choice` with texts a and b and the history's support
    [N]: EVIDENCE, and for ratings RATING_EVIDENCE beside it, since a 4 is nearly a 5.

    Vote shares have NO_VOTES added, so that an answer without votes stays finite, and mean the same however many
    prompts and samples there were.
    """
    share = candidates["votes"].to_numpy() / np.maximum(candidates["n_samples"].to_numpy(), 1)
    greedy = candidates["greedy_share"].to_numpy()
    likeness = cosines(candidates["a"].tolist(), candidates["b"].tolist(), encode)
    parts = [np.log(share + NO_VOTES), greedy, support, likeness]
    if task.kind == "rating":
        query_ids = candidates["query_id"].to_numpy()
        has_history = pd.Series(np.abs(support)).groupby(query_ids).transform("max").to_numpy() > 0
        parts += [_nearness(candidates, weight) for weight in (share, greedy, np.exp(support) * has_history)]
    return np.stack(parts, axis=1).astype(np.float32)  # [N, E]


def _nearness(candidates: pd.DataFrame, weight: np.ndarray) -> np.ndarray:
    """How near each rating is to its query's mean under the weight, minus the distance, float64 [N]; 0 without one."""
    rating = candidates["answer"].to_numpy(dtype=float)
    of_query = pd.DataFrame({"weight": weight, "weighted": weight * rating}).groupby(candidates["query_id"].to_numpy())
    total, weighted = (of_query[name].transform("sum").to_numpy() for name in ("weight", "weighted"))
    near: np.ndarray = np.where(total > 0, -np.abs(rating - weighted / np.maximum(total, ROUNDING)), 0.0)
    return near


def candidate_rows(
    pool: pd.DataFrame, queries: pd.DataFrame, records: pd.DataFrame, task: Task, encode: Encode
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows that are learned from and served: the choices among rows of `distinct_candidates`, with all columns of
    their queries (query_id, user_id, input, text, profile at least), their query's text a, their own b and the
    history's support; and their evidence [N, E]. records: those that the queries' profiles name."""
    rows = every_choice(pool, task).merge(queries, on="query_id", validate="many_to_one")
    rows = rows.assign(a=rows["text"], b=answer_texts(rows, task))
    support = history_support(rows, records, task, encode)
    return rows.assign(support=support), candidate_evidence(rows, support, task, encode)


def scored_candidates(rows: pd.DataFrame, evidence: np.ndarray, score: ScorePairs) -> pd.DataFrame:
    """Rows of `candidate_rows` with the adapter's personal and shared score (float32)."""
    user_ids = rows["user_id"].to_numpy(dtype=str)
    personal, shared = score(rows["a"].tolist(), rows["b"].tolist(), evidence, user_ids)
    return rows.assign(personal=personal, shared=shared)


def choose_best(
    candidates: pd.DataFrame, scores: np.ndarray, task: Task, *, margin: float | None = None
) -> pd.DataFrame:
    """The chosen answer per query: query_id, answer, score (float32).

    The answer that is best on average under softmax(scores), the probability that the user would give each (Bayes
    decision). A rating is measured by absolute and by squared error, so there it lies between the weighted median and
    the mean; else it is the likeliest answer, of equal scores the greedy one, then the one with more votes.
    margin: log-odds by which it must lead plain RAG's answer (`is_plain`), else that one is kept; None: no matter how.
    """
    table = candidates[["query_id", "answer", "greedy_share", "votes"]].assign(score=scores)
    if task.kind == "rating":
        best = _least_costly(table)
    else:
        table = table.sort_values(
            ["query_id", "score", "greedy_share", "votes", "answer"], ascending=[True, False, False, False, True]
        )
        best = table.groupby("query_id", as_index=False).first()[["query_id", "answer", "score"]]
    if margin is None:
        return best
    plain = plain_answers(candidates, scores).reindex(best["query_id"])
    kept = best["score"].to_numpy() - plain["score"].to_numpy() < margin  # never without a plain answer: nan
    best["answer"] = np.where(kept, plain["answer"], best["answer"])
    best["score"] = np.where(kept, plain["score"], best["score"]).astype("float32")
    return best


def plain_answers(candidates: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """By query id, plain RAG's answer and its score; no row for a query where it is no candidate."""
    table = candidates[["query_id", "answer"]].assign(score=scores)
    return table[candidates["is_plain"].to_numpy(dtype=bool)].set_index("query_id")


def _least_costly(table: pd.DataFrame) -> pd.DataFrame:
    """Per query the rating whose distance to the user's costs least on average, a distance d costing d + SQUARE d^2."""
    if table.empty:
        return table[["query_id", "answer", "score"]]
    scores = table.pivot(index="query_id", columns="answer", values="score")  # [Q, L], nan where not a candidate
    known = scores.notna().to_numpy()
    p = np.exp(scores.sub(scores.max(axis=1), axis=0).to_numpy(dtype=np.float64, na_value=-np.inf))
    ratings = scores.columns.to_numpy(dtype=float)
    distance = np.abs(ratings[:, None] - ratings[None, :])  # [L, L]
    cost = p @ (distance + SQUARE * distance**2)  # [Q, L] @ [L, L]
    best = np.where(known, cost, np.inf).argmin(axis=1)
    chosen = pd.DataFrame({"query_id": scores.index, "answer": scores.columns.to_numpy()[best]})
    chosen["score"] = scores.to_numpy()[np.arange(len(best)), best]
    return chosen.astype({"query_id": table["query_id"].dtype, "answer": table["answer"].dtype, "score": "float32"})


def answer_texts(candidates: pd.DataFrame, task: Task) -> list[str]:
    """What an encoder reads of each candidate, for rows with answer and input."""
    pairs = zip(candidates["answer"], candidates["input"], strict=True)
    return [task.answer_text(answer, input) for answer, input in pairs]

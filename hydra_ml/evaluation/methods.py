"""What each method of the arena predicts, all from one frozen table of LLM answers.

`GREEDY_ARMS` methods say the temperature-0 answer of their prompt; `ADAPTER_ARMS` methods let the adapter choose among
their prompts' candidates, with personal heads or with the shared head alone; floors never ask the LLM. HYDRA pools the
reranked prompt's answers with plain RAG's: what plain RAG would say is always a candidate, and two prompts' votes are
steadier than one's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import answer_texts, candidate_evidence, choose_best, distinct_candidates
from hydra_ml.records import GREEDY
from hydra_ml.tasks.task import Task

GREEDY_ARMS = {  # method -> arm
    "zero_shot": "zero_shot",
    "icl_random": "icl_random",
    "recency": "recency",
    "rag_k1": "rag_k1",
    "rag_k4": "rag_k4",
    "hydra_reranker": "hydra",
}
ADAPTER_ARMS = {  # method -> arms whose answers are its candidates, whether heads are personal
    "hydra_adapter": (("rag_k4",), True),
    "hydra_shared": (("hydra_shared", "rag_k4"), False),
    "hydra": (("hydra", "rag_k4"), True),
}

# (a texts, b texts, evidence [N, E], user_ids [N]) -> personal and shared scores, float32 [N] each
ScorePairs = Callable[[list[str], list[str], np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
Support = Callable[[pd.DataFrame], np.ndarray]  # candidate rows -> the history's support of each, float32 [N]


def greedy_predictions(answers: pd.DataFrame) -> pd.DataFrame:
    """Rows method, query_id, answer, is_parsed of the methods that take the temperature-0 answer."""
    greedy = answers[answers["sample_idx"] == GREEDY]
    parts = [greedy[greedy["arm"] == arm].assign(method=method) for method, arm in GREEDY_ARMS.items()]
    return pd.concat(parts, ignore_index=True)[["method", "query_id", "answer", "is_parsed"]]


def adapter_predictions(
    answers: pd.DataFrame, queries: pd.DataFrame, task: Task, *, score: ScorePairs, support: Support
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows method, query_id, answer, is_parsed, score of the methods that choose, and every scored candidate.

    The second table (method, query_id, answer, votes, n_samples, greedy_share, support, personal, shared) is what
    "why this answer?" is read from.
    """
    pools = [
        distinct_candidates(answers[answers["arm"].isin(arms)]).assign(method=method, is_personal=is_personal)
        for method, (arms, is_personal) in ADAPTER_ARMS.items()
    ]
    rows = scored_candidates(pd.concat(pools, ignore_index=True), queries, task, score=score, support=support)
    used = np.where(rows["is_personal"], rows["personal"], rows["shared"])
    chosen = [
        choose_best(table, used[table.index]).assign(method=method)
        for method, table in rows.groupby("method", sort=False)
    ]
    parsed = answers.groupby(["query_id", "answer"], as_index=False)["is_parsed"].max()
    predictions = pd.concat(chosen, ignore_index=True).merge(parsed, on=["query_id", "answer"], validate="many_to_one")
    kept = ["method", "query_id", "answer", "votes", "n_samples", "greedy_share", "support", "personal", "shared"]
    return predictions[["method", "query_id", "answer", "is_parsed", "score"]], rows[kept]


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


def floor_predictions(queries: pd.DataFrame, records: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Rows method, query_id, answer, is_parsed of the task's floor: `copy_input` for LaMP-7, `user_majority` for labels
    and ratings, none for other tasks. A user without history has no majority: that prediction is missing."""
    if task.folder == "LaMP_7":
        floor = queries[["query_id"]].assign(method="copy_input", answer=queries["text"])
    elif task.kind in ("label", "rating"):
        floor = _user_majority(queries, records).assign(method="user_majority")
    else:
        floor = pd.DataFrame({"method": [], "query_id": [], "answer": []}, dtype=str)
    return floor.assign(is_parsed=True)[["method", "query_id", "answer", "is_parsed"]]


def _user_majority(queries: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """The most frequent answer among the records a query may see; the newest of equally frequent ones."""
    seen = queries[["query_id", "user_id", "profile"]].explode("profile").rename(columns={"profile": "record_id"})
    seen = seen.dropna(subset=["record_id"])
    seen = seen.merge(records[["user_id", "record_id", "answer", "date"]], on=["user_id", "record_id"])
    counts = seen.groupby(["query_id", "answer"], as_index=False).agg(n=("date", "size"), newest=("date", "max"))
    counts = counts.sort_values(["query_id", "n", "newest", "answer"], ascending=[True, False, False, True])
    return counts.groupby("query_id", as_index=False).first()[["query_id", "answer"]]

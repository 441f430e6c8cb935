"""What users' choices among candidates they were shown teach the adapter, and what releases would choose among them.

Candidates and votes were stored with the prediction, so no LLM is asked. A choice is learned by the conditional logit
that all training rows are: a candidate that the user did not see is none of it (choices among a subset of a logit's
alternatives follow the same logit, McFadden 1978). Which choices there are says `learning.feedback`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import EVIDENCE, answer_texts, candidate_evidence
from hydra_ml.answering.history_support import history_support
from hydra_ml.model.interfaces import Encode
from hydra_ml.tasks.task import Task


def kept_candidates(
    said: pd.DataFrame,
    profiles: Mapping[tuple[str, str], Sequence[str]],
    records: pd.DataFrame,
    task: Task,
    encode: Encode,
) -> tuple[pd.DataFrame, np.ndarray]:
    """A row each candidate that was kept of a request, with texts a and b; and their evidence [N, E].

    said: request_id, user_id, input, candidates, a row a request of a user; profiles: by (request, user) the ids of the
    records it may see; records: those. Requests without candidates have no row. Greedy shares that were not kept are 0.
    """
    rows = []
    for request_id, user_id, input, candidates in zip(
        *(said[name] for name in ("request_id", "user_id", "input", "candidates")), strict=True
    ):
        n_samples = sum(one["votes"] for one in candidates)
        for one in candidates:
            kept = {name: one[name] for name in ("answer", "votes")}
            of_request = {"query_id": f"{user_id}\x1f{request_id}", "user_id": user_id, "input": input}
            profile = list(profiles.get((request_id, user_id), ()))
            more = {"profile": profile, "n_samples": n_samples, "greedy_share": one["greedy_share"] or 0.0}
            rows.append({**of_request, **kept, **more, "text": task.query_text(input)})
    columns = ["query_id", "user_id", "input", "answer", "votes", "profile", "n_samples", "text", "greedy_share"]
    table = pd.DataFrame(rows, columns=columns)
    if task.labels:
        table = table[table["answer"].isin(task.labels)].reset_index(drop=True)
    if table.empty:
        return table.assign(a="", b=""), np.zeros((0, len(EVIDENCE)), dtype=np.float32)
    table = table.assign(a=table["text"], b=answer_texts(table, task))
    evidence = candidate_evidence(table, history_support(table, records, task, encode), task, encode)
    return table, evidence


def with_choices(pool: pd.DataFrame, choices: pd.DataFrame) -> pd.DataFrame:
    """Rows of `distinct_candidates`, those of queries with a choice (CHOICE_COLUMNS) as they were kept when it was
    made; which of them plain RAG would have said is not known."""
    if choices.empty:
        return pool
    others = pool[~pool["query_id"].isin(choices["query_id"])]
    kept = choices.drop(columns="is_shown").assign(is_plain=False)
    return pd.concat([others, kept], ignore_index=True).sort_values("query_id", kind="stable", ignore_index=True)


def is_of_choice(rows: pd.DataFrame, choices: pd.DataFrame) -> np.ndarray:
    """bool [N]: rows of `candidate_rows` that may be learned from; of a query with a choice those that were shown."""
    shown = choices[choices["is_shown"]]
    seen = pd.MultiIndex.from_frame(rows[["query_id", "answer"]]).isin(
        pd.MultiIndex.from_frame(shown[["query_id", "answer"]])
    )
    found: np.ndarray = seen | ~rows["query_id"].isin(choices["query_id"]).to_numpy()
    return found

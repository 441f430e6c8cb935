"""What users' choices among candidates they were shown teach a head, and what releases would choose among the same.

Candidates and votes were stored with the prediction, so no LLM is asked. What they do not keep is how many greedy
answers named each: that column of the evidence is 0 here, for everyone, and a head keeps 0 for it.

A choice is learned by the conditional logit of `model.fit_heads`, its offset the shared score: a candidate that the
user did not see is none of it (choices among a subset of a logit's alternatives follow the same logit, McFadden 1978).
Taking the one answer that was shown is no choice. Knows nothing of files: rows are those of `io.feedback`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import EVIDENCE, answer_texts, candidate_evidence
from hydra_ml.answering.fit_component import MakePairs
from hydra_ml.answering.history_support import history_support
from hydra_ml.model.factored import score_features
from hydra_ml.model.fit_base import SharedPart, base_features, with_evidence
from hydra_ml.model.fit_heads import HeadRows, fit_heads
from hydra_ml.model.heads import Heads, no_heads
from hydra_ml.model.interfaces import Encode
from hydra_ml.tasks.task import Task

GREEDY_SHARE = EVIDENCE.index("greedy_share")


def kept_candidates(
    said: pd.DataFrame,
    profiles: Mapping[tuple[str, str], Sequence[str]],
    records: pd.DataFrame,
    task: Task,
    encode: Encode,
) -> tuple[pd.DataFrame, np.ndarray]:
    """A row each candidate that was kept of a request, with texts a and b, is_shown, is_final and the shared score of
    then; and their evidence [N, E].

    said: request_id, user_id, input, answer, candidates, a row a request of a user; profiles: by (request, user) the
    ids of the records it may see; records: those. Requests without candidates have no row.
    """
    rows = []
    for request_id, user_id, input, answer, candidates in zip(
        *(said[name] for name in ("request_id", "user_id", "input", "answer", "candidates")), strict=True
    ):
        n_samples = sum(one["votes"] for one in candidates)
        for one in candidates:
            kept = {name: one[name] for name in ("answer", "votes", "shared", "place", "is_served", "is_shown")}
            of_request = {"query_id": f"{user_id}\x1f{request_id}", "user_id": user_id, "input": input}
            profile = list(profiles.get((request_id, user_id), ()))
            more = {"profile": profile, "n_samples": n_samples, "is_final": one["answer"] == answer}
            rows.append({**of_request, **kept, **more, "text": task.query_text(input), "greedy_share": 0.0})
    columns = ["query_id", "user_id", "input", "answer", "votes", "shared", "place", "is_served", "is_shown"]
    table = pd.DataFrame(rows, columns=[*columns, "profile", "n_samples", "is_final", "text", "greedy_share"])
    if task.labels:
        table = table[table["answer"].isin(task.labels)].reset_index(drop=True)
    if table.empty:
        return table.assign(a="", b=""), np.zeros((0, len(EVIDENCE)), dtype=np.float32)
    table = table.assign(a=table["text"], b=answer_texts(table, task))
    evidence = candidate_evidence(table, history_support(table, records, task, encode), task, encode)
    return table, evidence


def chosen_among(rows: pd.DataFrame) -> np.ndarray:
    """Positions of the rows of `kept_candidates` that a choice was among: shown, at least two of a request, and one of
    them the final answer."""
    shown = rows["is_shown"].to_numpy(dtype=bool)
    of_query = rows["query_id"].to_numpy()
    n_shown = pd.Series(shown.astype(int)).groupby(of_query).transform("sum").to_numpy()
    n_final = pd.Series(shown & rows["is_final"].to_numpy(dtype=bool)).groupby(of_query).transform("sum").to_numpy()
    found: np.ndarray = np.flatnonzero(shown & (n_shown > 1) & (n_final == 1))
    return found


def heads_from_choices(
    rows: pd.DataFrame,
    evidence: np.ndarray,
    shared: SharedPart,
    *,
    ridge: float,
    make_pairs: MakePairs,
    as_scored: bool = True,
) -> Heads:
    """Heads of the users who chose, each on that user's own choices alone.

    rows, evidence: of `kept_candidates`. as_scored: the base is that of the release which served, whose shared scores
    were kept and knew of greedy answers; else the shared scores are computed anew.
    """
    picked = chosen_among(rows)
    some = rows.iloc[picked]
    x = with_evidence(base_features(shared.base, make_pairs(some["a"].tolist(), some["b"].tolist())), evidence[picked])
    x[:, x.shape[1] - evidence.shape[1] + GREEDY_SHARE] = 0.0
    user_ids = some["user_id"].to_numpy(dtype=str)
    if as_scored:
        offsets = some["shared"].to_numpy(dtype=np.float32)
    else:
        offsets = score_features(shared, no_heads(shared.head, shared.width), x, user_ids)
    targets = some["is_final"].to_numpy(dtype=np.float32)
    head_rows = HeadRows(x, offsets, targets, pd.factorize(some["query_id"])[0].astype(np.int64), user_ids)
    return fit_heads(head_rows, kind=shared.head, ridge=ridge, theta_0=shared.theta_0, prior=shared.prior)

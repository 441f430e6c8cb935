"""When the adapter's choice is served and when plain RAG's answer is kept, so that few questions fare worse than by it.

The choice must lead plain RAG's answer by a margin in log-odds. The margin is the smallest under which, on training
queries judged by models that have not seen them, the share of questions answered worse than by plain RAG stays below a
bound with 95 % confidence: fixed-sequence testing from the safe end, as in Learn then Test (Angelopoulos et al.,
arXiv 2110.01052), with a normal bound where a user's questions go together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import NEVER, choose_best, plain_answers
from hydra_ml.answering.fit_component import ComponentRows
from hydra_ml.model.fit_model import ONE_SIDED, clustered_mean
from hydra_ml.tasks.task import Task

MARGINS = (*np.round(np.arange(0, 4, 0.05), 2).tolist(), NEVER)
WORSE = 1e-6  # in reward


@dataclass(frozen=True)
class Caution:
    """How cautious the choice is, and what that gave on the queries it was found on."""

    margin: float  # of MARGINS
    bound: float  # share of questions that may be answered worse than by plain RAG
    harm: float  # that were
    changed: float  # that were answered otherwise than by plain RAG
    gain: float  # mean reward above plain RAG's
    n_judged: int  # queries with an answer by plain RAG


def find_caution(rows: ComponentRows, scores: np.ndarray, *, task: Task, bound: float) -> Caution:
    """The smallest margin that keeps harm below the bound, 0..1.

    rows: of `candidate_rows`; scores float [N], by models that have not seen the query, nan where no model is without.
    Queries that were not scored because all their answers are worth the same do no harm; others without scores, or
    without an answer by plain RAG, are left out. Where no query is left nothing is known: margin 0.
    """
    rewards = pd.Series(rows.rewards).groupby(rows.table["query_id"].to_numpy())
    even = (rewards.transform("max") == rewards.transform("min")).to_numpy()
    scores = np.where(np.isnan(scores) & even, 0.0, scores)
    rows, scores = rows.take(np.flatnonzero(~np.isnan(scores))), scores[~np.isnan(scores)]
    table = rows.table
    plain = plain_answers(table, scores)
    if plain.empty:
        return Caution(0.0, bound, 0.0, 0.0, 0.0, 0)
    best = choose_best(table, scores, task).set_index("query_id").loc[plain.index]
    worth = pd.Series(rows.rewards, index=pd.MultiIndex.from_frame(table[["query_id", "answer"]]))
    gain = worth[_keys(best)].to_numpy(dtype=float) - worth[_keys(plain)].to_numpy(dtype=float)
    lead = best["score"].to_numpy(dtype=float) - plain["score"].to_numpy(dtype=float)
    owners = table.drop_duplicates("query_id").set_index("query_id")["user_id"].loc[plain.index].to_numpy(dtype=str)
    margin = NEVER
    for candidate in reversed(MARGINS):
        harm, error = clustered_mean(((lead >= candidate) & (gain < -WORSE)).astype(float), owners)
        if harm + (ONE_SIDED * error if harm else 0.0) > bound:
            break
        margin = candidate
    served = lead >= margin
    differs = served & (best["answer"].to_numpy() != plain["answer"].to_numpy())
    return Caution(
        margin=margin,
        bound=bound,
        harm=float((served & (gain < -WORSE)).mean()),
        changed=float(differs.mean()),
        gain=float(np.where(served, gain, 0.0).mean()),
        n_judged=len(lead),
    )


def _keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table.index, table["answer"], strict=True))

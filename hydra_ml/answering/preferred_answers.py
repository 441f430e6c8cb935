"""Which answer of a query should be chosen, for reranker and adapter alike (HYDRA, arXiv 2406.02888, sections 3 and 4).

Our decision where paper and released code leave it open: compare parsed answers, and group by query id explicitly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from hydra_ml.measures import rewards
from hydra_ml.tasks.task import Task


class Preferences(NamedTuple):
    """Of N rows, a query's rows being what one chooses among."""

    targets: np.ndarray  # float32 [N]: shares that add up to 1 in a query, or 0 throughout where none should be chosen
    rewards: np.ndarray  # float32 [N], 0..1: what choosing the row is worth


def preferred_answers(
    task: Task, answers: Sequence[str], golds: Sequence[str], query_ids: Sequence[str]
) -> Preferences:
    """Closed answer sets: the rows whose answer is the gold share a query's 1 equally. Free text: softmax of the
    reward, (ROUGE-1 + ROUGE-L)/2, in standard deviations of the query's own: who wins by a hair gets little more than
    the next, and an easy query is not mistaken for a useful record or a liked answer. Row order cannot matter.
    """
    reward = rewards(task, answers, golds)
    weight = np.exp(_standardised(reward, query_ids)) if task.kind == "text" else (reward == 1.0).astype(float)
    total = pd.Series(weight).groupby(np.asarray(query_ids)).transform("sum").to_numpy()
    targets = weight / np.maximum(total, 1e-12)
    return Preferences(targets.astype(np.float32), reward.astype(np.float32))


def _standardised(reward: np.ndarray, query_ids: Sequence[str]) -> np.ndarray:
    """Less its query's mean, by its query's standard deviation; 0 where all are alike."""
    of_query = pd.Series(reward).groupby(np.asarray(query_ids))
    spread = of_query.transform("std", ddof=0).to_numpy()
    centred = reward - of_query.transform("mean").to_numpy()
    standardised: np.ndarray = np.where(spread > 1e-9, centred / np.maximum(spread, 1e-9), 0.0)
    return standardised

"""What counts as a positive row, for reranker and adapter alike (HYDRA, arXiv 2406.02888, sections 3 and 4).

Our decision where paper and released code leave it open: compare parsed answers, and group by query id explicitly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hydra_ml.measures import rewards
from hydra_ml.tasks.task import Task


def positive_labels(task: Task, answers: Sequence[str], golds: Sequence[str], query_ids: Sequence[str]) -> np.ndarray:
    """1.0 where the answer is a good one, else 0.0, float32 [N].

    Closed answer sets: the answer is the gold. Free text: its (ROUGE-1 + ROUGE-L)/2 lies above the mean over the same
    query's answers, so an easy query is not mistaken for a useful record or a liked answer. Row order cannot matter.
    """
    reward = rewards(task, answers, golds)
    if task.kind != "text":
        good: np.ndarray = reward == 1.0
    else:
        good = reward > pd.Series(reward).groupby(np.asarray(query_ids)).transform("mean").to_numpy()
    labels: np.ndarray = good.astype(np.float32)
    return labels

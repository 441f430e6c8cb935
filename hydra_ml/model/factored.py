"""The factored model: scoring with base and heads, and heads on a frozen base.

`score` is the one way to a number, for reranker and adapter, for known, new and unseen users alike.
"""

from __future__ import annotations

import numpy as np

from hydra_ml.model.fit_base import SharedPart, TrainRows, base_features, with_evidence
from hydra_ml.model.fit_heads import HeadRows, fit_heads
from hydra_ml.model.heads import Heads, no_heads, score_rows
from hydra_ml.model.pairs import Pairs


def score(shared: SharedPart, heads: Heads, pairs: Pairs, evidence: np.ndarray, user_ids: np.ndarray) -> np.ndarray:
    """How good each pair is for its user, float32 [N]: (theta_0 + delta_u)(z, e), higher is better.

    The softmax over the candidates of a query is the probability that the user would choose each."""
    return score_features(shared, heads, with_evidence(base_features(shared.base, pairs), evidence), user_ids)


def score_features(shared: SharedPart, heads: Heads, x: np.ndarray, user_ids: np.ndarray) -> np.ndarray:
    """`score` where the features x [N, F] are at hand already."""
    return score_rows(heads, shared.theta_0, x, heads.user_idx(user_ids))


def fit_heads_at(shared: SharedPart, rows: TrainRows, picked: np.ndarray, x: np.ndarray, ridge: float) -> Heads:
    """The heads of every user with rows among those picked (positions), whose x [len(picked), F] is at hand already."""
    nobody = np.full(len(picked), -1, dtype=np.int64)
    shared_scores = score_rows(no_heads(shared.head, shared.width), shared.theta_0, x, nobody)
    head_rows = HeadRows(x, shared_scores, rows.targets[picked], rows.queries[picked], rows.user_ids[picked])
    return fit_heads(head_rows, kind=shared.head, ridge=ridge, theta_0=shared.theta_0, prior=shared.prior)

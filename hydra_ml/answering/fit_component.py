"""Trains a component from its rows: the steps that reranker and adapter share, between their rows and the model.

Knows nothing of files or of what the rows mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from hydra_ml import params
from hydra_ml.learning.draws import folds, held_back_queries
from hydra_ml.model.fit_base import Bar, SharedPart, TrainRows
from hydra_ml.model.fit_model import FOLDS, FittedModel, fit_model
from hydra_ml.model.heads import Heads
from hydra_ml.model.pairs import Pairs
from hydra_ml.model.refit import Refit, refit_heads

QUERY_FACTS = ["query_id", "user_id", "cohort", "role", "date"]
MakePairs = Callable[[Sequence[str], Sequence[str]], Pairs]

REASONS = {  # (judged, replaced) -> why
    (True, True): "not worse on held-back queries",
    (True, False): "worse on held-back queries",
    (False, True): "no held-back queries to judge by: taken",
}
NOTHING_NEW = "nothing new to learn from"
NO_HEADS = "personal heads showed no gain worth having on this task: everybody is served by the shared one"


@dataclass(frozen=True)
class ComponentRows:
    """Rows of one component. `table` has query_id and the texts a, b; evidence float32 [N, E]; targets float32 [N],
    each query's adding up to 1, say which of its rows should be chosen, rewards float32 [N] what choosing is worth."""

    table: pd.DataFrame
    evidence: np.ndarray
    targets: np.ndarray
    rewards: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: np.ndarray) -> ComponentRows:
        """The rows at these positions."""
        table = self.table.iloc[rows].reset_index(drop=True)
        return ComponentRows(table, self.evidence[rows], self.targets[rows], self.rewards[rows])


def telling(rows: ComponentRows) -> np.ndarray:
    """Positions of the rows of queries whose candidates differ in worth and of which one should be chosen, a query's
    together. The others tell how easy a query is, not what to prefer in it."""
    of_query = rows.table["query_id"].to_numpy()
    targets, rewards = pd.Series(rows.targets).groupby(of_query), pd.Series(rows.rewards).groupby(of_query)
    tells = (targets.transform("sum") > 0) & (rewards.transform("max") > rewards.transform("min"))
    kept = np.flatnonzero(tells.to_numpy())
    found: np.ndarray = kept[np.argsort(of_query[kept], kind="stable")]
    return found


def train_component(
    rows: ComponentRows,
    queries: pd.DataFrame,
    settings: params.Train,
    *,
    seed: int,
    make_pairs: MakePairs,
    new_base: Callable[[], nn.Module],
    bar: Bar,
) -> FittedModel:
    """Base and heads. queries (query_id, user_id, cohort, role, date) says whose row is whose; "new" users' rows reach
    heads only. Raises ValueError if a row belongs to a query that is not a training query."""
    facts = _training_facts(rows, queries)
    used = queries[queries["query_id"].isin(facts["query_id"])]
    fold = dict(zip(used["query_id"], folds(used, FOLDS, seed), strict=True))
    train_rows = _train_rows(rows, facts, fold, set(), make_pairs)
    known = (facts["cohort"] == "known").to_numpy()
    return fit_model(new_base, train_rows, settings, known=known, seed=seed, bar=bar)


def refit_component(
    rows: ComponentRows,
    queries: pd.DataFrame,
    settings: params.Train,
    *,
    shared: SharedPart,
    present: Heads,
    ridge: float,
    seed: int,
    make_pairs: MakePairs,
) -> Refit:
    """New heads on a frozen base for the users who have rows that their present head has not learned.

    queries has what `train_component` asks for and is_new, false where the present head learned the query; to a user
    without one every query is new. A share `held_back` of each user's new queries, the newest, and at least one of
    two, judges old against new: queries that the present head has seen would speak for it. Raises as train_component.
    """
    facts = _training_facts(rows, queries)
    used = queries[queries["query_id"].isin(facts["query_id"])]
    fresh = used[used["is_new"].to_numpy(dtype=bool) | ~used["user_id"].isin(present.user_ids).to_numpy()]
    back = held_back_queries(fresh, settings.held_back, seed, at_least=1)
    touched = facts["user_id"].isin(fresh["user_id"]).to_numpy()
    train_rows = _train_rows(rows.take(np.flatnonzero(touched)), facts[touched], {}, back, make_pairs)
    return refit_heads(shared, present, train_rows, ridge=ridge)


def _training_facts(rows: ComponentRows, queries: pd.DataFrame) -> pd.DataFrame:
    """QUERY_FACTS of each row, in order. Raises ValueError if one is not of a training query."""
    facts = rows.table[["query_id"]].merge(queries[QUERY_FACTS], on="query_id", how="left", validate="many_to_one")
    if not (facts["role"] == "train").all():
        wrong = facts.loc[facts["role"] != "train", "query_id"].iloc[0]
        raise ValueError(f"row of query {wrong!r} is not a training row; evaluated queries never enter a fit")
    return facts


def _train_rows(
    rows: ComponentRows, facts: pd.DataFrame, fold: Mapping[str, int], back: Collection[str], make_pairs: MakePairs
) -> TrainRows:
    return TrainRows(
        pairs=make_pairs(rows.table["a"].tolist(), rows.table["b"].tolist()),
        evidence=rows.evidence,
        targets=rows.targets,
        rewards=rows.rewards,
        user_ids=facts["user_id"].to_numpy(dtype=str),
        queries=pd.factorize(facts["query_id"])[0],
        fold=np.array([fold.get(query_id, 0) for query_id in facts["query_id"]], dtype=np.int64),
        held_back=facts["query_id"].isin(back).to_numpy(),
    )


def refit_table(refit: Refit, user_ids: list[str], *, rest: str = NOTHING_NEW) -> pd.DataFrame:
    """One row per user: user_id, replaced, old_loss, new_loss (nan: not judged), n_judged, n_rows, reason.

    rest: the reason of users without rows.
    """
    table = pd.DataFrame(
        {
            "user_id": refit.user_ids,
            "replaced": refit.replaced,
            "old_loss": refit.old_loss,
            "new_loss": refit.new_loss,
            "n_judged": refit.n_judged,
            "n_rows": refit.n_rows,
            "reason": [
                REASONS[bool(judged), bool(replaced)]
                for judged, replaced in zip(refit.n_judged > 0, refit.replaced, strict=True)
            ],
        }
    ).astype({"user_id": "str", "reason": "str"})
    others = [user_id for user_id in user_ids if user_id not in set(refit.user_ids.tolist())]
    without = pd.DataFrame({"user_id": others, "replaced": False, "old_loss": np.nan, "new_loss": np.nan})
    without = without.assign(n_judged=0, n_rows=0, reason=rest)
    parts = [part for part in (table, without.astype(table.dtypes.to_dict())) if len(part)]
    return pd.concat(parts, ignore_index=True).sort_values("user_id", ignore_index=True) if parts else table

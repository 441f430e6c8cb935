"""What answers cost: tokens by method and by group of users, in money where prices are known.

Every prompt counts as if it were asked by itself, so that methods that share prompts can be compared; the LLM is asked
once. Knows no files and no LLM.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from hydra_ml.evaluation.methods import Method
from hydra_ml.params import LLM
from hydra_ml.records import GREEDY

ALL = "all"  # the group that is everybody


def bill_rows(
    answers: pd.DataFrame, groups: pd.Series, methods: Iterable[Method], annotations: pd.DataFrame, prices: LLM
) -> list[dict[str, Any]]:
    """One row of plain values per method that asks the LLM, or stage that learns from it, and group: stage, method
    ("" for what training asked), group, questions, tokens_in, tokens_out, cost (None without prices).

    answers: rows of `answer_table` for every query; groups: by evaluated query, whose it is ("known", "new"); what has
    no group was asked for training. annotations: tokens_in, tokens_out and query_id of `annotate`.
    """
    asked_once = ["query_id", "prompt", "sample_idx"]
    evaluated = answers[answers["query_id"].isin(groups.index)]
    training = answers[~answers["query_id"].isin(groups.index)]
    rows = [
        _row("annotate", "", ALL, annotations, prices),
        _row("generate", "", ALL, training.drop_duplicates(asked_once), prices),
    ]
    for method in methods:
        own = evaluated[evaluated["arm"].isin([arm.name for arm in method.arms])].drop_duplicates(asked_once)
        if not method.is_choice:
            own = own[own["sample_idx"] == GREEDY]
        if own.empty:
            continue
        rows.append(_row("generate", method.name, ALL, own, prices))
        of_query = own["query_id"].map(groups)
        rows += [_row("generate", method.name, str(group), own[of_query == group], prices) for group in groups.unique()]
    return [row for row in rows if row["questions"]]


def _row(stage: str, method: str, group: str, asked: pd.DataFrame, prices: LLM) -> dict[str, Any]:
    tokens_in, tokens_out = int(asked["tokens_in"].sum()), int(asked["tokens_out"].sum())
    return {
        "stage": stage,
        "method": method,
        "group": group,
        "questions": int(asked["query_id"].nunique()),
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost": prices.money(tokens_in, tokens_out),
    }

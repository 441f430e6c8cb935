"""Every prompt that chosen methods need, with the records and the written texts it shows: what `generate` asks and
`evaluate` checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from hydra_ml.answering.arms import asked_prompts, with_texts
from hydra_ml.evaluation.methods import arms_of, taught_arms
from hydra_ml.evaluation.methods.method import Method, strangers


def shown_prompts(
    queries: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    methods: Sequence[Method],
    written: pd.DataFrame,
    *,
    k: int,
    seed: int,
) -> pd.DataFrame:
    """Rows of `asked_prompts`, with written and read as `with_texts` gives them. queries: QUERY_COLUMNS, some; written:
    of `write_texts`."""
    arms = arms_of(methods)
    asked = asked_prompts(queries, rankings, arms, k=k, taught=taught_arms(methods))
    with_text = set(written.loc[written["text"] != "", "user_id"])
    stranger_of: dict[str, str] = {}
    if any(arm.of_stranger for arm in arms):
        stranger_of = strangers(queries[queries["role"] == "evaluate"], with_text, seed)
    return with_texts(asked, arms, written, stranger_of)

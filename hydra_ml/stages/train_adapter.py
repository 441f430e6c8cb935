"""train_adapter: fits the adapter's base on known users' rows, then the heads of all users on the frozen base.

A row is a training query and one of the answers that may be chosen; its target is whether the user would prefer it.
Where a user picked one from a list they were shown, the rows are that list.
With --frozen the base stays as it is there, and heads are refitted for users with new queries, in place of worse ones
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hydra_ml.answering.adapter import candidate_rows, distinct_candidates
from hydra_ml.answering.arms import SERVED
from hydra_ml.answering.do_no_harm import find_caution
from hydra_ml.answering.feedback import is_of_choice, with_choices
from hydra_ml.answering.fit_component import ComponentRows
from hydra_ml.answering.preferred_answers import preferred_answers
from hydra_ml.io.tables import load_table
from hydra_ml.params import Params
from hydra_ml.serving.fit import fit_and_save
from hydra_ml.serving.pair_reader import PairReader
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def train_adapter(
    *, prepared: Path, generated: Path, out: Path, cache: Path, frozen: Path | None = None, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write out/base, out/heads, out/curve.json and out/unseen.parquet; with `frozen`, what `serving.fit` describes."""
    columns = ["query_id", "user_id", "role", "cohort", "date", "input", "text", "gold", "profile"]
    columns += ["is_new"] if frozen else []
    queries = load_table(prepared / "queries.parquet", columns)
    answers = load_table(generated / "answers.parquet")
    train = queries[queries["role"] == "train"]
    # What rivals learn from besides is no part of the pool that HYDRA serves.
    served = answers["arm"].isin([arm.name for arm in SERVED])
    choices = load_table(prepared / "choices.parquet")
    pool = with_choices(distinct_candidates(answers[served & answers["query_id"].isin(train["query_id"])]), choices)
    reader = PairReader(params.train_adapter, params.encoder, cache, seed=params.seed)
    facts = train[["query_id", "user_id", "input", "text", "profile", "gold"]]
    rows, evidence = candidate_rows(pool, facts, load_table(prepared / "records.parquet"), task, reader.encode)
    seen = np.flatnonzero(is_of_choice(rows, choices))
    rows, evidence = rows.iloc[seen].reset_index(drop=True), evidence[seen]
    preferences = preferred_answers(task, *(rows[name].tolist() for name in ("answer", "gold", "query_id")))
    component = ComponentRows(rows, evidence, *preferences)
    bound = params.train_adapter.max_harm
    return fit_and_save(
        component,
        queries,
        params.train_adapter,
        reader,
        task=task.folder,
        component="adapter",
        out=out,
        frozen=frozen,
        seed=params.seed,
        be_cautious=lambda rows, scores: None if bound is None else find_caution(rows, scores, task=task, bound=bound),
    )


main = stage_command(train_adapter)

if __name__ == "__main__":
    raise SystemExit(main(None))

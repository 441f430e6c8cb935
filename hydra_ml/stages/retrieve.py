"""retrieve: the first ranking of every query over what it may see of its user's own history.

Training queries get the ranker that the reranker will start from; evaluated ones also those that chosen methods need.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from hydra_ml.answering.arms import NEIGHBOURS, first_rankers
from hydra_ml.answering.neighbours import rank_neighbours
from hydra_ml.answering.retrieval import candidate_table, rank_user
from hydra_ml.errors import DataError
from hydra_ml.evaluation.methods import arms_of, chosen_methods, fitting_methods
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.learning.commands import commanding_records
from hydra_ml.params import Params
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def retrieve(*, prepared: Path, out: Path, cache: Path, task: Task, params: Params) -> dict[str, Any]:
    """Write out/candidates.parquet: query_id, ranker, rank (int16, 0 best), record_id, score (float32, higher better);
    owner_id, whose record it is, for the one ranker that reads other users', which runs for methods that are named.

    At most n_candidates rows per query and ranker; none for a query whose profile is empty.
    """
    queries = load_table(prepared / "queries.parquet")
    records = load_table(prepared / "records.parquet")
    encode = open_encoder(params.encoder, cache).encode  # loads nothing unless the dense ranker asks
    fitting_methods(params.evaluate.methods, task, has_reranker=True)  # none: told before anything is bought
    arms = arms_of(chosen_methods(params.evaluate.methods))
    baselines = first_rankers(arms)
    histories = dict(iter(records.groupby("user_id")))  # rows keep their order: oldest first
    users = tqdm(queries.groupby("user_id"), desc=f"retrieve {task.folder}", unit="user")
    blocks = (
        block
        for user_id, asked in users
        for block in rank_user(
            asked,
            histories.get(user_id, records.iloc[:0]),
            params.retrieve,
            encode,
            baselines=baselines,
            seed=params.seed,
        )
    )
    table = candidate_table(blocks)
    if table.empty:
        raise DataError(
            f"{task.name}: not one question has a record of its user to be answered from: none is earlier, or each "
            "asks the same. Are the dates right, and are there several records a user?"
        )
    if any(arm.ranking == NEIGHBOURS for arm in arms):
        evaluated, known = (
            queries[queries["role"] == "evaluate"],
            set(queries.loc[queries["cohort"] == "known", "user_id"]),
        )
        shown = rank_neighbours(evaluated, records, known, encode, params.retrieve.n_candidates)
        table = pd.concat([table, shown], ignore_index=True)
    save_table(table, out / "candidates.parquet")
    return {
        "queries": len(queries),
        "queries_without_candidates": len(queries) - int(table["query_id"].nunique()),
        "kept_out": 0 if params.retrieve.show_commands else int(commanding_records(records).sum()),
        "candidates": {name: int(count) for name, count in table["ranker"].value_counts().sort_index().items()},
    }


main = stage_command(retrieve)

if __name__ == "__main__":
    raise SystemExit(main(None))

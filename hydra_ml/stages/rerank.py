"""rerank: orders each query's candidates by the reranker's score, with personal heads and with the shared one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hydra_ml.answering.arms import PERSONAL, SHARED
from hydra_ml.answering.reranker import rank_by_score, record_rows, reranker_scores
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.learning.draws import draw_per_user
from hydra_ml.params import Params
from hydra_ml.serving.component import Component
from hydra_ml.serving.pair_reader import PairReader
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def rerank(
    *, prepared: Path, retrieved: Path, reranker: Path, out: Path, cache: Path, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write out/ranking.parquet: arm ("hydra", "hydra_shared"), query_id, rank, record_id, score.

    Covers every evaluated query, and the training queries the adapter will learn from (those under "hydra" only).
    """
    rows = rows_to_rank(prepared, load_table(retrieved / "candidates.parquet"), params)
    reader = PairReader(params.train_reranker, params.encoder, cache, seed=params.seed)
    component = Component(reranker / "base", reranker / "heads", reader)
    ranking = ranked(rows, *reranker_scores(rows, reader.encode, component.score if component.has_learned else None))
    save_table(ranking[["arm", "query_id", "rank", "record_id", "score"]], out / "ranking.parquet")
    return {"queries": int(rows["query_id"].nunique()), "rows": len(ranking)}


def rows_to_rank(prepared: Path, candidates: pd.DataFrame, params: Params) -> pd.DataFrame:
    """The first ranker's candidates of every query that is asked, as `record_rows` gives them, with the query's role.

    candidates: rows of `retrieve`.
    """
    queries = load_table(prepared / "queries.parquet", ["query_id", "user_id", "role", "text"])
    records = load_table(prepared / "records.parquet", ["user_id", "record_id", "text"])
    train = draw_per_user(queries[queries["role"] == "train"], params.generate.queries_per_user, params.seed)
    wanted = pd.concat([queries[queries["role"] == "evaluate"], train])
    return record_rows(candidates[candidates["ranker"] == params.retrieve.ranker], wanted, records)


def ranked(rows: pd.DataFrame, personal: np.ndarray, shared: np.ndarray) -> pd.DataFrame:
    """The rankings by both scores: rows of `rank_by_score` by arm; training queries under "hydra" alone."""
    evaluated = (rows["role"] == "evaluate").to_numpy()
    return pd.concat(
        [
            rank_by_score(rows, personal).assign(arm=PERSONAL),
            rank_by_score(rows[evaluated], shared[evaluated]).assign(arm=SHARED),
        ],
        ignore_index=True,
    )


main = stage_command(rerank)

if __name__ == "__main__":
    raise SystemExit(main(None))

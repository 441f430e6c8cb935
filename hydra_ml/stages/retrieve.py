"""retrieve: the first ranking of every query over what it may see of its user's own history.

Training queries get the ranker that the reranker will start from; evaluated ones also those that the baselines need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.params import Params
from hydra_ml.retrieval import Ranking, rank_bm25, rank_dense, rank_random, rank_recency
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task

BASELINES = ("bm25", "recency", "random")  # evaluated queries are always ranked by these
Encode = Callable[[Sequence[str]], np.ndarray]


def retrieve(*, prepared: Path, out: Path, cache: Path, task: Task, params: Params) -> dict[str, Any]:
    """Write out/candidates.parquet: query_id, ranker, rank (int16, 0 best), record_id, score (float32, higher better).

    At most n_candidates rows per query and ranker; none for a query whose profile is empty.
    """
    queries = load_table(prepared / "queries.parquet", ["query_id", "user_id", "role", "text", "profile"])
    records = load_table(prepared / "records.parquet", ["user_id", "record_id", "text"])
    encode = open_encoder(params.encoder, cache).encode  # loads nothing unless the dense ranker asks
    histories = dict(iter(records.groupby("user_id")))  # rows keep their order: oldest first
    users = tqdm(queries.groupby("user_id"), desc=f"retrieve {task.folder}", unit="user")
    blocks = (
        block
        for user_id, asked in users
        for block in rank_user(asked, histories.get(user_id, records.iloc[:0]), params, encode)
    )
    table = candidate_table(blocks)
    save_table(table, out / "candidates.parquet")
    return {
        "queries": len(queries),
        "queries_without_candidates": len(queries) - int(table["query_id"].nunique()),
        "candidates": {name: int(count) for name, count in table["ranker"].value_counts().sort_index().items()},
    }


def rank_user(
    queries: pd.DataFrame, records: pd.DataFrame, params: Params, encode: Encode
) -> Iterator[dict[str, np.ndarray]]:
    """Candidate columns per ranker of one user: all queries by the chosen ranker, evaluated ones by the others too."""
    record_ids = records["record_id"].to_numpy(dtype=object)
    visible = visible_mask(queries["profile"], record_ids)
    evaluated = (queries["role"] == "evaluate").to_numpy()
    for ranker in dict.fromkeys((params.retrieve.ranker, *BASELINES)):
        some = np.ones_like(evaluated) if ranker == params.retrieve.ranker else evaluated
        if not some.any():
            continue
        ranking = _rank(ranker, queries[some], records, visible[some], params, encode)
        yield {
            "query_id": queries["query_id"].to_numpy(dtype=object)[some][ranking.query_idx],
            "ranker": np.full(len(ranking.rank), ranker, dtype=object),
            "rank": ranking.rank,
            "record_id": record_ids[ranking.record_idx],
            "score": ranking.score,
        }


def visible_mask(profiles: Iterable[Sequence[str]], record_ids: np.ndarray) -> np.ndarray:
    """bool [Q, R]: which of the user's records each profile names."""
    position = {record_id: i for i, record_id in enumerate(record_ids)}
    rows = [[position[record_id] for record_id in profile] for profile in profiles]
    visible = np.zeros((len(rows), len(record_ids)), dtype=bool)
    for mask, row in zip(visible, rows, strict=True):
        mask[row] = True
    return visible


def candidate_table(blocks: Iterable[dict[str, np.ndarray]]) -> pd.DataFrame:
    """All blocks, one after the other."""
    kept = list(blocks)
    return pd.DataFrame({name: np.concatenate([block[name] for block in kept]) for name in kept[0]})


def _rank(
    ranker: str,
    queries: pd.DataFrame,
    records: pd.DataFrame,
    visible: np.ndarray,
    params: Params,
    encode: Encode,
) -> Ranking:
    n = params.retrieve.n_candidates
    if ranker == "recency":
        return rank_recency(visible, n)
    if ranker == "random":
        return rank_random(queries["query_id"].tolist(), visible, n, seed=params.seed)
    asked, texts = queries["text"].tolist(), records["text"].tolist()
    if ranker == "bm25":
        return rank_bm25(texts, asked, visible, n)
    return rank_dense(encode(texts), encode(asked), visible, n)


main = stage_command(
    retrieve,
    {
        "prepared": "folder written by prepare",
        "out": "folder to write",
        "cache": "folder of the feature cache (dense ranker only)",
    },
)

if __name__ == "__main__":
    raise SystemExit(main(None))

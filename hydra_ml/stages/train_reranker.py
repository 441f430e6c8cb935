"""train_reranker: fits the reranker's base on known users' rows, then the heads of all users on the frozen base.

A row is a training query and one of its candidates; its target is whether the LLM, shown that record alone, was right.
Only queries whose candidates differ in that are learned from; where nothing was annotated (annotate.queries_per_user 0,
the default) the reranker keeps the first ranker's order. With --frozen the base stays as it is there, and heads
are refitted for users with new queries, in place of worse ones only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_ml.answering.fit_component import ComponentRows
from hydra_ml.answering.preferred_answers import preferred_answers
from hydra_ml.answering.reranker import AS_FIRST_RANKED, record_rows, retrieval_evidence
from hydra_ml.io.tables import load_table
from hydra_ml.params import Params
from hydra_ml.serving.fit import fit_and_save, save_unlearned
from hydra_ml.serving.pair_reader import PairReader
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def train_reranker(
    *,
    prepared: Path,
    retrieved: Path,
    annotated: Path,
    out: Path,
    cache: Path,
    frozen: Path | None = None,
    task: Task,
    params: Params,
) -> Mapping[str, Any]:
    """Write out/base, out/heads and out/curve.json; with `frozen`, what `serving.fit` describes."""
    columns = ["query_id", "user_id", "role", "cohort", "date", "text", *(["is_new"] if frozen else [])]
    queries = load_table(prepared / "queries.parquet", columns)
    records = load_table(prepared / "records.parquet", ["user_id", "record_id", "text"])
    candidates = load_table(retrieved / "candidates.parquet")
    candidates = candidates[candidates["ranker"] == params.retrieve.ranker].drop(columns="ranker")
    rows = load_table(annotated / "annotations.parquet")
    reader = PairReader(params.train_reranker, params.encoder, cache, seed=params.seed)
    if rows.empty and not frozen:
        return save_unlearned(out, reader, AS_FIRST_RANKED, task=task.folder, component="reranker")
    rows = rows.merge(candidates, on=["query_id", "record_id"], validate="one_to_one")
    rows = record_rows(rows, queries[["query_id", "user_id", "text"]], records)

    preferences = preferred_answers(task, *(rows[name].tolist() for name in ("answer", "gold", "query_id")))
    component = ComponentRows(rows, retrieval_evidence(rows, reader.encode), *preferences)
    return fit_and_save(
        component,
        queries,
        params.train_reranker,
        reader,
        task=task.folder,
        component="reranker",
        out=out,
        frozen=frozen,
        seed=params.seed,
    )


main = stage_command(train_reranker)

if __name__ == "__main__":
    raise SystemExit(main(None))

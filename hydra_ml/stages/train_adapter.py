"""train_adapter: fits the adapter's base on known users' rows, then the heads of all users on the frozen base.

A row is a training query and one distinct answer the LLM gave it; its label is whether the user would prefer it.
With --frozen the base stays as it is there, and heads are refitted for users with new queries, in place of worse ones
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_ml.answering.adapter import answer_texts, candidate_evidence, distinct_candidates, training_candidates
from hydra_ml.answering.fit_component import ComponentRows
from hydra_ml.answering.history_support import history_support
from hydra_ml.io.tables import load_table
from hydra_ml.params import Params
from hydra_ml.serving.fit import fit_and_save
from hydra_ml.serving.pair_reader import PairReader
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def train_adapter(
    *, prepared: Path, generated: Path, out: Path, cache: Path, frozen: Path | None = None, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write out/base, out/heads and out/curve.json; with `frozen`, what `serving.fit` describes."""
    columns = ["query_id", "user_id", "role", "cohort", "date", "input", "text", "gold", "profile"]
    columns += ["is_new"] if frozen else []
    queries = load_table(prepared / "queries.parquet", columns)
    answers = load_table(generated / "answers.parquet")
    train = queries[queries["role"] == "train"]
    rows = distinct_candidates(answers[answers["query_id"].isin(train["query_id"])])
    rows = rows.merge(train[["query_id", "gold"]], on="query_id", validate="many_to_one")
    rows, labels = training_candidates(rows, task, params.train_adapter.text_labels)
    facts = ["query_id", "user_id", "input", "text", "profile"]  # only now: a label more is a row more
    rows = rows.merge(train[facts], on="query_id", validate="many_to_one")
    rows = rows.assign(a=rows["text"], b=answer_texts(rows, task))

    reader = PairReader(params.train_adapter, params.encoder, cache, seed=params.seed)
    support = history_support(rows, load_table(prepared / "records.parquet"), task, reader.encode)
    component = ComponentRows(rows, candidate_evidence(rows, support), labels)
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
    )


main = stage_command(train_adapter)

if __name__ == "__main__":
    raise SystemExit(main(None))

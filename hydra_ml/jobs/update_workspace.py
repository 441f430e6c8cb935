"""The workspace of one shard of `update_heads`: tables of its users alone, in the shape that stages read."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.io.feedback_store import stored_choices
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.history_store import drop_names, opened_drop, records_of
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.io.user_tables import read_users, rows_of_users
from hydra_ml.learning.guard import guard_of
from hydra_ml.learning.preparation import record_table
from hydra_ml.learning.pseudo_queries import PreparedQuery
from hydra_ml.learning.refresh import Refresh
from hydra_ml.params import Params
from hydra_ml.records import QUERY_COLUMNS, RECORD_COLUMNS, Query, Record
from hydra_ml.tasks.task import Task


def run_stage(
    name: str, task: Task, params: Params, *, data: Path, caches: Mapping[bool, Path], places: Mapping[str, Path]
) -> dict[str, Any]:
    """Run a stage in this process on the folders below `data`; gives its summary. Raises its HydraError.

    caches: for stages that ask the LLM (True), and for the others. The offline LLM encodes texts in batches that depend
    on timing, and with encoders that are not packed a vector's last bits depend on its batch: kept apart, the models
    read vectors that depend on the users only. places: folders that lie elsewhere, by argument.
    """
    main = importlib.import_module(f"hydra_ml.stages.{name}").main
    summary: dict[str, Any] = main.run(task, params, data=data, cache=caches[main.asks_llm], places=places)
    return summary


@dataclass(frozen=True)
class Sources:
    """Where users' records come from."""

    prepared: Path  # folder that `prepare` wrote
    history: Path  # folder of drops
    feedback: Path  # the task's store of what users said
    learned: frozenset[str]  # drops whose records the present heads have learned


def write_prepared(
    sources: Sources, users: Sequence[str], task: Task, params: Params, out: Path
) -> tuple[list[str], Counter[str]]:
    """Write what `prepare` would for these users alone, all of it to learn from; queries.parquet has is_new besides.

    What may be learned from is `learning.refresh`'s. Returns the users with something to learn from, and what was left
    out. Raises ArtifactError if a source is missing or damaged.
    """
    guard = guard_of(
        load_table(sources.prepared / "guard.parquet"),
        dated=bool(load_json(sources.prepared / "manifest.json")["dated"]),
    )
    old = rows_of_users(sources.prepared / "records.parquet", users, RECORD_COLUMNS)
    records = pd.concat([old, records_of(sources.history, users)], ignore_index=True)
    records = records.drop_duplicates(["user_id", "record_id"])
    asked = rows_of_users(sources.prepared / "queries.parquet", users, QUERY_COLUMNS)
    cohorts = dict(zip(asked["user_id"], asked["cohort"], strict=True))
    asked = asked[(asked["role"] == "train") & (asked["source_record_id"] == "")]

    new = _new_records(sources, users)
    limit = max(params.annotate.queries_per_user, params.generate.queries_per_user)  # more would not be drawn
    refresh = Refresh(task, guard, seed=params.seed, history=params.prepare.history, limit=limit)
    histories, questions = dict(iter(records.groupby("user_id"))), dict(iter(asked.groupby("user_id")))
    prepared = []
    for user_id in users:
        history = histories.get(user_id, records.iloc[:0]).sort_values("date", kind="stable")
        own = [Record(**row) for row in _rows(history[list(RECORD_COLUMNS)])]
        of_user = [_question(row) for row in _rows(questions.get(user_id, asked.iloc[:0]))]
        cohort = cohorts.get(user_id, "new")
        prepared.append(refresh.user(own, of_user, cohort=cohort, new=new.get(user_id, ())))

    queries = refresh.queries(prepared, new)
    save_table(record_table(prepared), out / "records.parquet")
    save_table(queries, out / "queries.parquet")
    save_table(stored_choices(sources.feedback, queries), out / "choices.parquet")
    save_json({"task": task.folder, "dated": guard.dated}, out / "manifest.json")
    return sorted(queries["user_id"].unique()), refresh.dropped


def _question(row: Mapping[str, Any]) -> PreparedQuery:
    query = Query(**{name: row[name] for name in ("query_id", "user_id", "input", "text", "gold", "date")})
    return PreparedQuery(query, "train", row["cohort"], "", list(row["profile"]))


def _rows(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    return (dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None))


def _new_records(sources: Sources, users: Sequence[str]) -> dict[str, set[str]]:
    """Ids of these users' records in drops that the heads have not learned, by user."""
    wanted = sorted(set(users))
    found: dict[str, set[str]] = {}
    for name in drop_names(sources.history):
        if name not in sources.learned:
            with opened_drop(sources.history, name) as drop:
                table = read_users(drop, wanted, ["user_id", "record_id"])
            for user_id, record_id in zip(table["user_id"].to_pylist(), table["record_id"].to_pylist(), strict=True):
                found.setdefault(user_id, set()).add(record_id)
    return found

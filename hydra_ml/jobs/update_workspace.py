"""The workspace of one shard of `update_heads`: tables of its users alone, in the shape that the chain's stages read.

Which stages run, in which order and with which options is read from dvc.yaml; only the folders differ.
"""

from __future__ import annotations

import importlib
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ArtifactError
from hydra_ml.io.history_store import drop_names, opened_drop, read_users, records_of
from hydra_ml.io.tables import save_json, save_table
from hydra_ml.learning.draws import draw_per_user
from hydra_ml.learning.guard import Guard, load_guard
from hydra_ml.learning.history import held_out
from hydra_ml.learning.pseudo_queries import PreparedQuery, PreparedUser, asked_texts, pseudo_queries, queries_used
from hydra_ml.params import Params
from hydra_ml.records import QUERY_COLUMNS, RECORD_COLUMNS, Query, Record, normalized
from hydra_ml.stages.prepare import query_table, record_table
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class ChainStage:
    """A stage of dvc.yaml for one task."""

    name: str
    module: str
    options: tuple[str, ...]  # as dvc.yaml has them, paths included
    asks_llm: bool  # its settings name the LLM


def chain_to(targets: Collection[str], pipeline: Path, task: Task, present: Collection[str]) -> list[ChainStage]:
    """The stages to run for the outputs of `targets`, each after those it depends on; those `present` are there.

    Raises ArtifactError if the file is not a pipeline with these stages.
    """
    try:
        stages: dict[str, Any] = YAML(typ="safe").load(pipeline.read_text("utf-8"))["stages"]
        bodies = {name: _for_task(stage, task) for name, stage in stages.items()}
        maker = {path: name for name, body in bodies.items() for path in map(_path, body.get("outs", []))}
        order: list[str] = []

        def visit(name: str) -> None:
            """Put the stage into the order, after those that make what it reads."""
            if name in present or name in order:
                return
            for dep in bodies[name]["deps"]:
                if dep in maker:
                    visit(maker[dep])
            order.append(name)

        for target in targets:
            visit(target)
        return [_chain_stage(name, bodies[name]) for name in order]
    except (OSError, YAMLError, KeyError, TypeError, IndexError) as error:
        raise ArtifactError(
            f"{pipeline}: cannot be read as the pipeline that makes {', '.join(targets)} ({error!r}). Run from the "
            "project's folder, with its dvc.yaml whole (`git checkout dvc.yaml`)."
        ) from error


def _for_task(stage: Mapping[str, Any], task: Task) -> Any:
    return _filled(stage.get("do", stage), task.folder)


def _filled(value: Any, item: str) -> Any:
    """The value with `${item}` filled in, however deep."""
    if isinstance(value, str):
        return value.replace("${item}", item)
    if isinstance(value, Mapping):
        return {_filled(key, item): _filled(entry, item) for key, entry in value.items()}
    return [_filled(entry, item) for entry in value] if isinstance(value, list) else value


def _path(out: Any) -> str:
    return out if isinstance(out, str) else str(next(iter(out)))


def _chain_stage(name: str, body: Mapping[str, Any]) -> ChainStage:
    words = shlex.split(body["cmd"])
    at = words.index("-m") if "-m" in words else len(words)
    return ChainStage(name, words[at + 1], tuple(words[at + 2 :]), "llm.model" in body.get("params", []))


def run_stage(stage: ChainStage, *, data: Path, params: Path, caches: Mapping[bool, Path], extra: Sequence[str]) -> Any:
    """Run a stage in this process on the folders below `data`; gives its summary. Raises its HydraError.

    caches: for stages that ask the LLM (True), and for the others. The offline LLM encodes texts in batches that depend
    on timing, and with encoders that are not packed a vector's last bits depend on its batch: kept apart, the models
    read vectors that depend on the users only.
    """
    places = {"data": data, "params.yaml": params, ".cache": caches[stage.asks_llm]}
    argv = []
    for word in stage.options:
        head, _, tail = word.partition("/")
        argv.append(str(places[head] / tail) if head in places else word)
    return importlib.import_module(stage.module).main.run([*argv, *extra])


@dataclass(frozen=True)
class Sources:
    """Where users' records come from."""

    prepared: Path  # folder that `prepare` wrote
    history: Path  # folder of drops
    learned: frozenset[str]  # drops whose records the present heads have learned


def write_prepared(
    sources: Sources, users: Sequence[str], task: Task, params: Params, out: Path
) -> tuple[list[str], Counter[str]]:
    """Write what `prepare` would for these users alone, all of it to learn from; queries.parquet has is_new besides.

    A user's newest `prepare.history` records become pseudo-queries, known users' train questions are taken over; of
    both as many as the stages use, the new ones first, lest their draw pass over what this is all about. Nothing that
    an evaluated question asks or answers is learned from; records later than evaluated questions are, for the service
    answers tomorrow's. Returns the users with something to learn from, and what was left out. Raises ArtifactError if
    a source is missing or damaged.
    """
    guard = load_guard(sources.prepared)
    old = rows_of_users(sources.prepared / "records.parquet", users, RECORD_COLUMNS)
    records = pd.concat([old, records_of(sources.history, users)], ignore_index=True)
    records = records.drop_duplicates(["user_id", "record_id"])
    asked = rows_of_users(sources.prepared / "queries.parquet", users, QUERY_COLUMNS)
    cohorts = dict(zip(asked["user_id"], asked["cohort"], strict=True))
    asked = asked[(asked["role"] == "train") & (asked["source_record_id"] == "")]

    fresh = _new_records(sources, users)
    dropped: Counter[str] = Counter()
    prepared = []
    histories, questions = dict(iter(records.groupby("user_id"))), dict(iter(asked.groupby("user_id")))
    for user_id in users:
        history = histories.get(user_id, records.iloc[:0]).sort_values("date", kind="stable")
        history = history.iloc[-params.prepare.history :]
        own = [Record(**row) for row in _rows(history[list(RECORD_COLUMNS)])]
        facts = _rows(questions.get(user_id, asked.iloc[:0]))
        cohort, new = cohorts.get(user_id, "new"), fresh.get(user_id, set())
        prepared.append(_prepared_user(task, own, facts, cohort, new, guard, params, dropped))

    queries = query_table(prepared)
    keys = zip(queries["user_id"], queries["source_record_id"], strict=True)
    queries["is_new"] = np.array([source in fresh.get(user_id, ()) for user_id, source in keys], dtype=bool)
    queries = draw_per_user(queries, queries_used(params), params.seed, first=queries["is_new"].to_numpy())
    save_table(record_table(prepared), out / "records.parquet")
    save_table(queries, out / "queries.parquet")
    save_json({"task": task.folder, "dated": guard.dated}, out / "manifest.json")
    return sorted(queries["user_id"].unique()), dropped


def _prepared_user(
    task: Task,
    records: Sequence[Record],
    questions: Sequence[Mapping[str, Any]],
    cohort: Any,
    new: Collection[str],
    guard: Guard,
    params: Params,
    dropped: Counter[str],
) -> PreparedUser:
    """The user's pseudo-queries, of records that are `new` first, and their train questions with what is left of each
    one's own profile."""
    out = held_out(task, records, guard.evaluated)
    dropped["records that an evaluated question repeats"] += int(out.sum())
    rows = pseudo_queries(
        task,
        records,
        ~out,
        dated=guard.dated,
        cohort=cohort,
        dropped=dropped,
        references=guard.references,
        seed=params.seed,
        limit=queries_used(params),
        first=new,
    )
    usable = {record.record_id for record, held in zip(records, out, strict=True) if not held}
    asks = asked_texts(task, rows, records, ~out, limit=queries_used(params))
    for facts in questions:
        profile = [record_id for record_id in facts["profile"] if record_id in usable]
        if profile and normalized(facts["text"]) not in asks:
            names = ("query_id", "user_id", "input", "text", "gold", "date")
            query = Query(**{name: facts[name] for name in names})
            rows.append(PreparedQuery(query, "train", cohort, "", profile))
    return PreparedUser(records, out, rows)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


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


def rows_of_users(path: Path, user_ids: Collection[str], columns: Sequence[str]) -> pd.DataFrame:
    """The users' rows of a prepared table, in its order; row groups without any of them are not read.

    Raises ArtifactError if the table is missing or damaged.
    """
    wanted = sorted(set(user_ids))
    try:
        with pq.ParquetFile(path) as file:
            rows: pd.DataFrame = read_users(file, wanted, columns).to_pandas()
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such table. Run `dvc repro` to make it.") from None
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read as Parquet ({error}). Delete it and run `dvc repro`.") from error
    return rows

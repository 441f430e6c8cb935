"""prepare: LaMP files become users with histories, and queries that know what they may see.

Reads the train split and the evaluated split, no other, and what the ingest job has added to the users' histories.
Writes queries.parquet, records.parquet, choices.parquet (answers that users picked from a list), manifest.json, and
guard.parquet for those who learn between two runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hydra_ml.errors import DataError
from hydra_ml.io.feedback_store import stored_choices
from hydra_ml.io.files import file_digest, folder_digest, save_json
from hydra_ml.io.forgotten import load_forgotten
from hydra_ml.io.history_store import changed_users, drop_names, records_of
from hydra_ml.io.lamp.files import Question, is_dated, outputs_path, read_split
from hydra_ml.io.own_questions import OwnQuestions
from hydra_ml.io.tables import save_table
from hydra_ml.io.user_tables import ROW_GROUP
from hydra_ml.learning.guard import guard_table
from hydra_ml.learning.history import choose_cohorts
from hydra_ml.learning.preparation import Asked, Preparation, query_table, record_table, table_counts
from hydra_ml.params import Params
from hydra_ml.records import Record, content_digest
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def prepare(*, raw: Path, history: Path, feedback: Path, out: Path, task: Task, params: Params) -> dict[str, Any]:
    """Write tables and manifest below `out`; gives the manifest. Raises DataError on unfit files, before any write.

    history: drops of the ingest job; may be empty or absent. Their dated users can be learned from like any other.
    feedback: the task's store of what users said; may be absent too.
    Users and records that were forgotten are left out, however they came back.
    """
    split = params.prepare.evaluate_split
    own = OwnQuestions.of(raw, task, split)
    asked = read_asked(raw, split, task) if own is None else own.asked()
    forgotten = load_forgotten(raw.parents[1])
    asked = asked.without(lambda user_id: forgotten.has_user(task.folder, user_id))
    learners = asked.train.keys() | (changed_users(history, ()) if asked.dated else ())
    learners |= set() if own is None else own.user_ids()
    learners = {user_id for user_id in learners if not forgotten.has_user(task.folder, user_id)}
    cohorts = choose_cohorts(learners, asked.evaluate.keys(), params.prepare, dated=asked.dated, seed=params.seed)
    limit = max(params.annotate.queries_per_user, params.generate.queries_per_user)  # more would not be drawn
    user_ids = sorted(cohorts.known | cohorts.evaluated)
    arrived = arrived_records(history, user_ids)
    if own is not None:
        asked, before = own.with_profiles(asked, user_ids)
        arrived = {user_id: [*before.get(user_id, ()), *arrived.get(user_id, ())] for user_id in user_ids}
    preparation = Preparation(task, asked, cohorts, seed=params.seed, history=params.prepare.history, limit=limit)
    arrived = {user_id: forgotten.rest(task.folder, records) for user_id, records in arrived.items()}
    progress = tqdm(user_ids, desc=f"prepare {task.folder}", unit="user")
    users = [preparation.user(user_id, arrived.get(user_id, ())) for user_id in progress]
    queries, records = query_table(users), record_table(users)
    manifest = {
        "task": task.folder,
        "kind": task.kind,
        "dated": asked.dated,
        "definition": content_digest(task.definition),  # another one makes everything anew
        "data_version": _data_version(raw, split) if own is None else file_digest(own.path)[:16],
        "evaluate_split": split,
        "history": drop_names(history),
        "counts": table_counts(queries, records),
        "dropped": dict(sorted(preparation.dropped.items())),
    }
    save_table(records, out / "records.parquet", row_group_size=ROW_GROUP)  # `update_heads` reads a few users of it
    save_table(guard_table(preparation.guard), out / "guard.parquet")
    save_table(queries, out / "queries.parquet", row_group_size=ROW_GROUP)
    save_table(stored_choices(feedback, queries), out / "choices.parquet")
    save_json(manifest, out / "manifest.json")
    return manifest


def _data_version(raw: Path, split: str) -> str:
    return content_digest("".join(folder_digest(raw / name) for name in ("train", split)))[:16]


def read_asked(raw: Path, evaluate_split: str, task: Task) -> Asked:
    """Both splits' questions by user. Undated files: every question is a user of its own, named by its id.

    Raises DataError if a file is unfit, an id stands in both splits, or the evaluated answers are missing.
    """
    golds_path = outputs_path(raw, evaluate_split)
    if evaluate_split == "test" and golds_path.parent.is_dir() and not golds_path.exists():
        raise DataError(
            f"{golds_path}: no such file; official test answers are withheld. Evaluate on the dev split instead: set "
            "`prepare.evaluate_split: dev` in params.yaml."
        )
    train, train_golds = read_split(raw, "train", task)
    evaluate, evaluate_golds = read_split(raw, evaluate_split, task)
    repeated = sorted(train_golds.keys() & evaluate_golds.keys())
    if repeated:
        raise DataError(
            f"{raw}: {len(repeated)} question id(s) stand in train and in {evaluate_split}, the first {repeated[0]!r}. "
            "An id must name one question; rename or remove one of each pair."
        )
    dated = is_dated([*train, *evaluate])
    return Asked(dated, by_user(train), by_user(evaluate), train_golds | evaluate_golds)


def by_user(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """The questions of each user, in file order."""
    users: dict[str, list[Question]] = {}
    for question in questions:
        users.setdefault(question.user_id or question.question_id, []).append(question)
    return users


def arrived_records(history: Path, user_ids: Sequence[str]) -> dict[str, list[Record]]:
    """What the drops of the folder hold of these users, by user, oldest first."""
    users: dict[str, list[Record]] = {}
    for row in records_of(history, user_ids).to_dict("records"):
        users.setdefault(row["user_id"], []).append(Record(**{str(name): value for name, value in row.items()}))
    return users


main = stage_command(prepare)

if __name__ == "__main__":
    raise SystemExit(main(None))

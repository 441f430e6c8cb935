"""A shard's tables hold its users alone, nothing that is evaluated, and say what is new."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.history_store import append_drop
from hydra_ml.io.tables import save_table
from hydra_ml.jobs.update_workspace import Sources, write_prepared
from hydra_ml.learning.guard import Guard, guard_table
from hydra_ml.learning.history import Evaluated
from hydra_ml.learning.reference_pairs import References
from hydra_ml.params import Params, Prepare
from hydra_ml.records import QUERY_COLUMNS, Record, normalized
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")


def record(user: str, day: int, text: str = "", tag: str = "comedy") -> Record:
    text = text or f"film {day} of {user}"
    return Record(f"{user}{day:02d}", user, text, MOVIES.templated(text), tag, f"2020-01-{day:02d}")


def frame(*records: Record) -> pd.DataFrame:
    return pd.DataFrame([asdict(one) for one in records])


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Ann and Bob, five records each in the prepared tables; Ann has a train question. One evaluated text."""
    prepared = tmp_path / "prepare"
    old = [record(user, day) for user in ("ann", "bob") for day in range(1, 6)]
    save_table(frame(*old).assign(held_out=False), prepared / "records.parquet", row_group_size=5)
    question = {"query_id": "q1", "user_id": "ann", "role": "train", "cohort": "known", "source_record_id": ""}
    question |= {"input": MOVIES.templated("asked"), "text": "asked", "gold": "comedy", "date": "2020-01-04"}
    evaluated = question | {"query_id": "q2", "role": "evaluate", "text": "secret", "input": MOVIES.templated("secret")}
    rows = [question | {"profile": ["ann01", "ann02"]}, evaluated | {"profile": ["ann01"]}]
    save_table(pd.DataFrame(rows)[list(QUERY_COLUMNS)], prepared / "queries.parquet")
    save_json({"dated": True}, prepared / "manifest.json")
    evaluated = Evaluated(frozenset({normalized("secret")}), frozenset())
    save_table(guard_table(Guard(evaluated, References(), dated=True)), prepared / "guard.parquet")
    return Sources(prepared, tmp_path / "history", tmp_path / "feedback", frozenset())


def written(sources: Sources, users: list[str], out: Path, params: Params | None = None):
    some, left_out = write_prepared(sources, users, MOVIES, params or Params(), out)
    return pd.read_parquet(out / "queries.parquet"), pd.read_parquet(out / "records.parquet"), some, left_out


def test_old_and_new_records_of_these_users_alone(sources, tmp_path):
    append_drop(sources.history, frame(record("ann", 9), record("cleo", 8), record("cleo", 9)))
    queries, records, some, _ = written(sources, ["ann", "cleo"], tmp_path / "out")
    assert records["record_id"].tolist() == [*(f"ann{i:02d}" for i in (1, 2, 3, 4, 5, 9)), "cleo08", "cleo09"]
    assert set(queries["role"]) == {"train"}
    assert queries.loc[queries["is_new"], "source_record_id"].tolist() == ["ann09", "cleo09"]
    newest = queries.set_index("source_record_id").loc["ann09"]
    assert list(newest["profile"]) == [f"ann{i:02d}" for i in range(1, 6)]
    assert dict(zip(queries["user_id"], queries["cohort"], strict=True)) == {"ann": "known", "cleo": "new"}
    assert some == ["ann", "cleo"]
    assert load_json(tmp_path / "out/manifest.json")["dated"] is True


def test_what_is_evaluated_is_never_learned_from(sources, tmp_path):
    append_drop(sources.history, frame(record("ann", 8, "Secret "), record("ann", 9)))
    queries, records, _, left_out = written(sources, ["ann"], tmp_path / "out")
    assert records.set_index("record_id")["held_out"].to_dict()["ann08"]
    assert "ann08" not in set(queries["source_record_id"])
    assert not any("ann08" in profile for profile in queries["profile"])
    assert "secret" not in {normalized(text) for text in queries["text"]}
    assert left_out["records that an evaluated question repeats"] == 1


def test_train_questions_of_known_users_are_learned_from_again(sources, tmp_path):
    queries, _, _, _ = written(sources, ["ann", "bob"], tmp_path / "out")
    (question,) = queries[queries["source_record_id"] == ""].to_dict("records")
    assert (question["query_id"], list(question["profile"]), question["is_new"]) == ("q1", ["ann01", "ann02"], False)


def test_the_newest_records_are_kept_and_a_question_without_profile_is_not(sources, tmp_path):
    params = Params(prepare=Prepare(history=3))
    queries, records, _, _ = written(sources, ["ann"], tmp_path / "out", params)
    assert records["record_id"].tolist() == ["ann03", "ann04", "ann05"]
    assert "q1" not in set(queries["query_id"])


def test_new_queries_are_drawn_before_old_ones(sources, tmp_path):
    append_drop(sources.history, frame(record("ann", 8), record("ann", 9)))
    params = Params().model_copy(
        update={
            "annotate": Params().annotate.model_copy(update={"queries_per_user": 1}),
            "generate": Params().generate.model_copy(update={"queries_per_user": 3}),
        }
    )
    queries, _, _, _ = written(sources, ["ann"], tmp_path / "out", params)
    assert len(queries) == 3
    assert set(queries.loc[queries["is_new"], "source_record_id"]) == {"ann08", "ann09"}


def test_learned_drops_are_not_new(sources, tmp_path):
    first = append_drop(sources.history, frame(record("ann", 8)))
    append_drop(sources.history, frame(record("ann", 9)))
    learned = replace(sources, learned=frozenset({first}))
    queries, _, _, _ = written(learned, ["ann"], tmp_path / "out")
    assert queries.loc[queries["is_new"], "source_record_id"].tolist() == ["ann09"]


def test_a_user_with_nothing_to_learn_from(sources, tmp_path):
    append_drop(sources.history, frame(record("dan", 9)))
    queries, records, some, left_out = written(sources, ["dan"], tmp_path / "out")
    assert (len(queries), len(records), some) == (0, 1, [])
    assert left_out["records with nothing to see as a pseudo-query"] == 1


@pytest.mark.parametrize("name", ["records.parquet", "queries.parquet", "guard.parquet", "manifest.json"])
def test_a_missing_or_damaged_source_is_told(name, sources, tmp_path):
    path = sources.prepared / name
    path.write_bytes(b"PAR1 not")
    with pytest.raises(ArtifactError, match=name):
        write_prepared(sources, ["ann"], MOVIES, Params(), tmp_path / "out")
    path.unlink()
    with pytest.raises(ArtifactError, match=name):
        write_prepared(sources, ["ann"], MOVIES, Params(), tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""retrieve: which rows get which ranker, and that profiles are obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rank_bm25 import BM25Okapi

from hydra_ml.errors import ParamsError
from hydra_ml.io.tables import save_table
from hydra_ml.params import Evaluate, Params, Retrieve
from hydra_ml.stages.retrieve import retrieve
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
TEXTS = [
    "a robot falls in love with the sea",
    "two sisters open a bakery",
    "the robot uprising begins at sea",
    "a quiet love story",
    "a bakery burns",
]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Two users with the same record ids; ann's query sees all but her first record, bob's question nothing."""
    rows = [
        {"user_id": user, "record_id": f"r{i}", "text": text, "answer": "comedy"}
        for user, texts in (("bob", TEXTS[:2]), ("ann", TEXTS))
        for i, text in enumerate(texts)
    ]
    queries = [
        ("ann-asks", "ann", "evaluate", "a robot in love", ["r1", "r2", "r3", "r4"]),
        ("ann/r3", "ann", "train", TEXTS[3], ["r0", "r1", "r2"]),
        ("bob-asks", "bob", "evaluate", "a robot in love", []),
    ]
    save_table(pd.DataFrame(rows), tmp_path / "prepared" / "records.parquet")
    columns = ["query_id", "user_id", "role", "text", "profile"]
    save_table(pd.DataFrame(queries, columns=columns), tmp_path / "prepared" / "queries.parquet")
    return tmp_path / "prepared"


def candidates(prepared: Path, **settings: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    params = Params(retrieve=Retrieve(**settings))
    out, cache = prepared.parent / "out", prepared.parent / "cache"
    summary = retrieve(prepared=prepared, out=out, cache=cache, task=MOVIES, params=params)
    return pd.read_parquet(out / "candidates.parquet"), summary


def ranked(table: pd.DataFrame, query_id: str, ranker: str) -> list[str]:
    rows = table[(table["query_id"] == query_id) & (table["ranker"] == ranker)].sort_values("rank")
    assert rows["rank"].tolist() == list(range(len(rows)))
    return rows["record_id"].tolist()


def test_bm25_candidates(prepared: Path) -> None:
    table, summary = candidates(prepared, n_candidates=3)
    assert list(table.columns) == ["query_id", "ranker", "rank", "record_id", "score"]
    assert str(table["rank"].dtype) == "int16"
    assert str(table["score"].dtype) == "float32"
    scores = BM25Okapi([text.split() for text in TEXTS[1:]]).get_scores(["a", "robot", "in", "love"])
    best = sorted(range(4), key=lambda i: (-round(scores[i], 6), -i))[:3]
    assert ranked(table, "ann-asks", "bm25") == [f"r{i + 1}" for i in best]
    rows = table[(table["query_id"] == "ann-asks") & (table["ranker"] == "bm25")]
    assert rows["score"].tolist() == pytest.approx([scores[i] for i in best], rel=1e-6)
    assert ranked(table, "ann-asks", "recency") == ["r4", "r3", "r2"]
    assert set(ranked(table, "ann-asks", "random")) < {"r1", "r2", "r3", "r4"}
    assert set(ranked(table, "ann/r3", "bm25")) == {"r0", "r1", "r2"}
    assert summary["queries_without_candidates"] == 1  # bob's
    assert summary["candidates"] == {"bm25": 6, "random": 3, "recency": 3}


def test_training_rows_have_the_chosen_ranker_alone(prepared: Path) -> None:
    table, _ = candidates(prepared, ranker="recency", n_candidates=2)
    assert ranked(table, "ann/r3", "recency") == ["r2", "r1"]
    assert set(table.loc[table["query_id"] == "ann/r3", "ranker"]) == {"recency"}
    assert set(table.loc[table["query_id"] == "ann-asks", "ranker"]) == {"bm25", "recency", "random"}


def test_dense_ranks_by_meaning(prepared: Path) -> None:
    table, _ = candidates(prepared, ranker="dense", n_candidates=10)
    assert ranked(table, "ann/r3", "dense")[0] == "r0"  # the other love story
    assert set(table.loc[table["query_id"] == "ann-asks", "ranker"]) == {"dense", "bm25", "recency", "random"}
    assert table.loc[table["ranker"] == "dense", "score"].between(-1.001, 1.001).all()


def test_same_input_same_bytes(prepared: Path) -> None:
    candidates(prepared)
    first = (prepared.parent / "out" / "candidates.parquet").read_bytes()
    candidates(prepared)
    assert (prepared.parent / "out" / "candidates.parquet").read_bytes() == first


def test_methods_of_which_the_task_has_none_are_told_before_anything_is_bought(prepared: Path) -> None:
    params = Params(evaluate=Evaluate(methods=["copy_input"]))
    with pytest.raises(ParamsError, match="copy_input is no method that LaMP-2 has"):
        retrieve(prepared=prepared, out=prepared, cache=prepared, task=MOVIES, params=params)

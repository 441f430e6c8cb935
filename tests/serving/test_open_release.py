"""An opened release answers as the chain that made it did, and refuses what does not belong to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import load_params
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.params import LLM
from hydra_ml.predictions import PREDICTION_COLUMNS
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.serving.open_release import OpenRelease, check_encoder, open_release, release_params
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")


@dataclass
class Served:
    """The chain's release, registered in a store of its own, and what it can be asked."""

    registry: Registry
    cache: Path
    version: str
    queries: pd.DataFrame
    records: pd.DataFrame

    def open(self, cache: Path | None = None) -> OpenRelease:
        return open_release(self.registry, TASK, self.version, cache=cache or self.cache)

    def requests(self) -> pd.DataFrame:
        return self.queries.rename(columns={"query_id": "request_id"})[["request_id", "user_id", "input", "profile"]]


@pytest.fixture(scope="module")
def served(chain, tmp_path_factory) -> Served:
    root = tmp_path_factory.mktemp("served")
    for stage in [path.name for path in chain.root.iterdir() if path.is_dir() and path.name != ".cache"]:
        shutil.copytree(chain.root / stage, root / "data" / stage / TASK.folder)
    shutil.copytree(chain.root / ".cache", root / ".cache")
    registry = Registry(f"sqlite:///{root / '.mlflow' / 'mlflow.db'}", cache=root / ".cache")
    params = load_params(chain.root / "params.yaml")
    version = register_chain(TASK, params, data=root / "data", run_name="served", registry=registry)
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    queries = queries[queries["role"] == "evaluate"].reset_index(drop=True)
    records = pd.read_parquet(chain.path("prepare", "records.parquet"), columns=list(RECORD_COLUMNS))
    return Served(registry, root / ".cache", version, queries, records)


@pytest.fixture(scope="module")
def scored(served) -> pd.DataFrame:
    return served.open().score(served.requests(), served.records)


def test_serving_gives_exactly_what_evaluate_wrote(served, scored, chain):
    evaluated = pd.read_parquet(chain.path("evaluate", "predictions.parquet"))
    evaluated = evaluated[evaluated["method"] == "hydra"].set_index("query_id").loc[served.queries["query_id"]]
    assert list(scored.columns) == list(PREDICTION_COLUMNS)
    assert scored["request_id"].tolist() == evaluated.index.tolist()
    assert scored["prediction"].tolist() == evaluated["prediction"].tolist()
    np.testing.assert_allclose(scored["score"], evaluated["score"], atol=1e-5)
    assert scored["llm_calls"].sum() == 0  # generate has paid for every answer


def test_candidates_and_records_are_those_of_the_chain(served, scored, chain):
    table = pd.read_parquet(chain.path("evaluate", "candidates.parquet"))
    table = table[table["method"] == "hydra"]
    found = scored.set_index("request_id")["candidates"].explode().apply(pd.Series).set_index("answer", append=True)
    expected = table.set_index(["query_id", "answer"]).loc[found.index]
    backed = table[(table["votes"] > 0) | (table["greedy_share"] > 0)].set_index(["query_id", "answer"]).index
    assert set(backed) <= set(found.index)  # and what was chosen though nobody proposed it
    assert found["votes"].tolist() == expected["votes"].tolist()
    np.testing.assert_allclose(found[["personal", "shared"]].astype(float), expected[["personal", "shared"]], atol=1e-5)
    ranking = pd.read_parquet(chain.path("rerank", "ranking.parquet"))
    top = ranking[(ranking["arm"] == "hydra") & (ranking["rank"] < 4)].sort_values(["query_id", "rank"])
    shown = top.groupby("query_id")["record_id"].agg(list).reindex(scored["request_id"])
    assert scored["chosen_record_ids"].tolist() == [ids if isinstance(ids, list) else [] for ids in shown]


def test_an_answer_does_not_depend_on_what_else_is_asked(served, scored, tmp_path):
    """Before it: the same bits. In the same call: up to the last bits of a score, though every vector is computed."""
    opened = served.open(tmp_path)
    shutil.copy(served.cache / "responses.sqlite", tmp_path)
    some, others = served.requests().iloc[:3], served.requests().iloc[-3:]
    assert not set(some["user_id"]) & set(others["user_id"])
    records, their_records = (served.records[served.records["user_id"].isin(r["user_id"])] for r in (some, others))
    first = opened.score(some, records)
    opened.score(others, their_records)
    pd.testing.assert_frame_equal(opened.score(some, records), first, check_exact=True)
    next(tmp_path.glob("features-*.sqlite")).unlink()
    all_six = served.open(tmp_path).score(pd.concat([others, some]), pd.concat([their_records, records]))
    again = all_six.iloc[3:].reset_index(drop=True)
    np.testing.assert_allclose(again["score"], first["score"], atol=1e-5)
    scores = ["score", "candidates"]  # the candidates carry their scores
    pd.testing.assert_frame_equal(again.drop(columns=scores), first.drop(columns=scores))


def test_users_are_served_by_what_is_known_of_them(served):
    known = served.queries.iloc[0]
    requests = pd.DataFrame(
        [
            ("p", known["user_id"], known["input"], known["profile"]),
            ("p0", known["user_id"], known["input"], []),
            ("s", "newcomer", known["input"], ["r"]),
            ("n", "stranger", known["input"], []),
        ],
        columns=["request_id", "user_id", "input", "profile"],
    )
    newcomer = pd.DataFrame([("newcomer", "r", "A clown.", TASK.templated("A clown."), "comedy", "2020")])
    newcomer.columns = list(RECORD_COLUMNS)
    found = served.open().score(requests, pd.concat([served.records, newcomer]))
    assert found["personalization"].tolist() == ["personal", "personal", "shared", "none"]
    assert found["n_history"].tolist() == [len(known["profile"]), 0, 1, 0]
    shared = found.set_index("request_id").loc[["s", "n"]]
    assert (shared["prediction"] == shared["generic_prediction"]).all()
    for candidates in shared["candidates"]:
        assert all(one["personal"] == one["shared"] for one in candidates)
    assert (found["release"] == served.version).all()


def test_how_the_llm_is_called_is_the_callers_affair_and_which_the_releases(served):
    how = LLM(model="another", concurrency=3, max_calls=1)
    opened = open_release(served.registry, TASK, served.version, served.cache, llm=how)
    assert opened.params.llm == how.model_copy(update={"model": "offline-minilm"})
    with opened.llm(LLM(model="third", max_calls=7)) as client:
        assert client.model == "offline-minilm"


def test_a_release_that_cannot_be_served_is_refused(served):
    with pytest.raises(ArtifactError, match="no release is 'champion'"):
        open_release(served.registry, TASK, "champion", served.cache)
    _, release = served.registry.release(TASK, served.version)
    odd = replace(release, params={**release.params, "swarm": 3})
    with pytest.raises(ArtifactError, match=r"settings this version of hydra_ml does not know(.|\n)*swarm"):
        release_params(odd, "lamp-2.release version 1")
    base = served.registry.fetch(TASK, release.components["adapter.base"])
    manifest = json.loads((base / "manifest.json").read_text())
    check_encoder(manifest, manifest, "here")
    with pytest.raises(ArtifactError, match=r"digest .*this machine's has 00aa"):
        check_encoder(manifest, {**manifest, "encoder_digest": "00aa"}, "here")


def test_profiles_that_name_foreign_records_are_refused(served):
    requests = served.requests().iloc[:2]
    with pytest.raises(DataError, match="not among the records given"):
        served.open().score(requests, served.records[served.records["user_id"] != requests["user_id"].iloc[0]])

"""Without annotations, the default: the reranker keeps the first ranker's order, and only one prompt is paid for."""

import pandas as pd
import pytest

from hydra_ml.answering.reranker import record_rows, reranker_scores
from hydra_ml.io.files import load_json
from hydra_ml.params import Params
from hydra_ml.serving.component import Component
from hydra_ml.serving.pair_reader import PairReader
from tests.conftest import small_chain


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory):
    return small_chain(tmp_path_factory.mktemp("unlearned"), annotate={"queries_per_user": 0})


def test_nothing_is_annotated_and_nobody_gets_a_head(unlearned):
    assert unlearned.summaries["annotate"]["calls"] == 0
    fit = load_json(unlearned.path("train_reranker", "base/manifest.json"))["fit"]
    assert (fit["n_rows"], fit["epochs"], fit["heads"]["used"]) == (0, 0, False)


def test_records_are_ranked_as_first_ranked(unlearned):
    ranking = pd.read_parquet(unlearned.path("rerank", "ranking.parquet"))
    first = pd.read_parquet(unlearned.path("retrieve", "candidates.parquet"))
    first = first[first["ranker"] == "bm25"].set_index(["query_id", "record_id"])["rank"]
    places = list(zip(ranking["query_id"], ranking["record_id"], strict=True))
    assert ranking["rank"].tolist() == first.loc[places].tolist()


def test_both_served_prompts_are_one_and_paid_for_once(unlearned):
    answers = pd.read_parquet(unlearned.path("generate", "answers.parquet"))
    told = answers.set_index(["query_id", "arm", "sample_idx"])["answer"].unstack("arm")
    pd.testing.assert_series_equal(told["hydra"], told["rag_k4"], check_names=False)
    assert (
        unlearned.summaries["generate"]["calls"] <= answers[answers["arm"] != "hydra"].groupby("query_id").ngroups * 9
    )


def test_methods_that_tell_of_the_reranker_are_left_out(unlearned, chain):
    shown, with_reranker = (load_json(one.path("evaluate", "metrics.json")).keys() for one in (unlearned, chain))
    assert with_reranker - shown == {"hydra_adapter", "hydra_reranker"}


def test_the_stored_base_too_scores_in_that_order(unlearned):
    reader = PairReader(
        Params().train_reranker.model_copy(update={"width": 8}), Params().encoder, unlearned.root / ".cache", seed=42
    )
    component = Component(unlearned.path("train_reranker", "base"), unlearned.path("train_reranker", "heads"), reader)
    assert not component.has_learned
    candidates = pd.read_parquet(unlearned.path("retrieve", "candidates.parquet")).query("ranker == 'bm25'").head(200)
    queries = pd.read_parquet(unlearned.path("prepare", "queries.parquet"))[["query_id", "user_id", "text"]]
    records = pd.read_parquet(unlearned.path("prepare", "records.parquet"))
    rows = record_rows(candidates, queries, records)
    for scores in reranker_scores(rows, reader.encode, component.score):
        assert (
            rows.assign(score=scores)
            .sort_values(["query_id", "rank"])
            .groupby("query_id")["score"]
            .is_monotonic_decreasing.all()
        )

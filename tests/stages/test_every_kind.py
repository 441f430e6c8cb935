"""The whole chain on every kind of task, on undated files, and with the cross encoder."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from hydra_ml.evaluation.results import WORST_DECILE
from hydra_ml.evaluation.style import DISTANCES
from hydra_ml.tasks import get_task


def results(chain) -> tuple[dict, pd.DataFrame]:
    metrics = json.loads(chain.path("evaluate", "metrics.json").read_text())
    return metrics, pd.read_parquet(chain.path("evaluate", "predictions.parquet"))


@pytest.mark.parametrize("task", ["LaMP_1", "LaMP_3", "LaMP_4", "LaMP_7"])
def test_every_kind_of_answer_goes_through_all_stages(make_chain, task):
    """A choice, a rating, free text, and free text with the input as its floor."""
    chain = make_chain(task)
    metrics, predictions = results(chain)
    measures, floor = get_task(task).measures, {"LaMP_3": "user_majority", "LaMP_7": "copy_input"}.get(task)
    n = chain.summaries["prepare"]["counts"]["evaluated_queries"]
    beside = {WORST_DECILE, *(DISTANCES if get_task(task).kind == "text" else ())}
    assert set(metrics["hydra"]) == {*measures, *beside}
    assert chain.path("arena", "report.html").exists()
    assert metrics["hydra"][measures[0]]["n"] == n > 0
    assert {"hydra", "hydra_shared", "rag_k4", "zero_shot"} <= set(metrics)
    assert {name for name in metrics if name in ("user_majority", "copy_input")} == ({floor} if floor else set())
    chosen = predictions[predictions["method"] == "hydra"]
    assert len(chosen) == n
    assert np.isfinite(chosen["score"]).all()
    if get_task(task).labels:
        assert set(chosen["prediction"].dropna()) <= set(get_task(task).labels)
    assert chain.summaries["train_adapter"]["n_rows"] > 0


def test_undated_files_have_new_users_alone_and_no_dates(make_chain):
    chain = make_chain("LaMP_2", dated=False)
    metrics, predictions = results(chain)
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    assert set(queries["date"]) == {""}
    assert set(predictions["cohort"]) == {"new"}
    assert predictions.loc[predictions["method"] == "hydra", "user_id"].is_unique
    assert metrics["hydra"]["accuracy"]["n"] == 12


@pytest.mark.slow
def test_the_cross_encoder_reads_pairs_from_end_to_end(make_chain):
    cross = {"encoder": "cross", "epochs": 1, "batch_size": 16}
    chain = make_chain("LaMP_2", train_reranker=cross, train_adapter=cross, encoder={"max_tokens": 48})
    metrics, _ = results(chain)
    assert json.loads(chain.path("train_adapter", "base/manifest.json").read_text())["encoder_kind"] == "cross"
    assert metrics["hydra"]["accuracy"]["n"] > 0

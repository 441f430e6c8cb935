"""evaluate: all methods on the same queries, results as the design names them."""

import json

import pandas as pd

METHODS = {"user_majority", "zero_shot", "icl_random", "recency", "rag_k1", "rag_k4"}
METHODS |= {"hydra_reranker", "hydra_adapter", "hydra_shared", "hydra"}


def test_metrics_are_methods_with_measures_and_facts_at_the_top(chain):
    metrics = json.loads(chain.path("evaluate", "metrics.json").read_text())
    assert metrics["llm"] == "offline-minilm"
    assert metrics["seed"] == 42
    assert metrics["data_version"] == chain.summaries["prepare"]["data_version"]
    assert (metrics["prompts"], metrics["answers_read"]) == ("lamp", "lenient")
    assert set(metrics) - {"bill", "llm", "prompts", "answers_read", "seed", "data_version", "task"} == METHODS
    assert set(metrics["hydra"]["accuracy"]) == {"value", "ci_low", "ci_high", "n"}
    assert metrics["hydra"]["accuracy"]["n"] == 64  # eight users, eight test questions each


def test_every_method_answers_every_query_and_the_figures_follow_from_the_predictions(chain):
    predictions = pd.read_parquet(chain.path("evaluate", "predictions.parquet"))
    metrics = json.loads(chain.path("evaluate", "metrics.json").read_text())
    for method, rows in predictions.groupby("method"):
        assert rows["query_id"].nunique() == len(rows) == 64
        assert abs((rows["prediction"] == rows["gold"]).mean() - metrics[method]["accuracy"]["value"]) < 1e-9


def test_the_adapter_chooses_among_what_the_llm_proposed(chain):
    predictions = pd.read_parquet(chain.path("evaluate", "predictions.parquet"))
    answers = pd.read_parquet(chain.path("generate", "answers.parquet"))
    pool = answers[answers["arm"].isin(["hydra", "rag_k4"])]
    proposed = set(pool[["query_id", "answer"]].itertuples(index=False, name=None))
    chosen = predictions[predictions["method"] == "hydra"][["query_id", "answer"]]
    assert set(chosen.itertuples(index=False, name=None)) <= proposed


def test_known_and_new_users_and_history_bands_are_reported_apart(chain):
    details = json.loads(chain.path("evaluate", "details.json").read_text())
    assert set(details["cohorts"]) == {"known", "new"}
    assert sum(part["n_queries"] for part in details["cohorts"].values()) == 64
    assert sum(part["n_queries"] for part in details["bands"].values()) == 64
    assert {"worse", "equal", "better"} <= set(details["users"]["hydra"])


def test_plots_are_there(chain):
    for name in ("methods.png", "history.png"):
        assert chain.path("evaluate", f"plots/{name}").read_bytes()[:4] == b"\x89PNG"


def test_what_dvc_shows_is_short_and_follows_from_the_metrics(chain):
    metrics = json.loads(chain.path("evaluate", "metrics.json").read_text())
    shown = json.loads(chain.path("evaluate", "headline.json").read_text())
    assert len(shown) < 10
    assert (shown["measure"], shown["n"]) == ("accuracy", 64)
    values = {method: metrics[method]["accuracy"]["value"] for method in METHODS}
    assert shown["hydra"] == round(values["hydra"], 4)
    assert abs(shown["gain"] - (values["hydra"] - values["rag_k4"])) < 2e-4
    methods = pd.read_csv(chain.path("evaluate", "methods.csv"))
    assert dict(zip(methods["methods"], methods["value"], strict=True)) == values
    assert len(pd.read_csv(chain.path("evaluate", "history.csv"))) % 3 == 0

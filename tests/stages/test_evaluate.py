"""evaluate: all methods on the same queries, results as the design names them."""

import json

import pandas as pd

METHODS = {"user_majority", "zero_shot", "icl_random", "recency", "rag_k1", "rag_k4"}
METHODS |= {"hydra_reranker", "hydra_adapter", "hydra_shared", "hydra"}
METHODS |= {"history_vote", "hydra_swapped", "best_candidate"}


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


def test_the_adapter_chooses_among_all_labels_with_the_votes_of_what_the_llm_proposed(chain):
    candidates = pd.read_parquet(chain.path("evaluate", "candidates.parquet"))
    candidates = candidates[candidates["method"] == "hydra"]
    answers = pd.read_parquet(chain.path("generate", "answers.parquet"))
    pool = answers[answers["arm"].isin(["hydra", "rag_k4"]) & answers["query_id"].isin(candidates["query_id"])]
    proposed = set(pool.loc[pool["is_parsed"], ["query_id", "answer"]].itertuples(index=False, name=None))
    backed = candidates[(candidates["votes"] > 0) | (candidates["greedy_share"] > 0)]
    assert set(backed[["query_id", "answer"]].itertuples(index=False, name=None)) == proposed
    assert set(candidates.groupby("query_id").size()) == {15}


def test_the_report_says_whether_heads_are_used_and_what_speaks_for_them(chain):
    details = json.loads(chain.path("evaluate", "details.json").read_text())
    assert details["heads"]["used"] is True
    assert details["heads"]["n_judged"] > 0
    assert "hydra_swapped" in details["paired"]["hydra"]
    assert details["best_baseline"] not in {"best_candidate", "hydra_swapped"}


def test_known_and_new_users_and_history_bands_are_reported_apart(chain):
    details = json.loads(chain.path("evaluate", "details.json").read_text())
    assert set(details["cohorts"]) == {"known", "new"}
    assert sum(part["n_queries"] for part in details["cohorts"].values()) == 64
    assert sum(part["n_queries"] for part in details["bands"].values()) == 64
    assert {"worse", "equal", "better"} <= set(details["harm"]["hydra"]["rag_k4"]["users"])


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


def test_prompts_that_showed_what_they_must_not_stop_it_before_anything_is_measured(chain, tmp_path, capsys):
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    records = pd.read_parquet(chain.path("prepare", "records.parquet"))
    asked = queries[queries["role"] == "evaluate"].iloc[0]
    candidates = pd.read_parquet(chain.path("retrieve", "candidates.parquet"))
    theirs = records.loc[records["user_id"] != asked["user_id"], "record_id"].iloc[0]
    candidates.loc[(candidates["query_id"] == asked["query_id"]) & (candidates["rank"] == 0), "record_id"] = theirs
    candidates.to_parquet(tmp_path / "candidates.parquet")
    out = tmp_path / "out"
    assert chain.run("evaluate", "--retrieved", str(tmp_path), "--out", str(out)) == 1
    told = capsys.readouterr().err
    assert "the prompts leak" in told
    assert f"/{asked['query_id']}" in told
    assert not out.exists()


def test_what_the_leak_checks_counted_stands_beside_the_results(chain):
    leaks = json.loads(chain.path("evaluate", "details.json").read_text())["leaks"]
    answers = pd.read_parquet(chain.path("generate", "answers.parquet"))
    assert leaks["prompts"] == len(answers.drop_duplicates(["arm", "query_id"]))
    assert {"near_duplicates", "repeated_answers", "quoted_answers"} <= set(leaks)

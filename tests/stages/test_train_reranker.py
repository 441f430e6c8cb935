"""train_reranker: a base, heads for known and new users alike, and the curve."""

import json

import pandas as pd

from hydra_ml.io.head_bank import HeadBank


def test_manifests_say_how_and_on_what_it_was_fitted(chain):
    base = json.loads(chain.path("train_reranker", "base/manifest.json").read_text())
    heads = json.loads(chain.path("train_reranker", "heads/manifest.json").read_text())
    assert heads["base_digest"] == base["digest"]
    assert (base["task"], base["component"]) == ("LaMP_2", "reranker")
    assert base["fit"]["ridge"] in (3.0, 30.0)
    assert heads["n_users"] == chain.summaries["train_reranker"]["n_heads"]


def test_new_users_get_heads_too(chain):
    digest = chain.summaries["train_reranker"]["base_digest"]
    heads = HeadBank(chain.root / "train_reranker/heads", base_digest=digest)
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    new = set(queries[queries["cohort"] == "new"]["user_id"])
    assert new & set(heads.user_ids())


def test_same_input_same_bytes(chain):
    files = sorted((chain.root / "train_reranker").rglob("*.*"))
    before = {path: path.read_bytes() for path in files}
    assert chain.run("train_reranker") == 0
    assert {path: path.read_bytes() for path in files} == before


def test_the_curve_holds_one_point_per_epoch_from_the_evidence_on(chain):
    curve = json.loads(chain.path("train_reranker", "curve.json").read_text())
    assert [point["epoch"] for point in curve["curve"]] == list(range(len(curve["curve"])))
    assert curve["curve"][0]["train_loss"] is None  # epoch 0 is the evidence alone
    assert all(point["train_loss"] > 0 for point in curve["curve"][1:])

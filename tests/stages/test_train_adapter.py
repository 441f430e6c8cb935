"""train_adapter: learns from training queries only, for every user who has some."""

import json

import pandas as pd

from hydra_ml.io.head_bank import HeadBank


def test_every_user_with_training_queries_has_a_head(chain):
    digest = chain.summaries["train_adapter"]["base_digest"]
    heads = HeadBank(chain.root / "train_adapter/heads", base_digest=digest)
    answers = pd.read_parquet(chain.path("generate", "answers.parquet"))
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet")).set_index("query_id")
    trained = answers[answers["query_id"].map(queries["role"]) == "train"]["query_id"].map(queries["user_id"])
    assert set(heads.user_ids()) == set(trained)


def test_evaluated_golds_cannot_reach_the_fit(chain, tmp_path):
    """Scrambling every evaluated gold leaves every byte of the component as it was."""
    path = chain.path("prepare", "queries.parquet")
    original = path.read_bytes()
    before = chain.path("train_adapter", "heads/heads-00000-of-00001.safetensors").read_bytes()
    queries = pd.read_parquet(path)
    queries.loc[queries["role"] == "evaluate", "gold"] = "comedy"
    try:
        queries.to_parquet(path, index=False)
        assert chain.run("train_adapter") == 0
        assert chain.path("train_adapter", "heads/heads-00000-of-00001.safetensors").read_bytes() == before
    finally:
        path.write_bytes(original)


def test_manifest_names_its_base_and_fit(chain):
    manifest = json.loads(chain.path("train_adapter", "heads/manifest.json").read_text())
    assert manifest["component"] == "adapter"
    assert manifest["base_digest"] == chain.summaries["train_adapter"]["base_digest"]
    assert manifest["fit"]["heads"]["used"] is True
    assert manifest["fit"]["n_rows"] % 15 == 0  # every label may be chosen


def test_answers_that_are_not_served_cannot_reach_the_fit(chain):
    """What a rival has training queries asked besides leaves every byte of the component as it was."""
    path = chain.path("generate", "answers.parquet")
    original = path.read_bytes()
    heads = chain.path("train_adapter", "heads/heads-00000-of-00001.safetensors")
    before = heads.read_bytes()
    answers = pd.read_parquet(path)
    role = pd.read_parquet(chain.path("prepare", "queries.parquet")).set_index("query_id")["role"]
    trained = answers[(answers["query_id"].map(role) == "train") & (answers["arm"] == "rag_k4")]
    others = trained.assign(arm="recency", prompt="recency of " + trained["query_id"], answer="comedy")
    try:
        pd.concat([answers, others]).to_parquet(path, index=False)
        assert chain.run("train_adapter") == 0
        assert heads.read_bytes() == before
    finally:
        path.write_bytes(original)

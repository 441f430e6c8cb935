"""train_adapter: learns from training queries only, for every user who has some."""

import json
import shutil

import pandas as pd
import pytest

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
    assert manifest["fit"]["positive_share"] == pytest.approx(1 / 15, abs=0.001)  # every label stands once


@pytest.fixture(scope="module")
def prepared(chain, tmp_path_factory):
    """The chain's tables as update_heads hands them on: the first user's queries are new."""
    folder = tmp_path_factory.mktemp("prepared")
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    first = sorted(queries.loc[queries["role"] == "train", "user_id"].unique())[0]
    queries.assign(is_new=queries["user_id"] == first).to_parquet(folder / "queries.parquet", index=False)
    shutil.copy(chain.path("prepare", "records.parquet"), folder)
    return folder, first


def refit(chain, prepared, out, frozen):
    return chain.run("train_adapter", "--prepared", str(prepared), "--out", str(out), "--frozen", str(frozen))


def test_a_frozen_base_stays_and_only_users_with_new_queries_are_refitted(chain, prepared, tmp_path, capsys):
    folder, first = prepared
    frozen = chain.root / "train_adapter"
    assert refit(chain, folder, tmp_path / "out", frozen) == 0
    told = json.loads(capsys.readouterr().out)
    for name in ("base.safetensors", "manifest.json"):
        assert (tmp_path / "out/base" / name).resolve() == (frozen / "base" / name).resolve()
    table = pd.read_parquet(tmp_path / "out/refit.parquet").set_index("user_id")
    assert told["users"] == len(table)
    assert set(table.index[table["n_rows"] > 0]) == {first}
    digest = json.loads((frozen / "base/manifest.json").read_text())["digest"]
    before, after = (HeadBank(root / "heads", base_digest=digest) for root in (frozen, tmp_path / "out"))
    rest = [user_id for user_id in before.user_ids() if user_id != first]
    assert after.heads_of(rest).table.tobytes() == before.heads_of(rest).table.tobytes()
    assert table.loc[first, "n_judged"] >= 1
    changed = (after.heads_of([first]).table != before.heads_of([first]).table).any()
    assert changed == table.loc[first, "replaced"]


def test_a_frozen_folder_that_does_not_fit_is_refused(chain, prepared, tmp_path, capsys):
    folder, _ = prepared
    assert refit(chain, folder, tmp_path / "out", chain.root / "train_reranker") == 1
    assert "component is 'reranker'" in capsys.readouterr().err
    assert refit(chain, folder, tmp_path / "out", tmp_path / "nowhere") == 1
    assert "no such file" in capsys.readouterr().err
    shutil.copytree(chain.root / "train_adapter", tmp_path / "damaged")
    with (tmp_path / "damaged/base/base.safetensors").open("ab") as file:
        file.write(b"\0")
    assert refit(chain, folder, tmp_path / "out", tmp_path / "damaged") == 1
    assert "differs from its manifest" in capsys.readouterr().err
    assert (
        refit(chain, chain.root / "prepare", tmp_path / "out", chain.root / "train_adapter") == 1
    )  # nothing says what is new
    assert "is_new" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""train_reranker: a base, heads for known and new users alike, and the curve."""

import json
import shutil

import pandas as pd
import pytest

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
    return chain.run("train_reranker", "--prepared", str(prepared), "--out", str(out), "--frozen", str(frozen))


def test_a_frozen_base_stays_and_only_users_with_new_queries_are_refitted(chain, prepared, tmp_path, capsys):
    folder, first = prepared
    frozen = chain.root / "train_reranker"
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
    changed = (after.heads_of([first]).table != before.heads_of([first]).table).any()
    assert changed == table.loc[first, "replaced"]


def test_a_frozen_folder_that_does_not_fit_is_refused(chain, prepared, tmp_path, capsys):
    folder, _ = prepared
    assert refit(chain, folder, tmp_path / "out", chain.root / "train_adapter") == 1
    assert "component is 'adapter'" in capsys.readouterr().err
    assert refit(chain, folder, tmp_path / "out", tmp_path / "nowhere") == 1
    assert "no such file" in capsys.readouterr().err
    shutil.copytree(chain.root / "train_reranker", tmp_path / "damaged")
    with (tmp_path / "damaged/base/base.safetensors").open("ab") as file:
        file.write(b"\0")
    assert refit(chain, folder, tmp_path / "out", tmp_path / "damaged") == 1
    assert "differs from its manifest" in capsys.readouterr().err
    assert (
        refit(chain, chain.root / "prepare", tmp_path / "out", chain.root / "train_reranker") == 1
    )  # nothing says what is new
    assert "is_new" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

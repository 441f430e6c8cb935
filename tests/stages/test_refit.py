"""train_reranker and train_adapter on a frozen base, as update_heads runs them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.model.heads import no_heads


@pytest.fixture(scope="module")
def prepared(chain, tmp_path_factory):
    """The chain's tables as update_heads hands them on: the first user's queries are new."""
    folder = tmp_path_factory.mktemp("prepared")
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    first = sorted(queries.loc[queries["role"] == "train", "user_id"].unique())[0]
    queries.assign(is_new=queries["user_id"] == first).to_parquet(folder / "queries.parquet", index=False)
    for name in ("records.parquet", "choices.parquet"):
        shutil.copy(chain.path("prepare", name), folder)
    return folder, first


def refit(chain, component, prepared, out, frozen):
    return chain.run(f"train_{component}", "--prepared", str(prepared), "--out", str(out), "--frozen", str(frozen))


@pytest.mark.parametrize("component", ["reranker", "adapter"])
def test_a_frozen_base_stays_and_only_users_with_new_queries_are_refitted(chain, component, prepared, tmp_path, capsys):
    folder, first = prepared
    frozen = chain.root / f"train_{component}"
    assert refit(chain, component, folder, tmp_path / "out", frozen) == 0
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
    if component == "adapter":  # the reranker's queries count only where candidates differ in usefulness
        assert table.loc[first, "n_judged"] >= 1
    # the same rows on the same base: whether it counts as replaced or not, the head is the same
    np.testing.assert_allclose(after.heads_of([first]).table, before.heads_of([first]).table, atol=1e-5)


@pytest.mark.parametrize("component", ["reranker", "adapter"])
def test_a_bad_head_is_replaced_by_what_its_rows_ask_for(chain, component, prepared, tmp_path, capsys):
    folder, first = prepared
    good = chain.root / f"train_{component}"
    shutil.copytree(good / "base", tmp_path / "bad/base")
    manifest = json.loads((good / "heads/manifest.json").read_text())
    before = HeadBank(good / "heads", base_digest=manifest["base_digest"])
    heads = before.heads_of(before.user_ids())
    heads.table[heads.user_ids.index(first)] = 5.0
    about = {name: manifest[name] for name in manifest if name not in ("shards", "n_users")}
    save_heads(heads, tmp_path / "bad/heads", about)
    assert refit(chain, component, folder, tmp_path / "out", tmp_path / "bad") == 0
    assert pd.read_parquet(tmp_path / "out/refit.parquet").set_index("user_id").loc[first, "replaced"]
    after = HeadBank(tmp_path / "out/heads", base_digest=manifest["base_digest"])
    np.testing.assert_allclose(after.heads_of([first]).table, before.heads_of([first]).table, atol=1e-5)


def test_where_heads_do_not_pay_nobody_gets_one_by_a_refit_either(chain, prepared, tmp_path, capsys):
    folder, _ = prepared
    shutil.copytree(chain.root / "train_adapter", tmp_path / "none")
    path = tmp_path / "none/base/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["fit"]["heads"]["used"] = False
    path.write_text(json.dumps(manifest))
    heads = HeadBank(tmp_path / "none/heads", base_digest=manifest["digest"])
    about = {name: heads.manifest[name] for name in ("task", "component", "base_digest", "fit")}
    save_heads(no_heads(heads.kind, heads.width), tmp_path / "none/heads", about)
    assert refit(chain, "adapter", folder, tmp_path / "out", tmp_path / "none") == 0
    table = pd.read_parquet(tmp_path / "out/refit.parquet")
    assert not table["replaced"].any()
    assert set(table["reason"]) == {
        "personal heads showed no gain worth having on this task: everybody is served by the shared one"
    }


@pytest.mark.parametrize("component", ["reranker", "adapter"])
def test_a_frozen_folder_that_does_not_fit_is_refused(chain, component, prepared, tmp_path, capsys):
    folder, _ = prepared
    other = {"reranker": "adapter", "adapter": "reranker"}[component]
    assert refit(chain, component, folder, tmp_path / "out", chain.root / f"train_{other}") == 1
    assert f"component is '{other}'" in capsys.readouterr().err
    assert refit(chain, component, folder, tmp_path / "out", tmp_path / "nowhere") == 1
    assert "no such file" in capsys.readouterr().err
    shutil.copytree(chain.root / f"train_{component}", tmp_path / "damaged")
    with (tmp_path / "damaged/base/base.safetensors").open("ab") as file:
        file.write(b"\0")
    assert refit(chain, component, folder, tmp_path / "out", tmp_path / "damaged") == 1
    assert "differs from its manifest" in capsys.readouterr().err
    assert (
        refit(chain, component, chain.root / "prepare", tmp_path / "out", chain.root / f"train_{component}") == 1
    )  # nothing says what is new
    assert "is_new" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""cfrag: it shows other users' records, so it is named or it is not there, and results say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from hydra_ml.evaluation.methods import chosen_methods, is_rival, named_by_all
from hydra_ml.evaluation.rivals.cfrag import METHOD


def test_it_runs_only_where_it_is_named() -> None:
    assert METHOD.name not in named_by_all()
    assert METHOD not in chosen_methods(None)
    assert METHOD in chosen_methods([METHOD.name])
    assert METHOD not in chosen_methods(named_by_all())
    assert is_rival(METHOD.name)


def test_named_it_shows_known_users_records_and_says_so(chain, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    own = type(chain)(tmp_path / "chain", chain.task, {})
    shutil.copytree(chain.root, own.root)
    document = YAML(typ="safe").load(own.root / "params.yaml")
    document["evaluate"]["methods"] = ["rag_k4", "cfrag"]
    with (own.root / "params.yaml").open("w") as file:
        YAML().dump(document, file)
    for stage in ("retrieve", "generate", "evaluate"):
        assert own.run(stage) == 0
    candidates = pd.read_parquet(own.path("retrieve", "candidates.parquet"))
    queries = pd.read_parquet(own.path("prepare", "queries.parquet")).set_index("query_id")
    shown = candidates[candidates["ranker"] == "neighbours"]
    others = shown[shown["owner_id"] != shown["query_id"].map(queries["user_id"])]
    assert 0 < len(others) < len(shown)
    known = set(queries.loc[queries["cohort"] == "known", "user_id"])
    assert set(others["owner_id"]) <= known
    assert candidates.loc[candidates["ranker"] != "neighbours", "owner_id"].isna().all()
    details = json.loads(own.path("evaluate", "details.json").read_text())
    assert details["others_shown"] == [f"cfrag shows the LLM {METHOD.others}."]
    assert "cfrag shows the LLM records of other users" in capsys.readouterr().err

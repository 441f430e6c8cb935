"""Rivals that need an LLM that writes: asked of a tiny one that does, priced before, and never of the offline one."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from hydra_ml.evaluation.methods import NEEDS_WRITER, all_methods
from hydra_ml.io.params_file import load_params
from hydra_ml.jobs import dry_run as job
from tests.evaluation.rivals.writing_llm import is_writing, liked_in, writing_server

OWN = ["pag", "pag_k0", "persona_memory", "rpm"]
NAMED = ["rag_k4", *OWN, "pag_k0_swapped"]


@pytest.fixture(scope="module")
def short_chain(chain, tmp_path_factory) -> Any:
    """The chain with answers to buy, from whom it may be."""
    own = type(chain)(tmp_path_factory.mktemp("written") / "chain", chain.task, {})
    shutil.copytree(chain.root, own.root)
    shutil.rmtree(own.root / ".cache")
    return own


def name_in_params(own: Any, methods: list[str], **llm: Any) -> None:
    document = YAML(typ="safe").load(own.root / "params.yaml")
    document["evaluate"]["methods"] = methods
    document["llm"].update(llm)
    with (own.root / "params.yaml").open("w") as file:
        YAML().dump(document, file)


def ran(own: Any, stage: str) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert own.run(stage) == 0
    return json.loads(out.getvalue())


def foreseen(own: Any, monkeypatch: pytest.MonkeyPatch) -> job.Forecast:
    monkeypatch.setattr(job, "is_up_to_date", lambda stage, task, root: stage in ("annotate", "rerank"))
    for stage in ("prepare", "retrieve", "rerank"):
        (own.root / "data" / stage).mkdir(parents=True, exist_ok=True)
        if not (own.root / "data" / stage / own.task).exists():
            (own.root / "data" / stage / own.task).symlink_to(own.root / stage)
    params = load_params(own.root / "params.yaml").model_copy(update={"tasks": [own.task]})
    return job.dry_run(params, data=own.root / "data", cache=own.root / ".cache")


def test_a_text_that_was_written_of_the_user_decides_and_was_priced_before(
    short_chain, start_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = writing_server()
    monkeypatch.setenv("OPENAI_BASE_URL", start_server(script.app).address)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    name_in_params(short_chain, NAMED, model="writer")
    ran(short_chain, "retrieve")
    before = foreseen(short_chain, monkeypatch)
    price = before.costs[short_chain.task]["generate"]
    assert before.at_most == (short_chain.task,)
    assert before.asides == ("pag_k0_swapped shows the LLM what the LLM wrote of another user.",)

    told = ran(short_chain, "generate")
    written = pd.read_parquet(short_chain.path("generate", "written.parquet"))
    n_users = written["user_id"].nunique()
    assert len(written) == 3 * n_users > 3
    asked = sum(is_writing(body["messages"]) for body in script.bodies)
    assert n_users * 3 < asked <= n_users * (1 + 8 + 17)
    assert told["calls"] <= price.calls <= 1.1 * told["calls"]  # two users' texts may turn out equal, and so prompts

    answers = pd.read_parquet(short_chain.path("generate", "answers.parquet"))
    queries = pd.read_parquet(short_chain.path("prepare", "queries.parquet")).set_index("query_id")
    for method in OWN:
        of_method = written[written["writing"] == method.removesuffix("_k0")]
        likes = of_method.set_index("user_id")["text"].map(liked_in)
        assert likes.nunique() > 1
        rows = answers[answers["arm"] == method]
        assert rows["answer"].tolist() == rows["query_id"].map(queries["user_id"]).map(likes).tolist()
    again = foreseen(short_chain, monkeypatch)
    assert again.at_most == ()
    assert again.costs[short_chain.task]["generate"].calls == 0

    ran(short_chain, "evaluate")
    metrics = json.loads(short_chain.path("evaluate", "metrics.json").read_text())
    for method in OWN:
        assert metrics[method]["accuracy"]["value"] > metrics["pag_k0_swapped"]["accuracy"]["value"]
    bill = {row["method"]: row for row in metrics["bill"] if row["group"] == "all"}
    questions = bill["pag"]["questions"]
    assert bill["pag"]["tokens_in"] == 10 * questions + written.loc[written["writing"] == "pag", "tokens_in"].sum()
    details = json.loads(short_chain.path("evaluate", "details.json").read_text())
    assert details["not_run"] == {}
    assert len(details["others_shown"]) == 1


def test_the_offline_model_is_not_asked_and_the_result_says_why(short_chain, monkeypatch, tmp_path: Path) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    name_in_params(short_chain, ["rag_k4", *OWN], model="offline-minilm")
    ran(short_chain, "retrieve")
    assert foreseen(short_chain, monkeypatch).asides == tuple(f"{name} will not run: {NEEDS_WRITER}." for name in OWN)
    assert ran(short_chain, "generate")["written"] == 0
    assert short_chain.run("evaluate") == 0
    details = json.loads(short_chain.path("evaluate", "details.json").read_text())
    assert details["not_run"] == dict.fromkeys(OWN, NEEDS_WRITER)
    metrics = json.loads(short_chain.path("evaluate", "metrics.json").read_text())
    assert not set(OWN) & set(metrics)
    name_in_params(short_chain, OWN)
    assert short_chain.run("evaluate") == 2


def test_what_shows_other_users_data_runs_only_where_it_is_named() -> None:
    known = all_methods()
    for name in OWN:
        assert known[f"{name}_swapped"].others
        assert not known[name].others

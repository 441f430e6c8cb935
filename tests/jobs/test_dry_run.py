"""The dry run tells what the stages then ask."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from hydra_ml.io.params_file import load_params
from hydra_ml.io.tables import load_table
from hydra_ml.jobs import dry_run as job
from hydra_ml.llm.cost import Cost
from hydra_ml.params import LLM


def costs(project, monkeypatch: pytest.MonkeyPatch, *, done: set[str], cache: Path) -> dict[str, Cost]:
    monkeypatch.setattr(job, "is_up_to_date", lambda stage, task, root: stage in done)
    params = project.params.model_copy(update={"tasks": [project.task.folder]})
    found = job.dry_run(params, data=project.data, cache=cache)
    assert bool(found.at_most) == (params.annotate.queries_per_user > 0 and not done & {"rerank", "generate"})
    return found.costs[project.task.folder]


def test_before_anything_was_asked(project, chain, monkeypatch, tmp_path: Path) -> None:
    found = costs(project, monkeypatch, done=set(), cache=tmp_path)
    assert found["annotate"].calls == chain.summaries["annotate"]["calls"]
    assert found["annotate"].kept == 0
    asked = chain.summaries["generate"]["calls"]
    # Prompts that turn out equal after reranking are asked once, which nobody can know before.
    assert asked <= found["generate"].calls <= 1.3 * asked
    bought = load_table(project.data / "generate" / project.task.folder / "answers.parquet")["tokens_in"].sum()
    assert 0.5 * bought < found["generate"].tokens_in < 2 * bought


def test_without_annotations_it_is_exact_also_with_answers_kept_from_before(make_chain, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(job, "is_up_to_date", lambda stage, task, root: False)
    built = make_chain("LaMP_2", annotate={"queries_per_user": 0})
    for stage in ("prepare", "retrieve"):
        shutil.copytree(built.root / stage, tmp_path / "data" / stage / "LaMP_2")
    params = load_params(built.root / "params.yaml").model_copy(update={"tasks": ["LaMP_2"]})

    def told(cache: Path) -> Cost:
        found = job.dry_run(params, data=tmp_path / "data", cache=cache)
        assert (found.at_most, found.costs["LaMP_2"]["annotate"]) == ((), Cost())
        return found.costs["LaMP_2"]["generate"]

    made = built.summaries["generate"]
    before = told(tmp_path / "nothing")
    assert (before.calls, before.kept) == (made["calls"], 0)
    assert before.asks < made["asks"], "arms that show the same records are one prompt"

    cache = built.root / ".cache"
    with sqlite3.connect(cache / "responses.sqlite") as db:
        db.execute("DELETE FROM answers WHERE substr(hex(key), 1, 1) < '5'")
    again = told(cache)
    assert 0 < again.calls < before.calls
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert built.run("generate") == 0
    assert json.loads(out.getvalue())["calls"] == again.calls
    assert told(cache) == Cost(asks=before.asks, kept=before.asks)


def test_an_upper_estimate_says_that_it_is_one_and_why() -> None:
    lines = job.costs_table(job.Forecast({"LaMP_2": {"generate": Cost(5)}}, ("LaMP_2",)), LLM()).splitlines()
    assert lines[-3].startswith("generate of LaMP_2 is an upper estimate: the reranker is yet to learn")
    assert "upper estimate" not in job.costs_table(job.Forecast({"LaMP_2": {"generate": Cost(5)}}), LLM())


def test_what_is_kept_is_not_asked_again(project, monkeypatch) -> None:
    found = costs(project, monkeypatch, done={"rerank"}, cache=project.cache)
    for cost in found.values():
        assert cost.asks > 0
        assert (cost.kept, cost.calls, cost.tokens_in) == (cost.asks, 0, 0)


def test_stages_that_are_up_to_date_ask_nothing(project, monkeypatch, tmp_path: Path) -> None:
    found = costs(project, monkeypatch, done={"annotate", "rerank", "generate"}, cache=tmp_path)
    assert set(found.values()) == {Cost()}


def test_the_table_adds_up_and_tells_money_where_prices_are_known() -> None:
    found = {"LaMP_2": {"annotate": Cost(10, 2, 8, 1_000_000, 500), "generate": Cost(5, 0, 5, 1_000_000, 500)}}
    lines = job.costs_table(job.Forecast(found), LLM(price_in=2.0, price_out=1000.0)).splitlines()
    assert lines[2].split() == ["LaMP_2", "annotate", "10", "2", "8", "1,000,000", "500", "2.50"]
    assert lines[4].split() == ["all", "15", "2", "13", "2,000,000", "1,000", "5.00"]
    assert job.costs_table(job.Forecast(found), LLM()).splitlines()[4].split()[-1] == "-"

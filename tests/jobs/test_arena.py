"""The arena on request: one task, the methods named, and params.yaml as it was; DVC itself is stood in for."""

from __future__ import annotations

import re

import pytest

from hydra_ml.errors import ParamsError, VersionsError
from hydra_ml.evaluation.methods import all_methods
from hydra_ml.io.params_file import load_params
from hydra_ml.jobs import arena as job
from hydra_ml.jobs import dry_run
from hydra_ml.tasks import get_task

MOVIES, TWEETS = get_task("LaMP_2"), get_task("LaMP_7")


@pytest.fixture
def asked(own_project, monkeypatch) -> list[tuple[str, list[str] | None, list[str]]]:
    """What DVC was asked to bring up to date: target, and evaluate.methods and tasks as params.yaml then had them."""
    calls = []

    def repro_all(*, upto: str) -> None:
        params = load_params(own_project.root / "params.yaml")
        calls.append((upto, params.evaluate.methods, params.tasks))

    monkeypatch.setattr(job, "repro_all", repro_all)
    monkeypatch.setattr(dry_run, "is_up_to_date", lambda stage, task, root: True)
    return calls


def places(own_project) -> dict:
    return {"folder": None, "params": own_project.root / "params.yaml", "data": own_project.data}


def cached(own_project) -> dict:
    return {**places(own_project), "cache": own_project.root / ".cache"}


def test_methods_by_name_and_those_a_task_has() -> None:
    assert job.named_methods("hydra, rag_k4", MOVIES) == ["rag_k4", "hydra"]
    shows_others = {method.name for method in all_methods().values() if method.others}
    assert set(job.named_methods("all", MOVIES)) == set(all_methods()) - {"copy_input"} - shows_others
    assert "pag_swapped" in shows_others
    assert job.named_methods("pag_swapped", MOVIES) == ["pag_swapped"]
    assert "copy_input" in job.named_methods("all", TWEETS)


def test_methods_hold_for_the_run_alone(own_project, asked) -> None:
    before = (own_project.root / "params.yaml").read_bytes()
    text = job.run_arena(MOVIES, ["rag_k4", "hydra"], **cached(own_project))
    ((_, before_asking, _), (target, methods, tasks)) = asked
    assert before_asking == methods
    assert (target, methods) == ("arena@LaMP_2", ["rag_k4", "hydra"])
    assert "LaMP_2" in tasks
    assert (own_project.root / "params.yaml").read_bytes() == before
    assert "hydra less" in text
    page = re.search(r"open in a browser: (\S+)$", text)
    assert page
    assert (own_project.root / page[1]).read_text("utf-8").startswith("<!doctype html>")


def test_without_methods_those_of_params_run(own_project, asked) -> None:
    job.run_arena(MOVIES, None, **cached(own_project))
    assert asked[0][1] == own_project.params.evaluate.methods


def test_a_failure_leaves_params_as_they_were(own_project, monkeypatch) -> None:
    def fails(*, upto: str) -> None:
        raise VersionsError("the LLM is down")

    monkeypatch.setattr(job, "repro_all", fails)
    before = (own_project.root / "params.yaml").read_bytes()
    with pytest.raises(VersionsError, match="the LLM is down"):
        job.run_arena(MOVIES, ["rag_k4"], **cached(own_project))
    assert (own_project.root / "params.yaml").read_bytes() == before


def test_fewer_methods_cost_less_and_buying_nothing_says_so(own_project, asked, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(dry_run, "is_up_to_date", lambda stage, task, root: stage == "rerank")
    every, some = (
        job.price_of_arena(MOVIES, methods, **places(own_project), cache=tmp_path) for methods in (None, ["rag_k4"])
    )
    assert [target for target, *_ in asked] == ["retrieve@LaMP_2"] * 2
    of_method = {
        line.split()[1]: int(line.split()[4].replace(",", "")) for line in every.splitlines() if "LaMP_2 " in line
    }
    assert 0 < of_method["zero_shot"] == of_method["rag_k4"] < of_method["hydra"]
    assert "zero_shot" not in some
    calls = [
        int(line.split()[4].replace(",", ""))
        for text in (every, some)
        for line in text.splitlines()
        if " generate " in line
    ]
    assert calls[0] > calls[1] > 0


def test_samples_run_one_seed_after_the_other_and_the_own_one_last(own_project, monkeypatch) -> None:
    seeds = []
    monkeypatch.setattr(job, "repro_all", lambda *, upto: seeds.append(load_params(params).seed))
    params = own_project.root / "params.yaml"
    before = params.read_bytes()
    text = job.run_samples(MOVIES, ["rag_k4", "hydra"], 3, **places(own_project))
    own = own_project.params.seed
    assert seeds == [own + 2, own + 1, own]
    assert params.read_bytes() == before
    assert f"seed {own + 1}" in text
    assert "hydra less" in text
    with pytest.raises(ParamsError, match="at least 2"):
        job.run_samples(MOVIES, None, 1, **places(own_project))

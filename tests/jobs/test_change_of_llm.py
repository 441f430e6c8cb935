"""From the sample's LLM to one's own: a release keeps its LLM, and changing it is judged, and said, in words."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest
from filelock import FileLock
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from hydra_ml.errors import LLMError
from hydra_ml.io.encoders import open_encoder
from hydra_ml.jobs.batch_score import score_requests
from tests.jobs.other_llm import add_release, go, served_as_my_model


@pytest.fixture
def own_llm(own_project, start_server, monkeypatch) -> None:
    """A server of our own under another model's name, as README says to set it up: OPENAI_* in the environment."""
    encode = open_encoder(own_project.params.encoder, own_project.cache, progress="").encode
    server = start_server(served_as_my_model(encode))
    for name, value in {"BASE_URL": server.address, "API_KEY": "k", "MODEL": "my-model"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)


def reasons(decision) -> dict[str, bool]:
    return {reason.name: reason.passed for reason in decision.reasons}


def test_a_champion_of_the_sample_is_served_and_judged_whatever_the_environment_names(own_project, own_llm):
    asked = {"request_id": "r", "user_id": "nobody", "task": "LaMP-2", "input": own_project.task.templated("A film.")}
    (own_project.root / "asked.jsonl").write_text(json.dumps(asked))
    options = {"data": own_project.data, "registry": own_project.registry, "cache": own_project.cache}
    report = score_requests(own_project.root / "asked.jsonl", own_project.task, own_project.params, **options)
    assert (report.scored, report.dead_letters) == (1, 0)

    version = add_release(own_project, "my-model")
    decision = go(own_project)
    assert reasons(decision)["llm"] is True
    assert "the LLM changed from offline-minilm to my-model: each release answered" in decision.markdown()
    assert decision.figures.n_affected == decision.figures.n, "another LLM may answer everybody otherwise"
    assert decision.promoted_at, decision.markdown()
    assert own_project.registry.aliases(own_project.task)["champion"] == version


def test_a_champion_whose_llm_is_gone_is_the_operators_to_replace(own_project, own_llm, monkeypatch):
    add_release(own_project, "my-model")
    go(own_project, force="to start from")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # where nobody answers
    (own_project.cache / "gate").rename(own_project.root / "lost")  # nor is it known what it answered
    (own_project.cache / "responses.sqlite").unlink()
    version = add_release(own_project, "offline-minilm")
    decision = go(own_project)
    assert reasons(decision)["comparable"] is False
    assert "my-model, which the champion answers with, cannot be asked here any more" in decision.markdown()
    assert not decision.promoted_at
    assert go(own_project, force="my-model was switched off").promoted_at
    assert own_project.registry.aliases(own_project.task)["champion"] == version


def test_an_llm_that_is_down_is_no_reason_to_replace_a_champion_of_the_same(own_project, own_llm, monkeypatch):
    add_release(own_project, "my-model")
    go(own_project, force="to start from")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (own_project.cache / "gate").rename(own_project.root / "lost")
    (own_project.cache / "responses.sqlite").unlink()
    registry, task = own_project.registry, own_project.task
    _, release = registry.release(task, "champion")
    changed = json.loads(json.dumps(dict(release.params)))
    changed["rerank"]["k"] = 2
    run_id = registry.version(task, "release", own_project.champion).run_id
    registry.point(
        task, {"challenger": registry.register_release(task, replace(release, params=changed), run_id=run_id)}
    )
    with pytest.raises(LLMError, match="cannot be reached"):
        go(own_project)
    with FileLock(own_project.cache / f"promote-{task.folder}.lock", timeout=0):
        pass  # and nothing is held


def test_a_batch_waits_for_an_llm_that_fails_and_is_then_asked_for_what_is_missing(
    own_project, own_llm, start_server, monkeypatch
):
    add_release(own_project, "my-model")
    go(own_project, force="to start from")
    well = os.environ["OPENAI_BASE_URL"]

    async def money_gone(request: Any) -> JSONResponse:
        return JSONResponse({"error": {"message": "Insufficient Balance"}}, 402)

    async def down(request: Any) -> JSONResponse:
        return JSONResponse({"error": {"message": "overloaded"}}, 503)

    films = [f"A film of number {n}." for n in range(5)]
    rows = [
        {"request_id": f"r{n}", "user_id": "nobody", "task": "LaMP-2", "input": own_project.task.templated(film)}
        for n, film in enumerate(films)
    ]
    (own_project.root / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"data": own_project.data, "registry": own_project.registry, "cache": own_project.cache}
    for broken in (money_gone, down):
        app = Starlette(routes=[Route("/v1/chat/completions", broken, methods=["POST"])])
        monkeypatch.setenv("OPENAI_BASE_URL", start_server(app).address)
        with pytest.raises(LLMError, match=r"Insufficient Balance|overloaded"):
            score_requests(own_project.root / "asked.jsonl", own_project.task, own_project.params, **options)
        assert (own_project.root / "asked.jsonl").exists()

    monkeypatch.setenv("OPENAI_BASE_URL", well)
    report = score_requests(own_project.root / "asked.jsonl", own_project.task, own_project.params, **options)
    assert (report.scored, report.dead_letters) == (5, 0)
    assert report.llm_calls >= 5

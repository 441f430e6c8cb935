"""batch_score with a request that the LLM always fails on: it is set aside, and the rest is finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from httpx2 import ASGITransport, AsyncClient
from openai import AsyncOpenAI
from starlette.responses import JSONResponse

import hydra_ml.io.llm
from hydra_ml.errors import LLMError
from hydra_ml.io.failed_requests import FailedRequests
from hydra_ml.io.predictions import load_dead_letters, load_predictions
from hydra_ml.jobs.batch_report import BatchReport
from hydra_ml.jobs.batch_score import plan_batch, score_requests, score_shard
from hydra_ml.jobs.waiting_requests import waiting_requests
from hydra_ml.offline.app import build_offline_app

ADDRESS = "http://offline-minilm/v1"
POISON = b"A film that no server survives"


class World:
    """A file of requests, one of which the LLM fails on; `is_down`: it fails on all."""

    def __init__(self, project: Any, n: int) -> None:
        self.project, self.is_down = project, False
        self.path = project.data / "requests/LaMP_2/some.jsonl"
        queries = pd.read_parquet(project.data / "prepare/LaMP_2/queries.parquet").sample(n, random_state=1)
        rows = [
            {"request_id": query, "user_id": user, "task": "LaMP-2", "input": f"{input} Again."}
            for query, user, input in queries[["query_id", "user_id", "input"]].itertuples(index=False)
        ]
        rows.append({**rows[0], "request_id": "poison", "input": project.task.templated(POISON.decode())})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        how = project.params.llm.model_copy(update={"max_attempts": 2, "max_wait_s": 0.01})
        self.params = project.params.model_copy(update={"llm": how})
        self.where = {"data": project.data, "registry": project.registry, "cache": project.cache}

    def client(self, encode: Any) -> AsyncOpenAI:
        app = build_offline_app(encode)

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)

            async def read() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            fails = self.is_down or POISON in body
            app_now: Any = JSONResponse({"error": {"message": "CUDA error"}}, 500) if fails else app
            await app_now(scope, read, send)

        http = AsyncClient(transport=ASGITransport(app=answer), base_url=ADDRESS)
        return AsyncOpenAI(base_url=ADDRESS, api_key="none", http_client=http)

    def run(self) -> BatchReport:
        return score_requests(self.path, self.project.task, self.params, **self.where)

    def counted(self) -> dict[str, int]:
        found = list((self.project.data / "predictions/LaMP_2").glob("failed-*.json"))
        return {key: value["runs"] for path in found for key, value in json.loads(path.read_text()).items()}


@pytest.fixture
def world(own_project, monkeypatch) -> World:
    made = World(own_project, 8)
    monkeypatch.setattr(hydra_ml.io.llm, "offline_client", made.client)
    return made


def test_a_request_that_the_llm_fails_on_in_three_runs_is_set_aside_and_the_batch_finished(world) -> None:
    for run in (1, 2):
        with pytest.raises(LLMError, match=r"so 1 of 9 requests without .* one that fails so in 3 runs .* set aside"):
            world.run()
        assert world.counted() == {"poison": run}
        assert waiting_requests(world.project.task, data=world.project.data) == [world.path]
    report = world.run()
    assert (report.scored, report.dead_letters) == (8, 1)
    (letter,) = load_dead_letters(Path(report.dead_letters_file))
    assert (letter.request_id, letter.line) == ("poison", 9)
    assert letter.reason.startswith("the LLM failed on this request in 3 runs while it answered others: ")
    assert "HTTP 500: CUDA error" in letter.reason
    assert "\n" not in letter.reason
    assert "survives" not in letter.reason
    assert (load_predictions(Path(report.predictions))["error"] == "").all()
    assert world.counted() == {}
    assert waiting_requests(world.project.task, data=world.project.data) == []


def test_a_lone_request_does_not_wait_for_ever_either(world) -> None:
    rows = world.path.read_text().splitlines()
    world.path.write_text(rows[-1] + "\n")
    for _ in range(2):
        with pytest.raises(LLMError, match="The batch waits"):
            world.run()
    assert (world.run().dead_letters, world.counted()) == (1, {})


def test_in_an_outage_nothing_is_counted(world) -> None:
    world.is_down = True
    for _ in range(4):
        with pytest.raises(LLMError):
            world.run()
    assert world.counted() == {}
    world.is_down = False
    with pytest.raises(LLMError):
        world.run()
    assert world.counted() == {"poison": 1}
    world.is_down = True
    with pytest.raises(LLMError):
        world.run()
    assert world.counted() == {"poison": 1}


def test_shards_tried_again_within_a_run_count_once(world) -> None:
    plan = plan_batch(world.path, world.project.task, world.params, **world.where)
    for _ in range(3):
        with pytest.raises(LLMError, match="The batch waits"):
            score_shard(plan, 0)
    assert world.counted() == {"poison": 1}


def test_a_batch_begun_anew_with_another_release_goes_on_counting(world) -> None:
    with pytest.raises(LLMError):
        world.run()
    registry, task = world.project.registry, world.project.task
    _, release = registry.release(task, "champion")
    run_id = registry.version(task, "release", world.project.champion).run_id
    registry.point(
        task, {"champion": registry.register_release(task, replace(release, made_at="later"), run_id=run_id)}
    )
    with pytest.raises(LLMError):
        world.run()
    assert world.counted() == {"poison": 2}


COUNTS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from hydra_ml.io.failed_requests import FailedRequests
FailedRequests(Path(sys.argv[1]), "content").count(["r"], run=float(sys.argv[2]), model="m")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_counts_survive_a_kill_and_are_of_one_model(tmp_path: Path) -> None:
    for run in (1, 2):
        died = subprocess.run([sys.executable, "-c", COUNTS_AND_DIES, tmp_path, str(run)], env=os.environ, check=False)
        assert died.returncode == -signal.SIGKILL
    counts = FailedRequests(tmp_path, "content")
    assert counts.count([], run=3.0, model="m") == {"r": 2}
    assert counts.count(["r"], run=3.0, model="another") == {"r": 1}
    assert FailedRequests(tmp_path, "other content").count([], run=3.0, model="m") == {}


def test_damaged_counts_are_begun_anew(tmp_path: Path, caplog) -> None:
    (tmp_path / "failed-content.json").write_text('{"r": {"runs": "x"')
    assert FailedRequests(tmp_path, "content").count(["r"], run=1.0, model="m") == {"r": 1}
    assert "Failed runs are counted anew" in caplog.text

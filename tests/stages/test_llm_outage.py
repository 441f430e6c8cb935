"""What stages make of an LLM that fails: nothing. What was bought is kept, and the same command goes on from there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hydra_ml.stages.command import MAY_PASS
from tests.conftest import CHAIN, Chain


class Account:
    """A server that answers `paid` requests, then as `broken` says."""

    def __init__(self, paid: int, broken: Callable[[int], JSONResponse]) -> None:
        self.paid = paid
        self.asked = 0
        self._broken = broken
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> JSONResponse:
        self.asked += 1
        n = (await request.json())["n"]
        if self.asked > self.paid:
            return self._broken(n)
        return JSONResponse({"choices": [{"message": {"content": "comedy"}}] * n})


def money_gone(n: int) -> JSONResponse:
    return JSONResponse({"error": {"message": "Insufficient Balance"}}, 402)


def thinking(n: int) -> JSONResponse:
    choice = {"message": {"content": None, "reasoning": "Let me weigh"}, "finish_reason": "length"}
    return JSONResponse({"choices": [choice] * n})


def filtered(n: int) -> JSONResponse:
    return JSONResponse({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}] * n})


def garbage(n: int) -> JSONResponse:
    return JSONResponse({"choices": [{"message": {"content": "As a large model I like turtles"}}] * n})


@pytest.fixture
def own_chain(chain: Chain, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """The session's chain in a folder of its own, for a server's model, with an empty cache."""
    own = Chain(tmp_path / "own", chain.task, {})
    shutil.copytree(chain.root, own.root, ignore=shutil.ignore_patterns("responses.sqlite*"))
    path = own.root / "params.yaml"
    document = YAML().load(path.read_text())
    document["llm"].update(model="m", max_attempts=1, concurrency=4)
    with path.open("w") as file:
        YAML().dump(document, file)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
    return own


def run(chain: Chain, stage: str) -> subprocess.CompletedProcess[str]:
    """The stage as DVC runs it: a process of its own."""
    command = [sys.executable, "-m", f"hydra_ml.stages.{stage}", "--task", chain.task]
    for option, folder in {**CHAIN[stage], "params": "params.yaml", "out": stage, "cache": ".cache"}.items():
        command += [f"--{option}", str(chain.root / folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("stage", "broken", "told"),
    [
        ("annotate", money_gone, "Insufficient Balance"),
        ("annotate", thinking, "Raise max_tokens of the stage"),
        ("annotate", filtered, "its content filter stopped it"),
        ("generate", money_gone, "Insufficient Balance"),
    ],
)
def test_a_stage_fails_with_the_servers_reason_keeps_what_was_bought_and_goes_on(
    own_chain: Chain,
    start_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    stage: str,
    broken: Any,
    told: str,
) -> None:
    shutil.rmtree(own_chain.root / stage)
    first = Account(20, broken)
    monkeypatch.setenv("OPENAI_BASE_URL", start_server(first.app).address)
    failed = run(own_chain, stage)
    assert failed.returncode == MAY_PASS
    assert told in failed.stderr
    assert not list((own_chain.root / stage).glob("*.parquet")), "dvc would take it for a result"

    second = Account(10**9, broken)
    monkeypatch.setenv("OPENAI_BASE_URL", start_server(second.app).address)
    summary = json.loads(run(own_chain, stage).stdout)
    assert summary["failed"] == 0
    assert summary["cached"] >= 20
    assert second.asked == summary["calls"]


def test_an_llm_that_answers_anything_but_the_question_is_told_with_examples(
    own_chain: Chain, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own_chain.root / "annotate")
    monkeypatch.setenv("OPENAI_BASE_URL", start_server(Account(0, garbage).app).address)
    told = run(own_chain, "annotate").stderr
    assert "llm.max_unparsed_share = 0.95" in told
    assert "'As a large model I like turtles'" in told
    assert not list((own_chain.root / "annotate").glob("*.parquet"))

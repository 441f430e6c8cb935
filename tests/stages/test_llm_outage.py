"""What stages make of an LLM that fails: nothing. What was bought is kept, and the same command goes on from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.conftest import Chain


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


@pytest.mark.parametrize("stage", ["annotate", "generate"])
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (money_gone, "Insufficient Balance"),
        (thinking, "Raise max_tokens of the stage"),
        (filtered, "its content filter stopped it"),
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
    assert own_chain.run(stage) != 0
    assert told in capsys.readouterr().err
    assert not list((own_chain.root / stage).glob("*.parquet")), "dvc would take it for a result"

    second = Account(10**9, broken)
    monkeypatch.setenv("OPENAI_BASE_URL", start_server(second.app).address)
    assert own_chain.run(stage) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["failed"] == 0
    assert summary["cached"] >= 20
    assert second.asked == summary["calls"]

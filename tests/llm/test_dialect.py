"""Parameters a server does not take: learned from its own words, left out from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

OPENAI = {"type": "invalid_request_error", "code": "unsupported_parameter"}
HABITS: dict[str, tuple[str, int, dict[str, Any]]] = {  # refused field, status, body
    "openai, max_tokens": (
        "max_tokens",
        400,
        {"error": {**OPENAI, "message": "Unsupported: use 'max_completion_tokens' instead.", "param": "max_tokens"}},
    ),
    "openai, temperature": (
        "temperature",
        400,
        {"error": {**OPENAI, "message": "'temperature' does not support 0.0", "param": "temperature"}},
    ),
    "vllm, seed": (
        "seed",
        422,
        {
            "object": "error",
            "message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
        },
    ),
    "fastapi, seed": ("seed", 422, {"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]}),
    "fastapi, n": ("n", 422, {"detail": [{"loc": ["body", "n"], "msg": "extra fields not permitted"}]}),
}


def server(refused: str, status: int, body: dict[str, Any], seen: list[dict[str, Any]]) -> Starlette:
    async def answer(request: Request) -> JSONResponse:
        asked = await request.json()
        seen.append(asked)
        if refused in asked:
            return JSONResponse(body, status)
        return JSONResponse({"choices": [{"message": {"content": "fine"}}]})

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])


@pytest.mark.parametrize("habit", HABITS)
def test_what_a_server_refuses_by_name_is_left_out_from_then_on(
    habit: str, start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    refused, status, body = HABITS[habit]
    seen: list[dict[str, Any]] = []
    client = connect(start_server(server(refused, status, body, seen)).address, concurrency=1)
    replies = client.ask_all([ask("one"), ask("two", n=2, temperature=1.0), ask("three")], label="test")
    assert [reply.answers for reply in replies] == [("fine",), ("fine", "fine"), ("fine",)]
    assert not any(reply.error for reply in replies)
    assert sum(refused in asked for asked in seen) <= 2  # n of 2 is first asked for one by one
    if refused == "max_tokens":
        assert seen[-1]["max_completion_tokens"] == seen[0]["max_tokens"]


@pytest.mark.parametrize("habit", HABITS)
def test_requests_on_their_way_when_a_field_is_refused_are_sent_again(
    habit: str, start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    refused, status, body = HABITS[habit]
    client = connect(start_server(server(refused, status, body, [])).address, concurrency=64)
    replies = client.ask_all([ask(f"q{i}", n=2, temperature=1.0) for i in range(64)], label="test")
    assert not [reply.error for reply in replies if reply.error]


def test_another_refusal_is_not_taken_for_one_of_a_parameter(
    start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    seen: list[dict[str, Any]] = []
    too_long = {"error": {"message": "maximum context length is 4096 tokens", "code": "context_length_exceeded"}}
    client = connect(start_server(server("model", 400, too_long, seen)).address)
    (reply,) = client.ask_all([ask("one")], label="test")
    assert reply.refused
    assert "maximum context length" in reply.error
    assert len(seen) == 1

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


PYDANTIC_ECHO = {
    "detail": [
        {
            "type": "extra_forbidden",
            "loc": ["body", "seed"],
            "msg": "Extra inputs are not permitted",
            "input": {"temperature": 0, "max_tokens": 8, "n": 1, "top_p": 1},
        }
    ]
}
WORDS: dict[str, tuple[str, int, object]] = {  # refused field, status, what is said: a body, or OpenAI's message
    "max_tokens, without its param": (
        "max_tokens",
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    "temperature, without its param": (
        "temperature",
        400,
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
    ),
    "temperature, without quotes": ("temperature", 400, "temperature does not support 0 with this model."),
    "temperature, of TGI": ("temperature", 422, {"error": "Input validation error: `temperature` must be positive"}),
    "seed, of pydantic with an echo": ("seed", 422, PYDANTIC_ECHO),
    "seed, unknown": ("seed", 400, "Unrecognized request argument supplied: seed"),
    "seed, of Mistral": ("seed", 422, {"message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra"}]}}),
    "top_p": ("top_p", 400, {"error": {"message": "not with this model", "param": "top_p"}}),
    "n": ("n", 400, "n must be 1"),
    "best_of": ("n", 400, {"object": "error", "message": "best_of must be 1 when using greedy sampling, got 2."}),
    "in 200": ("seed", 200, {"error": {"message": "Unsupported parameter: seed", "code": 400}}),
}


@pytest.mark.parametrize("habit", WORDS)
def test_a_field_is_known_by_whatever_words_it_is_refused_with(
    habit: str, start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    refused, status, said = WORDS[habit]
    body = {"error": {"message": said, "type": "invalid_request_error"}} if isinstance(said, str) else said
    seen: list[dict[str, Any]] = []
    client = connect(start_server(server(refused, status, body, seen)).address, concurrency=1, top_p=0.9)
    replies = client.ask_all([ask("one"), ask("two", n=2, temperature=1.0)], label="test")
    assert [reply.answers for reply in replies] == [("fine",), ("fine", "fine")]
    kept = {"seed", "temperature", "top_p", "n", "max_tokens"} - {refused}
    assert kept <= set(seen[-1]), "nothing else is left out"


def refusing(complaint: Callable[[dict[str, Any]], str], seen: list[dict[str, Any]], status: int = 400) -> Starlette:
    """A server that complains as told, or answers with two lines."""

    async def answer(request: Request) -> JSONResponse:
        asked = await request.json()
        seen.append(asked)
        if told := complaint(asked):
            return JSONResponse({"error": {"message": told}}, status)
        return JSONResponse({"choices": [{"message": {"content": "\ncomedy\nWhich"}}]})

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("System role not supported", 400),
        ("Error rendering prompt with jinja template: System role not supported", 500),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", 400),
        ("Conversation roles must alternate user/assistant/user/assistant/...", 400),
    ],
)
def test_who_knows_no_system_turn_is_told_at_the_beginning_of_the_first_question(
    told: str, status: int, start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    seen: list[dict[str, Any]] = []
    app = refusing(lambda asked: told if asked["messages"][0]["role"] == "system" else "", seen, status)
    client = connect(start_server(app).address, concurrency=1, system="Be short.")
    replies = client.ask_all([ask("one"), ask("two")], label="test")
    assert not any(reply.error for reply in replies)
    assert seen[-1]["messages"] == [{"role": "user", "content": "Be short.\n\ntwo"}]
    assert len(seen) == 3


def test_a_refusal_of_roles_without_a_system_turn_is_a_refusal(
    start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    app = refusing(lambda asked: "Conversation roles must alternate user/assistant", [])
    (reply,) = connect(start_server(app).address).ask_all([ask("one")], label="test")
    assert reply.refused
    assert "must alternate" in reply.error


def test_an_answer_ends_at_its_stops_also_where_a_server_does_not_take_them(
    start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    seen: list[dict[str, Any]] = []
    app = refusing(
        lambda asked: "Invalid 'stop': array too long. Expected max length 4" if "stop" in asked else "", seen
    )
    client = connect(start_server(app).address, concurrency=1, stop=["\n", "a", "b", "z", "w"])
    assert [reply.answers for reply in client.ask_all([ask("q"), ask("r")], label="test")] == [("comedy",)] * 2
    assert len(seen) == 3


def test_a_number_that_is_refused_is_no_name_that_is(
    start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    seen: list[dict[str, Any]] = []
    app = refusing(lambda asked: "max_tokens must be less than or equal to 8" if "max_tokens" in asked else "", seen)
    (reply,) = connect(start_server(app).address).ask_all([ask("q")], label="test")
    assert reply.refused
    assert len(seen) == 1


def test_a_prompt_that_names_fields_takes_none_away(
    start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    seen: list[dict[str, Any]] = []
    app = refusing(lambda asked: "Cannot read: stop the temperature, plant a seed, n times", seen)
    client = connect(start_server(app).address, concurrency=1, stop=["x"])
    assert client.ask_all([ask("q")], label="test")[0].refused
    assert len(seen) == 1

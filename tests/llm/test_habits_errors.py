"""Habits of servers in what they refuse and how they say so: what it means, what is shown, how long it waits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from hydra_ml.errors import LLMError
from hydra_ml.llm.failures import read_failure
from tests.llm.scripted_server import always, first
from tests.llm.test_failures import status_error

KINDS = ("again", "refused", "too long", "fatal")


def error(message: str, code: str | None = None, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def page(title: str) -> str:
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body>Ray ID: 1</body></html>"


QUOTA = "You exceeded your current quota, please check your plan and billing details."
FILTERED = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
LOADING = {"error": "Model some/model is currently loading", "estimated_time": 20.0}
ERRORS: dict[str, tuple[int, Any, str, str]] = {  # status, body, what it means, what is said
    "openai, key": (401, error("Incorrect API key provided", "invalid_api_key"), "fatal", "Incorrect API key provided"),
    "gemini, key": (400, [{"error": {"code": 400, "message": "API key not valid."}}], "fatal", "API key not valid"),
    "openai, model": (404, error("The model `x` does not exist", "model_not_found"), "fatal", "check llm.model"),
    "vllm, model": (404, {"object": "error", "message": "The model `x` does not exist."}, "fatal", "check llm.model"),
    "ollama, model": (404, error('model "x" not found, try pulling it first'), "fatal", "check llm.model"),
    "litellm, model": (400, error("Invalid model name passed in model=x"), "fatal", "check llm.model"),
    "openrouter, model": (400, error("x is not a valid model ID"), "fatal", "check llm.model"),
    "azure, model": (404, error("no such deployment", "DeploymentNotFound"), "fatal", "check llm.model"),
    "wrong path": (404, {"detail": "Not Found"}, "fatal", "most end in /v1"),
    "wrong path, a page": (404, page("404 Not Found"), "fatal", "most end in /v1"),
    "wrong method": (405, {"detail": "Method Not Allowed"}, "fatal", "most end in /v1"),
    "a firewall": (403, page("Attention Required! | Cloudflare"), "fatal", "proxy or firewall"),
    "no permission": (403, error("You may not sample from this model"), "fatal", "forbids"),
    "openrouter, moderation": (403, error("Your input was flagged", flagged_input="q"), "refused", "content"),
    "azure, filter": (400, error(FILTERED, "content_filter"), "refused", "content"),
    "qwen, filter": (400, error("Input data may be bad.", "data_inspection_failed"), "refused", "content"),
    "legal reasons": (451, error("unavailable for legal reasons"), "refused", "legal reasons"),
    "openai, quota": (429, error(QUOTA, "insufficient_quota", "insufficient_quota"), "fatal", "quota"),
    "a gateway, quota": (429, error(QUOTA, None, "insufficient_quota"), "fatal", "quota"),
    "moonshot, quota": (429, error("spent", None, "exceeded_current_quota_error"), "fatal", "quota"),
    "gemini, crowded": (429, [{"error": {"code": 429, "message": QUOTA, "status": "RESOURCE_EXHAUSTED"}}], "again", ""),
    "openai, crowded": (429, error("Rate limit reached", "rate_limit_exceeded", "requests"), "again", "Rate limit"),
    "no money": (402, error("Insufficient Balance"), "fatal", "Insufficient Balance"),
    "late": (408, error("timeout"), "again", "timeout"),
    "conflict": (409, error("conflict"), "again", "conflict"),
    "too early": (425, error("early"), "again", "early"),
    "bedrock, model error": (424, {"message": "model error"}, "again", "model error"),
    "groq, no capacity": (498, error("flex tier capacity"), "again", "capacity"),
    "closed": (499, error("request cancelled"), "again", "cancelled"),
    **{f"{status}": (status, page("busy"), "again", "busy") for status in (500, 502, 503, 504, 520, 524, 529)},
    "huggingface, loading": (503, LOADING, "again", "currently loading"),
    "llama.cpp, loading": (503, error("Loading model", None, "unavailable_error"), "again", "Loading model"),
    "unprocessable": (422, {"detail": [{"loc": ["body", "messages"], "msg": "bad"}]}, "refused", "body.messages: bad"),
    "openai, long": (400, error("too big", "context_length_exceeded"), "too long", "too short a context"),
    "vllm, long": (
        400,
        {"object": "error", "message": "This model's maximum context length is 10 tokens.", "code": 400},
        "too long",
        "maximum context",
    ),
    "vllm, nothing left": (400, {"message": "max_tokens must be at least 1, got -904."}, "too long", "got -904"),
    "llama.cpp, long": (
        400,
        {"error": {"code": 400, "message": "the request exceeds it", "type": "exceed_context_size_error"}},
        "too long",
        "exceeds",
    ),
    "llama.cpp, long in 500": (500, {"error": {"message": "Context size has been exceeded."}}, "too long", "exceeded"),
    "tgi, long": (
        422,
        {"error": "Input validation error: `inputs` must have less than 10 tokens. Given: 20"},
        "too long",
        "less than 10",
    ),
    "ollama, long": (400, error("the input length exceeds the context length"), "too long", "context length"),
    "sglang, long": (400, {"message": "The input (9) is longer than the model's context length"}, "too long", "longer"),
    "groq, long": (413, error("Request too large for model", "rate_limit_exceeded"), "too long", "too large"),
    "openai, long for a minute": (429, error("Request too large for x: Limit 10"), "too long", "too large"),
    "a proxy, long": (413, page("413 Request Entity Too Large"), "too long", "Too Large"),
}


@pytest.mark.parametrize("habit", ERRORS)
def test_each_error_means_one_thing_and_shows_the_servers_words(scripted, connect, ask, habit: str) -> None:
    status, body, kind, says = ERRORS[habit]
    response = HTMLResponse(body, status) if isinstance(body, str) else JSONResponse(body, status)
    server, address = scripted(always(response))
    client = connect(address, max_attempts=2, concurrency=1)
    if kind == "fatal":
        with pytest.raises(LLMError, match="The LLM at") as caught:
            client.ask_all([ask("q")], label="test")
        told, refused = str(caught.value), False
    else:
        (reply,) = client.ask_all([ask("q")], label="test")
        told, refused = reply.error, reply.refused
    assert says in told
    assert refused == (kind in ("refused", "too long"))
    assert ("too short a context" in told) == (kind == "too long")
    assert len(server.bodies) == (2 if kind == "again" else 1)


def test_a_filtered_prompt_is_not_asked_again_for_fewer_answers(scripted, connect, ask) -> None:
    server, address = scripted(always(JSONResponse(error(FILTERED, "content_filter"), 400)))
    (reply,) = connect(address).ask_all([ask("q", n=8, temperature=1.0)], label="test")
    assert reply.refused
    assert len(server.bodies) == 1


WAITS: dict[str, tuple[dict[str, str], Any, float]] = {  # headers, body, the seconds asked for
    "milliseconds that are none": ({"retry-after-ms": "soon", "retry-after": "9"}, {}, 9.0),
    "openai's reset": ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, {}, 360.0),
    "of two resets the one that is spent": (
        {
            "x-ratelimit-remaining-requests": "5",
            "x-ratelimit-reset-requests": "9m0s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "250ms",
        },
        {},
        0.25,
    ),
    "not a number": ({"retry-after": "NaN"}, {}, -1),
    "negative": ({"retry-after": "-5"}, {}, -1),
    "loading": ({}, LOADING, 20.0),
    "gemini": ({}, {"error": {"message": "x", "details": [{"retryDelay": "34s"}]}}, 34.0),
    "in words": ({}, error("Rate limit reached. Please try again in 1m2.5s."), 62.5),
    "azure, in words": ({}, error("Please retry after 20 seconds."), 20.0),
}


@pytest.mark.parametrize("habit", WAITS)
def test_the_pause_is_read_wherever_a_server_says_it(habit: str) -> None:
    headers, body, seconds = WAITS[habit]
    assert read_failure(status_error(429, headers=headers, body=body), secret="").wait_s == (
        None if seconds < 0 else seconds
    )


SECRET = 'Anna Schmidt of Łódź, born 1984-05-17, loves "Zyzzyva" 和服 anna.schmidt@example.org'
PROMPT = f"Which tag fits the movie? {SECRET}\nThe model is small."
TELLING = ("Anna", "Schmidt", "Łódź", "1984", "Zyzzyva", "anna.schmidt", "和服", "Schmi")


@pytest.mark.parametrize(
    "words",
    [
        f"Your prompt contains {PROMPT} which is bad",
        f"Your prompt contains {json.dumps(PROMPT)} which is bad",
        f"Your prompt contains {PROMPT!r} which is bad",
        f"Your prompt contains {PROMPT.upper()} which is bad",
        "Your prompt contains ...na Schmi... which is bad",
        "Your prompt contains the word ZYZZYVA and 1984, which is bad",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 500, 200])
def test_what_a_refusal_quotes_of_a_prompt_is_not_told(scripted, connect, ask, status: int, words: str) -> None:
    body = {"choices": [{"message": {"content": None, "refusal": words}}]} if status == 200 else error(words)
    _, address = scripted(always(JSONResponse(body, status)))
    try:
        told = connect(address, max_attempts=1).ask_all([ask(PROMPT)], label="test")[0].error
    except LLMError as stop:
        told = str(stop)
    assert "Your prompt contains" in told
    assert not [word for word in TELLING if word.casefold() in told.casefold()]


@pytest.mark.parametrize("wrapped", [Response(PROMPT), Response(f"[[{PROMPT}"), JSONResponse({"message": PROMPT}, 403)])
def test_nor_what_stands_where_an_answer_should(scripted, connect, ask, wrapped: Response, caplog, capfd) -> None:
    _, address = scripted(always(wrapped))
    try:
        told = connect(address, max_attempts=1).ask_all([ask(PROMPT)], label="test")[0].error
    except LLMError as stop:
        told = str(stop)
    shown = "".join([told, caplog.text, *capfd.readouterr()])
    assert not [word for word in TELLING if word in shown]


def test_a_server_may_be_shown_in_full_where_one_asks_for_it(scripted, connect, ask) -> None:
    _, address = scripted(always(JSONResponse(error(f"no {SECRET}"), 400)))
    assert "Anna Schmidt" in connect(address, log_texts=True).ask_all([ask(PROMPT)], label="test")[0].error


def test_what_a_server_says_reaches_no_terminal_as_a_command(scripted, connect, ask) -> None:
    _, address = scripted(always(Response(json.dumps(error("no \x1b[31m \u202e \ud800 here")), 400)))
    told = connect(address).ask_all([ask("q")], label="test")[0].error
    assert told.encode().isascii()
    assert "\x1b" not in told


def test_an_error_once_is_asked_again(scripted, connect, ask) -> None:
    server, address = scripted(first(JSONResponse(LOADING, 503)))
    assert connect(address).ask_all([ask("q")], label="test")[0].answers == ("q 0",)
    assert len(server.bodies) == 2

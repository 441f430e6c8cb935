import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from hydra_ml.offline.app import build_offline_app

GOOD = {
    "model": "offline-minilm",
    "messages": [{"role": "user", "content": "Say a headline: Big ships sail far away today."}],
}


@pytest.fixture
def call(encode) -> Callable[..., httpx2.Response]:
    app = build_offline_app(encode)

    def send(method: str, path: str, **request: Any) -> httpx2.Response:
        async def go() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
                return await client.request(method, path, **request)

        return asyncio.run(go())

    return send


def test_a_completion_has_the_shape_clients_expect_and_says_what_it_is(call) -> None:
    body = call("POST", "/v1/chat/completions", json={**GOOD, "n": 2, "temperature": 1.0, "seed": 4}).json()
    assert body["model"] == "offline-minilm"
    assert body["object"] == "chat.completion"
    assert body["system_fingerprint"].startswith("offline-minilm")
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert all(choice["message"]["role"] == "assistant" for choice in body["choices"])
    assert {choice["finish_reason"] for choice in body["choices"]} == {"stop"}
    assert body["usage"]["prompt_tokens"] == 11
    assert body["usage"]["total_tokens"] == 11 + body["usage"]["completion_tokens"]


def test_equal_requests_get_equal_bodies(call) -> None:
    request = {**GOOD, "n": 4, "temperature": 1.3, "seed": 9}
    assert (
        call("POST", "/v1/chat/completions", json=request).content
        == call("POST", "/v1/chat/completions", json=request).content
    )


def test_answers_stop_at_max_tokens(call) -> None:
    body = call("POST", "/v1/chat/completions", json={**GOOD, "max_tokens": 2, "temperature": 0}).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert len(body["choices"][0]["message"]["content"].split()) == 2
    assert body["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"n": 0}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": True}, "stream"),
        ({"tools": []}, "tools"),
    ],
)
def test_bad_requests_are_refused_by_name(call, change: dict[str, Any], names: str) -> None:
    response = call("POST", "/v1/chat/completions", json={**GOOD, **change})
    assert response.status_code == 400
    assert names in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_request_is_refused(call, body: bytes) -> None:
    response = call("POST", "/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_another_model_is_not_passed_off(call) -> None:
    response = call("POST", "/v1/chat/completions", json={**GOOD, "model": "gpt-9"})
    assert response.status_code == 404
    assert "gpt-9" in response.json()["error"]["message"]


def test_models_and_health(call) -> None:
    assert [model["id"] for model in call("GET", "/v1/models").json()["data"]] == ["offline-minilm"]
    assert call("GET", "/health").json() == {"status": "ok", "model": "offline-minilm"}
    assert call("GET", "/v1/chat/completions").status_code == 405

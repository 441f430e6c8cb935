"""The gate before a server: who is let through, and that nothing else reaches what is behind it."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from hydra_ml.io.password_gate import PasswordGate, own_hosts

AUTH = "hydra:sésame"
HOME = "http://127.0.0.1:8808"


@pytest.fixture
def behind():
    """A client of the gate, and the paths that came through it."""
    seen: list[str] = []

    def answer(request):
        seen.append(request.url.path)
        return PlainTextResponse("inside")

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    return TestClient(PasswordGate(app, auth=AUTH, hosts=own_hosts(8808)), base_url=HOME), seen


def login(text: str = AUTH) -> dict[str, str]:
    from base64 import b64encode

    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize("origin", [{}, {"Origin": HOME}, {"Origin": "http://localhost:8808"}])
def test_who_knows_the_password_is_let_in(behind, origin):
    client, seen = behind
    assert client.post("/runs", headers=login() | origin).text == "inside"
    assert seen == ["/runs"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        login("hydra:guess"),
        login("hydra:"),
        {"Authorization": login()["Authorization"].replace("Basic", "Bearer")},
        {"Authorization": "Basic !!"},
        {"Authorization": "Basic"},
        {"Authorization": "\u00ff"},
    ],
)
def test_who_does_not_is_asked_for_it(behind, headers):
    client, seen = behind
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = client.get("/runs", headers=raw)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert seen == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8808"},
        {"Host": "127.0.0.1"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9"},
        {"Origin": "null"},
    ],
)
def test_a_page_of_another_address_is_refused_even_with_it(behind, headers):
    client, seen = behind
    for method in ("GET", "POST", "OPTIONS"):
        answer = client.request(method, "/runs", headers=login() | headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert seen == []


def test_health_is_told_to_everybody_and_nothing_below_it(behind):
    client, seen = behind
    assert client.get("/health").text == "inside"
    assert client.get("/health/..").status_code == 401
    assert client.get("/healthy").status_code == 401
    assert seen == ["/health"]


def test_no_websocket_goes_through(behind):
    client, _ = behind
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/", headers=login()):
        pass


@pytest.mark.parametrize("auth", ["", "hydra", "hydra:"])
def test_a_gate_without_a_password_is_none(auth):
    with pytest.raises(ValueError, match="user:password"):
        PasswordGate(Starlette(), auth=auth, hosts=())

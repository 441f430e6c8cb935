"""Asks that a server fails on though it is well: told from those that an outage, or a limit, leaves unanswered."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from starlette.responses import Response

from hydra_ml.errors import LLMDown
from hydra_ml.llm.chat import Ask, MemoryStore, Reply
from tests.llm.raw_server import RawServer, http, read_request
from tests.llm.scripted_server import Behave, answer, refuse

GREEDY: dict[str, Any] = {}
SAMPLED = {"n": 3, "temperature": 1.0}
Trouble = Callable[[], Response]


def is_bad(body: dict[str, Any]) -> bool:
    return "bad" in body["messages"][-1]["content"]


def failing(response: Response) -> Behave:
    async def behave(number: int, body: dict[str, Any]) -> Response:
        return response if is_bad(body) else await answer(number, body)

    return behave


def odd(asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str]:
    return [ask.messages[-1]["content"] for ask, reply in zip(asks, replies, strict=True) if reply.odd]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_what_fails_while_others_are_answered_is_odd_run_after_run(scripted, connect, ask, sampling) -> None:
    _, address = scripted(failing(refuse(500, "boom")))
    store = MemoryStore()
    asks = [ask(f"{kind} {i}", **sampling) for kind in ("good", "bad") for i in range(14)]
    for _ in range(2):  # the second time nothing is missing but what fails: more in a row than make an outage
        replies = connect(address, cache=store, max_attempts=2).ask_each(asks, label="test")
        assert odd(asks, replies) == [f"bad {i}" for i in range(14)]
        assert all("HTTP 500: boom" in reply.error for reply in replies if reply.odd)
        assert all(reply.answers[0] for reply in replies[:14])


def test_a_lone_ask_is_measured_by_a_neutral_question(scripted, connect, ask) -> None:
    server, address = scripted(failing(refuse(502)))
    asks = [ask("bad", **SAMPLED)]
    assert odd(asks, connect(address, max_attempts=2).ask_each(asks, label="test")) == ["bad"]
    others = [body for body in server.bodies if not is_bad(body)]
    assert {(body["n"], body["temperature"]) for body in others} == {(3, 1.0)}


@pytest.mark.parametrize("response", [refuse(500), refuse(503), refuse(429)])
def test_in_an_outage_nothing_is_odd(scripted, connect, ask, response: Response) -> None:
    store = MemoryStore()
    asks = [ask(f"q{i}") for i in range(12)]
    _, well = scripted()
    connect(well, cache=store).ask_each(asks[:6], label="test")

    async def down(number: int, body: dict[str, Any]) -> Response:
        return response

    _, address = scripted(down)
    replies = connect(address, cache=store, max_attempts=2).ask_each(asks, label="test")
    assert not odd(asks, replies)
    with pytest.raises(LLMDown):
        connect(address, max_attempts=2).ask_each(asks, label="test")


def test_a_server_that_is_gone_is_told_soon(connect, ask) -> None:
    with pytest.raises(LLMDown, match="cannot be reached"):
        connect("http://127.0.0.1:9/v1", max_attempts=2).ask_each([ask("q")], label="test")


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_an_unsteady_server_blames_nobody_again_and_again(scripted, connect, ask, share: float) -> None:
    drawn = random.Random(4)

    async def unsteady(number: int, body: dict[str, Any]) -> Response:
        return refuse(500) if drawn.random() < share else await answer(number, body)

    _, address = scripted(unsteady)
    asks = [ask(f"q{i}") for i in range(20)]
    blamed: Counter[str] = Counter()
    for _ in range(3):
        client = connect(address, max_attempts=3, max_wait_s=0.001)
        with suppress(LLMDown):
            blamed.update(odd(asks, client.ask_each(asks, label="test")))
    assert max(blamed.values(), default=0) < 3


@pytest.mark.parametrize("response", [refuse(429), refuse(503, retry_after="0.01")])
def test_who_is_told_to_wait_is_not_odd(scripted, connect, ask, response: Response) -> None:
    _, address = scripted(failing(response))
    asks = [ask("good"), ask("bad")]
    replies = connect(address, max_attempts=2).ask_each(asks, label="test")
    assert replies[1].error
    assert not odd(asks, replies)


def test_what_never_ends_is_odd(scripted, connect, ask) -> None:
    async def hang(number: int, body: dict[str, Any]) -> Response:
        if is_bad(body):
            await asyncio.sleep(30)
        return await answer(number, body)

    _, address = scripted(hang)
    asks = [ask("good"), ask("bad")]
    replies = connect(address, timeout_s=0.2, max_attempts=2).ask_each(asks, label="test")
    assert odd(asks, replies) == ["bad"]
    assert "no answer in time" in replies[1].error


def test_what_a_server_gives_nobody_is_no_fault_of_who_asks(scripted, connect, ask) -> None:
    async def one_at_most(number: int, body: dict[str, Any]) -> Response:
        return refuse(500, "n") if body["n"] > 1 else await answer(number, body)

    _, address = scripted(one_at_most)
    asks = [ask(f"q{i}", **sampling) for i in range(4) for sampling in (GREEDY, SAMPLED)]
    replies = connect(address, max_attempts=2).ask_each(asks, label="test")
    assert sum(bool(reply.error) for reply in replies) == 4
    assert not odd(asks, replies)


class BreakingServer(RawServer):
    """Answers after a moment, unless it is asked something bad: then it breaks, with all that is in flight, and is
    back only after a while."""

    def __init__(self) -> None:
        self.down_until = 0.0
        super().__init__([])

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            request = read_request(connection)
            asked_at = time.monotonic()
            if b"bad" in request and asked_at >= self.down_until:
                self.down_until = asked_at + 0.2
            time.sleep(0.03)
            if request.startswith(b"POST") and asked_at >= self.down_until and time.monotonic() >= self.down_until:
                body = {"choices": [{"message": {"content": "fine"}}], "usage": None}
                connection.sendall(http(json.dumps(body).encode()))


def test_what_breaks_the_server_is_told_from_what_it_takes_along(connect, ask) -> None:
    server = BreakingServer()
    asks = [ask(f"good {i}") for i in range(20)] + [ask("bad")]
    try:
        replies = connect(server.address, max_attempts=4, max_wait_s=0.2, concurrency=8).ask_each(asks, label="test")
    finally:
        server.close()
    assert odd(asks, replies) == ["bad"]
    assert all(reply.answers == ("fine",) for reply in replies[:-1])


@pytest.mark.parametrize("word", ["bad", ""])  # refused: the bad ones alone; from some moment on everything
def test_a_refused_ask_is_to_blame_only_if_others_are_answered(scripted, connect, ask, word: str) -> None:
    asks = [ask(f"{kind} {i}") for kind in ("good", "bad") for i in range(3)]

    async def behave(number: int, body: dict[str, Any]) -> Response:
        refuses = word in body["messages"][-1]["content"] and (word or number > 3)
        return refuse(422, "bad field: seed_of_things") if refuses else await answer(number, body)

    _, address = scripted(behave)
    replies = connect(address, concurrency=1).ask_each(asks, label="test")
    assert [bool(reply.error) for reply in replies] == [False] * 3 + [True] * 3
    assert [reply.refused for reply in replies[3:]] == [bool(word)] * 3

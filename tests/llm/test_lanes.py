"""The bound on requests in flight: opened by fast answers, halved by trouble, and kind to servers that work on one
request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hydra_ml.llm.lanes import FIRST, Lanes


def test_fast_answers_open_lanes_up_to_the_most() -> None:
    lanes = Lanes(most=FIRST + 4, timeout_s=1.0)
    assert lanes.open == FIRST
    for _ in range(50):
        lanes.answered(0.01)
    assert lanes.open == FIRST + 4


def test_answers_neither_fast_nor_slow_change_nothing_and_slow_ones_close_a_lane() -> None:
    lanes = Lanes(most=64, timeout_s=1.0)
    lanes.answered(0.4)
    assert lanes.open == FIRST
    lanes.answered(0.6)
    assert lanes.open == FIRST - 1


def test_trouble_halves_once_for_all_that_were_in_flight_and_growth_is_slow_thereafter() -> None:
    lanes = Lanes(most=64, timeout_s=1.0)
    for sent_at in (1.0, 1.1, 1.2):
        lanes.crowded(sent_at, now=2.0)
    assert lanes.open == FIRST // 2
    lanes.crowded(sent_at=2.5, now=3.0)
    assert lanes.open == FIRST // 4
    for _ in range(FIRST // 4):
        lanes.answered(0.01)
    assert lanes.open <= FIRST // 4 + 1
    for _ in range(100):
        lanes.crowded(sent_at=lanes._halved_at + 1, now=lanes._halved_at + 2)
    assert lanes.open == 1


def test_a_lane_that_is_left_lets_the_next_one_in() -> None:
    async def play() -> list[str]:
        lanes, told = Lanes(most=1, timeout_s=1.0), []

        async def one(name: str) -> None:
            async with lanes.lane():
                told.append(f"{name} in")
                await asyncio.sleep(0)
                told.append(f"{name} out")

        await asyncio.gather(one("a"), one("b"), one("c"))
        return told

    assert asyncio.run(play()) == ["a in", "a out", "b in", "b out", "c in", "c out"]


def test_a_server_that_does_one_request_at_a_time_is_not_drowned(
    start_server: Callable[..., Any], connect: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    one_at_a_time = asyncio.Lock()
    seen: list[str] = []

    async def slowly(request: Request) -> JSONResponse:
        seen.append((await request.json())["messages"][0]["content"])
        async with one_at_a_time:
            await asyncio.sleep(0.03)
        return JSONResponse({"choices": [{"message": {"content": "fine"}}]})

    app = Starlette(routes=[Route("/v1/chat/completions", slowly, methods=["POST"])])
    client = connect(start_server(app).address, concurrency=64, timeout_s=1.5)  # 64 in a queue take longer than that
    replies = client.ask_all([ask(f"q{i}") for i in range(150)], label="test")
    assert not [reply.error for reply in replies if reply.error]
    assert len(seen) <= 1.2 * 150, "what a server computes is thrown away if nobody waits for it"

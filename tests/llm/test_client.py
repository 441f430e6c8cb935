"""The client with servers that answer: what is sent, bought once, kept, and stopped."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from starlette.responses import Response

from hydra_ml.errors import BudgetExceeded, LLMError
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.llm.chat import Ask, MemoryStore
from hydra_ml.llm.client import LLMClient
from hydra_ml.offline.app import build_offline_app
from hydra_ml.params import LLM
from tests.llm.scripted_server import ScriptedServer, answer, completion, refuse


def test_replies_come_in_order_and_equal_asks_are_asked_once(scripted, connect, ask) -> None:
    server, address = scripted()
    client = connect(address, concurrency=4)
    asks = [ask(f"q{i % 5}") for i in range(20)]
    replies = client.ask_all(asks, label="test")
    assert [reply.answers for reply in replies] == [(f"q{i % 5} 0",) for i in range(20)]
    assert len(server.bodies) == 5
    assert server.most_in_flight <= 4
    assert (client.usage.calls, client.usage.cached, client.usage.failed) == (5, 15, 0)
    assert (client.usage.tokens_in, client.usage.tokens_out) == (50, 10)
    assert not replies[0].cached


def test_concurrency_is_used_up_to_its_limit(scripted, connect, ask) -> None:
    async def slowly(number: int, body: dict[str, Any]) -> Response:
        await asyncio.sleep(0.03)
        return await answer(number, body)

    server, address = scripted(slowly)
    connect(address, concurrency=7).ask_all([ask(f"q{i}") for i in range(40)], label="test")
    assert server.most_in_flight == 7


def test_what_is_sent(scripted, connect) -> None:
    server, address = scripted()
    chat = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})
    connect(address).ask_all([Ask(chat, n=3, temperature=0.7, max_tokens=9, seed=2)], label="test")
    assert server.bodies == [
        {"model": "some-model", "messages": list(chat), "n": 3, "temperature": 0.7, "max_tokens": 9, "seed": 2018}
    ]


def test_eight_samples_after_four_pay_for_four_new_ones(scripted, connect, ask) -> None:
    server, address = scripted()
    client = connect(address)
    four = client.ask_all([ask("q", n=4, temperature=1.0)], label="test")[0]
    eight = client.ask_all([ask("q", n=8, temperature=1.0)], label="test")[0]
    assert [body["n"] for body in server.bodies] == [4, 4]
    assert four.answers == eight.answers[:4]
    assert eight.answers == tuple(f"q {i}" for i in range(8))
    assert (eight.cached, eight.tokens_in, eight.tokens_out) == (False, 20, 16)
    again = client.ask_all([ask("q", n=8, temperature=1.0), ask("q", n=2, temperature=1.0)], label="test")
    assert [(reply.cached, len(reply.answers), reply.calls) for reply in again] == [(True, 8, 0), (True, 2, 0)]
    assert len(server.bodies) == 2


@pytest.mark.parametrize("most", ["ignored", "refused"])
def test_servers_that_give_one_answer_at_a_time(scripted, connect, ask, most: str) -> None:
    async def one_at_a_time(number: int, body: dict[str, Any]) -> Response:
        if most == "refused" and body["n"] > 1:
            return refuse(400, "n must be 1")
        return completion(body, 1)

    server, address = scripted(one_at_a_time)
    replies = connect(address).ask_all([ask("q", n=3, temperature=1.0)], label="test")
    assert replies[0].answers == ("q 0", "q 1", "q 2")
    assert replies[0].error == ""
    assert len(server.bodies) == replies[0].calls == (3 if most == "ignored" else 4)


def test_the_budget_of_calls_is_never_passed_and_nothing_bought_is_lost(scripted, connect, ask, tmp_path: Path) -> None:
    server, address = scripted()
    asks = [ask(f"q{i}") for i in range(20)]
    with ResponseCache(tmp_path / "answers.sqlite") as cache:
        with pytest.raises(BudgetExceeded, match="max_calls = 7"):
            connect(address, cache=cache, max_calls=7, concurrency=4).ask_all(asks, label="test")
        assert len(server.bodies) == len(cache) == 7
        replies = connect(address, cache=cache).ask_all(asks, label="test")
    assert len(server.bodies) == 20
    assert [reply.answers[0] for reply in replies] == [f"q{i} 0" for i in range(20)]
    assert sum(reply.cached for reply in replies) == 7


def test_the_budget_of_tokens_counts_what_calls_took_not_what_they_could_take(scripted, connect, ask) -> None:
    server, address = scripted()  # each call takes 12 tokens and could take about 65
    client = connect(address, max_tokens=200, concurrency=8)
    with pytest.raises(BudgetExceeded, match="max_tokens = 200"):
        client.ask_all([ask(f"q{i}") for i in range(50)], label="test")
    assert len(server.bodies) == 12  # 11 * 12 + 65 <= 200 < 12 * 12 + 65
    assert client.usage.tokens_in + client.usage.tokens_out == 144


def test_a_second_run_asks_nothing(scripted, connect, ask, tmp_path: Path) -> None:
    server, address = scripted()
    asks = [ask(f"q{i}", n=2, temperature=1.0) for i in range(5)]
    with ResponseCache(tmp_path / "answers.sqlite") as cache:
        one = connect(address, cache=cache).ask_all(asks, label="test")
    with ResponseCache(tmp_path / "answers.sqlite") as cache:
        client = connect("http://127.0.0.1:9/v1", cache=cache)
        two = client.ask_all(asks, label="test")
    assert len(server.bodies) == 5
    assert client.usage.calls == 0
    assert [reply.answers for reply in two] == [reply.answers for reply in one]
    assert all(reply.cached and reply.tokens_in == 10 for reply in two)


def test_after_the_server_died_only_the_missing_is_asked(start_server, connect, ask, tmp_path: Path) -> None:
    running: list[Any] = []

    async def die_at_thirty(number: int, body: dict[str, Any]) -> Response:
        if number == 30:
            running[0].die()
        if number >= 30:
            await asyncio.sleep(30)
        return await answer(number, body)

    mortal = ScriptedServer(die_at_thirty)
    running.append(start_server(mortal.app))
    asks = [ask(f"q{i}") for i in range(100)]
    with ResponseCache(tmp_path / "answers.sqlite") as cache:
        with pytest.raises(LLMError, match="cannot be reached"):
            connect(running[0].address, cache=cache, max_attempts=2, concurrency=8).ask_all(asks, label="test")
        assert len(cache) == 29
        second = ScriptedServer()
        replies = connect(start_server(second.app).address, cache=cache).ask_all(asks, label="test")
    assert len(second.bodies) == 71
    assert [reply.answers[0] for reply in replies] == [f"q{i} 0" for i in range(100)]


def test_an_interrupt_keeps_what_has_arrived(scripted, connect, ask) -> None:
    arrived = threading.Event()

    async def five_then_hang(number: int, body: dict[str, Any]) -> Response:
        if number > 5:
            arrived.set()
            await asyncio.sleep(60)
        return await answer(number, body)

    _, address = scripted(five_then_hang)
    store = MemoryStore()
    client = connect(address, cache=store, concurrency=1)

    def interrupt() -> None:
        arrived.wait()
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background starts with it ignored
    threading.Thread(target=interrupt).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.ask_all([ask(f"q{i}") for i in range(10)], label="test")
    assert time.monotonic() - started < 50, "the answer that hangs is not waited for"
    assert len(store.get_many([key for i in range(10) for key in _keys(f"q{i}")])) == 5


def _keys(content: str) -> tuple[str, ...]:
    from hydra_ml.llm.chat import answer_keys

    return answer_keys("some-model", Ask(({"role": "user", "content": content},)))


def test_the_offline_model_answers_alike_in_process_and_over_a_socket(start_server, connect, encode) -> None:
    asks = []
    for i in range(30):
        category = f"Which category? categories: [politics, sports, travel] article: the minister played ball {i}"
        asks.append(Ask(({"role": "user", "content": category},), n=4, temperature=1.0, seed=3))
        headline = f"Generate a headline for the following article: Minister number {i} opened a bridge. It is long."
        asks.append(Ask(({"role": "user", "content": headline},)))
    app = build_offline_app(encode)
    inner = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://in-process/v1")
    client = AsyncOpenAI(base_url="http://in-process/v1", api_key="none", http_client=inner)
    with LLMClient(client, LLM()) as in_process:
        here = in_process.ask_all(asks, label="in process")
    there = connect(start_server(app).address, model="offline-minilm").ask_all(asks, label="socket")
    assert here == there
    assert all(answer for reply in here for answer in reply.answers)


def test_what_params_add_and_leave_out_is_sent_so_and_has_answers_of_its_own(scripted, connect, ask) -> None:
    server, address = scripted()
    store = MemoryStore()
    plain = connect(address, cache=store)
    plain.ask_all([ask("q")], label="test")
    how = {"system": "Be brief.", "top_p": 0.5, "stop": ["\n"], "extra_body": {"top_k": 3}, "omit": ["temperature"]}
    shaped = connect(address, cache=store, **how)
    shaped.ask_all([ask("q")], label="test")
    connect(address, cache=store, **how).ask_all([ask("q")], label="test")
    connect(address, cache=store, revision="2").ask_all([ask("q")], label="test")
    assert len(server.bodies) == 3
    body = server.bodies[1]
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    assert (body["top_p"], body["stop"], body["top_k"]) == (0.5, ["\n"], 3)
    assert "temperature" not in body


def test_more_answers_than_a_server_gives_at_once_are_asked_for_in_portions(scripted, connect, ask) -> None:
    async def four_slots(number: int, body: dict[str, Any]) -> Response:
        return refuse(400, "n must be at most 4") if body["n"] > 4 else await answer(number, body)

    server, address = scripted(four_slots)
    client = connect(address, concurrency=1)
    replies = client.ask_all([ask(f"q{i}", n=8, temperature=1.0) for i in range(3)], label="test")
    assert [reply.answers for reply in replies] == [tuple(f"q{i} {k}" for k in range(8)) for i in range(3)]
    assert [body["n"] for body in server.bodies] == [8, 4, 4, 4, 4, 4, 4]

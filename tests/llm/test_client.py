import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hydra_ml.errors import BudgetExceeded, LLMError
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.llm.chat import Ask, MemoryStore
from hydra_ml.llm.client import LLMClient
from hydra_ml.llm.lanes import FIRST
from hydra_ml.offline.app import build_offline_app
from hydra_ml.params import LLM

KEY = "sk-very-secret-0042"
Behave = Callable[[int, dict[str, Any]], Awaitable[Response]]  # number of the request from 1, its body


class ScriptedServer:
    """A server that answers "<last message> <seed + i>" unless `behave` does something else; it counts."""

    def __init__(self, behave: Behave | None = None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self._behave = behave or answer
        self.app = Starlette(routes=[Route("/v1/chat/completions", self._endpoint, methods=["POST"])])

    async def _endpoint(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._behave(len(self.bodies), body)
        finally:
            self.in_flight -= 1


def completion(body: dict[str, Any], n: int) -> Response:
    said = body["messages"][-1]["content"]
    choices = [
        {"index": i, "message": {"role": "assistant", "content": f"{said} {body['seed'] + i}"}} for i in range(n)
    ]
    return JSONResponse({"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 2 * n}})


async def answer(number: int, body: dict[str, Any]) -> Response:
    return completion(body, body["n"])


def first(response: Response) -> Behave:
    """Give this response once, then answer."""

    async def behave(number: int, body: dict[str, Any]) -> Response:
        return response if number == 1 else await answer(number, body)

    return behave


def always(response: Response) -> Behave:
    async def behave(number: int, body: dict[str, Any]) -> Response:
        return response

    return behave


def refuse(status: int, message: str = "no", **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"message": message, "code": None}}, status, names)


@pytest.fixture
def scripted(start_server: Callable[..., Any]) -> Callable[..., tuple[ScriptedServer, str]]:
    def start(behave: Behave | None = None) -> tuple[ScriptedServer, str]:
        server = ScriptedServer(behave)
        return server, start_server(server.app).address

    return start


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


MALFORMED = {
    "server error": refuse(500),
    "overloaded": refuse(503),
    "broken JSON": Response('{"choices": [', media_type="application/json"),
    "HTML": HTMLResponse("<html>Sign in</html>"),
    "empty body": Response("", media_type="application/json"),
    "no choices": JSONResponse({"choices": []}),
    "null choices": JSONResponse({"choices": None}),
    "null": JSONResponse(None),
}


@pytest.mark.parametrize("trouble", MALFORMED)
def test_passing_trouble_is_tried_again(scripted, connect, ask, trouble: str) -> None:
    server, address = scripted(first(MALFORMED[trouble]))
    reply = connect(address).ask_all([ask("q")], label="test")[0]
    assert reply.answers == ("q 0",)
    assert len(server.bodies) == 2


@pytest.mark.parametrize("trouble", MALFORMED)
def test_lasting_trouble_of_one_request_is_kept_and_counted(scripted, connect, ask, trouble: str) -> None:
    async def poisoned(number: int, body: dict[str, Any]) -> Response:
        bad = body["messages"][-1]["content"] == "bad"
        return MALFORMED[trouble] if bad else await answer(number, body)

    server, address = scripted(poisoned)
    client = connect(address, max_attempts=3)
    good, bad = client.ask_all([ask("good"), ask("bad", n=2, temperature=1.0)], label="test")
    assert good.answers == ("good 0",)
    assert bad.answers == ("", "")
    assert "3 attempts" in bad.error
    assert client.usage.failed == 1
    assert len(server.bodies) == 4


def test_retry_after_is_obeyed(scripted, connect, ask) -> None:
    _, address = scripted(first(refuse(429, retry_after="0.4")))
    started = time.monotonic()
    reply = connect(address, max_wait_s=5.0).ask_all([ask("q")], label="test")[0]
    assert reply.answers == ("q 0",)
    assert time.monotonic() - started >= 0.4


def test_retry_after_is_capped(scripted, connect, ask) -> None:
    _, address = scripted(first(refuse(429, retry_after="90")))
    started = time.monotonic()
    assert connect(address, max_wait_s=0.1).ask_all([ask("q")], label="test")[0].answers == ("q 0",)
    assert time.monotonic() - started < 60, "not the 90 s that the server asked for"


def test_a_slow_answer_is_given_up(scripted, connect, ask) -> None:
    async def hang(number: int, body: dict[str, Any]) -> Response:
        await asyncio.sleep(30)
        return await answer(number, body)

    server, address = scripted(hang)
    reply = connect(address, timeout_s=0.1, max_attempts=2).ask_all([ask("q")], label="test")[0]
    assert reply.answers == ("",)
    assert "no answer in time" in reply.error
    assert len(server.bodies) == 2


def test_a_refused_request_is_not_fatal_not_repeated_and_not_cached(scripted, connect, ask) -> None:
    async def too_long(number: int, body: dict[str, Any]) -> Response:
        long = body["messages"][-1]["content"].startswith("long")
        return refuse(400, "context length") if long else await answer(number, body)

    server, address = scripted(too_long)
    store = MemoryStore()
    asks = [ask(f"long {i}") for i in range(15)] + [ask("short")]
    for run in (1, 2):
        replies = connect(address, cache=store).ask_all(asks, label="test")
        assert replies[-1].answers == ("short 0",)
        assert all("context length" in reply.error and reply.answers == ("",) for reply in replies[:-1])
        assert len(server.bodies) == (16 if run == 1 else 31)


@pytest.mark.parametrize(("status", "says"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "llm.model")])
def test_a_refusal_for_good_stops_at_once_and_never_shows_the_key(
    scripted, connect, ask, status: int, says: str
) -> None:
    server, address = scripted(always(refuse(status, f"you sent {KEY}")))
    with pytest.raises(LLMError, match=says) as caught:
        connect(address, concurrency=4).ask_all([ask(f"q{i}") for i in range(50)], label="test")
    assert len(server.bodies) <= 8
    assert KEY not in str(caught.value)
    assert address.split("/")[2] in str(caught.value)


def test_an_unreachable_server_is_named_soon(connect, ask) -> None:
    client = connect("http://127.0.0.1:9/v1", max_attempts=3, concurrency=64)
    with pytest.raises(LLMError, match=r"127\.0\.0\.1:9 cannot be reached.*3 attempts.*OPENAI_BASE_URL") as caught:
        client.ask_all([ask(f"q{i}") for i in range(500)], label="test")
    assert client.usage.calls <= 3 * 64
    assert KEY not in str(caught.value)


def test_a_server_that_fails_everything_is_taken_for_down(scripted, connect, ask) -> None:
    server, address = scripted(always(refuse(500)))
    with pytest.raises(LLMError, match="HTTP 500"):
        connect(address, max_attempts=2, concurrency=4).ask_all([ask(f"q{i}") for i in range(200)], label="test")
    assert len(server.bodies) < 40


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


def test_an_unexpected_content_type_is_no_answer(scripted, connect, ask) -> None:
    _, address = scripted(first(PlainTextResponse('{"choices": [{"message": {"content": "x"}}]}')))
    assert connect(address).ask_all([ask("q")], label="test")[0].answers == ("q 0",)


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


def test_who_learns_from_answers_gets_none_if_too_many_failed(scripted, connect, ask) -> None:
    async def some_refused(number: int, body: dict[str, Any]) -> Response:
        return refuse(400, "not this") if body["messages"][-1]["content"] < "q2" else await answer(number, body)

    _, address = scripted(some_refused)
    asks = [ask(f"q{i}") for i in range(10)]
    with pytest.raises(LLMError, match=r"2 of 10 asks have no answer.*max_failed_share = 0.1.*not this"):
        connect(address, max_failed_share=0.1).ask_nearly_all(asks, label="test")
    assert len(connect(address, max_failed_share=0.2).ask_nearly_all(asks, label="test")) == 10


def test_a_server_that_refuses_everything_is_asked_a_few_times_only(scripted, connect, ask) -> None:
    async def refuse_all(number: int, body: dict[str, Any]) -> Response:
        return refuse(400, "no")

    server, address = scripted(refuse_all)
    with pytest.raises(LLMError, match="refused the request"):
        connect(address, concurrency=4).ask_all([ask(f"q{i}") for i in range(200)], label="test")
    assert len(server.bodies) < 30


def test_who_waits_for_a_lane_sends_nothing_once_asking_has_stopped(scripted, connect, ask) -> None:
    async def money_gone(number: int, body: dict[str, Any]) -> Response:
        await asyncio.sleep(0.05)
        return refuse(402, "Insufficient Balance")

    server, address = scripted(money_gone)
    with pytest.raises(LLMError, match="wants money first"):
        connect(address, concurrency=64).ask_all([ask(f"q{i}") for i in range(200)], label="test")
    assert len(server.bodies) <= FIRST

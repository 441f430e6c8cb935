"""The client with servers that do not answer: what is tried again, given up, or stops all."""

import asyncio
import time
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from hydra_ml.errors import LLMError
from hydra_ml.llm.chat import MemoryStore
from hydra_ml.llm.lanes import FIRST
from tests.llm.scripted_server import always, answer, first, refuse, say

KEY = "sk-very-secret-0042"


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


def test_who_learns_from_answers_gets_none_if_too_many_failed(scripted, connect, ask) -> None:
    async def some_refused(number: int, body: dict[str, Any]) -> Response:
        return refuse(400, "not this") if body["messages"][-1]["content"] < "q2" else await answer(number, body)

    _, address = scripted(some_refused)
    asks = [ask(f"q{i}") for i in range(10)]
    with pytest.raises(LLMError, match=r"20.0% of the answers are missing.*max_failed_share = 0.1 .*not this"):
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


def test_what_was_paid_for_no_answer_is_counted_and_a_filter_is_no_matter_of_n(scripted, connect, ask) -> None:
    async def filtered(number: int, body: dict[str, Any]) -> Response:
        choice = {"message": {"content": ""}, "finish_reason": "content_filter"}
        return JSONResponse({"choices": [choice] * body["n"], "usage": {"prompt_tokens": 10, "completion_tokens": 2}})

    server, address = scripted(filtered)
    client = connect(address)
    (reply,) = client.ask_all([ask("q", n=4, temperature=1.0)], label="test")
    assert reply.refused
    assert (client.usage.tokens_in, client.usage.tokens_out, len(server.bodies)) == (10, 2, 1)


def test_one_answer_of_many_that_is_missing_counts_as_one_answer(scripted, connect, ask) -> None:
    async def one_empty(number: int, body: dict[str, Any]) -> Response:
        texts = [f"a {i}" for i in range(body["n"] - 1)] + [""]
        return JSONResponse({"choices": [{"message": {"content": text}} for text in texts]})

    _, address = scripted(one_empty)
    (reply,) = connect(address, max_failed_share=0.25).ask_nearly_all([ask("q", n=4, temperature=1.0)], label="test")
    assert [bool(answer) for answer in reply.answers] == [True, True, True, False]


def test_empty_answers_are_an_outage_only_where_nothing_is_kept(scripted, connect, ask) -> None:
    """A run started again after a kill begins with what is always answered by nothing: the rest is kept already."""

    async def nothing_for_hard_ones(number: int, body: dict[str, Any]) -> Response:
        is_hard = body["messages"][-1]["content"].startswith("hard")
        return say(body, "") if is_hard else await answer(number, body)

    _, address = scripted(nothing_for_hard_ones)
    hard, easy, kept = [ask(f"hard {i}") for i in range(40)], [ask(f"easy {i}") for i in range(4)], MemoryStore()
    with pytest.raises(LLMError, match="answer without text"):
        connect(address, cache=MemoryStore(), concurrency=2).ask_all([*hard, *easy], label="test")
    connect(address, cache=kept, concurrency=2).ask_all(easy[:2], label="test")
    replies = connect(address, cache=kept, concurrency=2).ask_all([*easy[:2], *hard, *easy[2:]], label="test")
    assert [bool(reply.answers[0]) for reply in replies] == [True] * 2 + [False] * 40 + [True] * 2
    assert all("answer without text" in reply.error for reply in replies[2:-2])

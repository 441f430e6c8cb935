"""What comes over the wire: bodies too long, too deep, too slow or broken, and redirects. Each ends in a value or in
one of our errors, in bounded memory and time."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hydra_ml.errors import LLMError
from hydra_ml.llm.chat import Ask
from hydra_ml.llm.exchange import request_of
from hydra_ml.params import LLM
from tests.llm.raw_server import RawServer, Reply, http, slowly

GOOD = json.dumps({"choices": [{"message": {"content": "comedy"}}], "usage": {"prompt_tokens": 9}}).encode()


@pytest.fixture
def raw() -> Iterator[Callable[..., RawServer]]:
    servers: list[RawServer] = []

    def start(*replies: Reply) -> RawServer:
        servers.append(RawServer(list(replies)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def usage(text: str) -> bytes:
    return b'{"choices": [{"message": {"content": "comedy"}}], "usage": {"prompt_tokens": %s}}' % text.encode()


def stream(*chunks: dict[str, Any], end: str = "data: [DONE]\n\n") -> bytes:
    return "".join([": ping\n\n", *(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), end]).encode()


def delta(text: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"role": "assistant", "content": text}, **more}]}


VALUES = {
    "mark of byte order": b"\xef\xbb\xbf" + GOOD,
    "zero bytes": GOOD + b"\0\0",
    "latin-1": GOOD.replace(b"comedy", b"com\xe9dy"),
    "usage negative": usage("-4"),
    "usage huge": usage("1" + "0" * 30),
    "usage with more digits than Python reads": usage("9" * 5000),
    "usage NaN": usage("NaN"),
    "usage infinite": usage("1e999"),
    "usage a truth": usage("true"),
    "usage a text": usage('"many"'),
    "usage a list": GOOD.replace(b'{"prompt_tokens": 9}', b"[1]"),
    "line ends within text": GOOD.replace(b"comedy", b"com\nedy"),
    "a stream nobody asked for": stream(delta("com"), delta("edy", finish_reason="stop"), {"choices": [], "usage": {}}),
    "a stream with CRLF": stream(delta("com"), delta("edy")).replace(b"\n", b"\r\n"),
    "a stream without end, but a reason": stream(delta("comedy", finish_reason="stop"), end=""),
}


@pytest.mark.parametrize("habit", VALUES)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream; charset=no-such"])
def test_what_a_body_says_is_read_however_it_is_dressed(raw, connect, ask, habit: str, kind: str) -> None:
    client = connect(raw(http(VALUES[habit], content_type=kind)).address, max_attempts=1)
    (reply,) = client.ask_all([ask("q")], label="test")
    assert (reply.answers[0].replace("\n", "").replace("é", "e"), reply.error) == ("comedy", "")
    assert 0 < reply.tokens_in < 100


def test_the_choices_of_a_stream_are_told_apart(raw, connect, ask) -> None:
    body = stream(delta("a", 1), delta("b", 0), delta("a", 1), delta("b", 0))
    (reply,) = connect(raw(http(body)).address).ask_all([ask("q", n=2, temperature=1.0)], label="test")
    assert reply.answers == ("bb", "aa")


BOMB = gzip.compress(b" " * (300 << 20), 1)
DEEP = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NEARLY = b'{"error": ' * 900 + b"1" + b"}" * 900
ENCODED = {"content_encoding": "gzip"}
TROUBLE: dict[str, tuple[Reply, str]] = {
    "a bomb": (http(BOMB, **ENCODED), "longer than 4 MiB"),
    "a long body": (http(b'{"x": "' + b"y" * (5 << 20) + b'"}'), "longer than 4 MiB"),
    "a long error": (http(b"<html>" + b"y" * (5 << 20), "500 Oops"), "HTTP 500"),
    "a bomb as an error": (http(BOMB, "500 Oops", **ENCODED), "HTTP 500"),
    "deep": (http(DEEP), "nested too deep"),
    "nearly too deep": (http(NEARLY), "no chat completion"),
    "deep in an error": (http(DEEP, "500 Oops"), "HTTP 500"),
    "nearly too deep in an error": (http(NEARLY, "500 Oops"), "HTTP 500"),
    "no gzip": (http(b"not gzip", **ENCODED), "cannot be reached"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be reached"),
    "nothing": (b"", "cannot be reached"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-", "cannot be reached"),
    "half a body": (http(GOOD, content_length="500"), "cannot be reached"),
    "a head too long": (http(GOOD, x=("y" * 100_000)), "cannot be reached"),
    "a length too short": (http(GOOD, content_length="20"), "cannot be reached"),
    "chunks cut short": (http(b"ff\r\n{", content_length="", transfer_encoding="chunked"), "cannot be reached"),
    "an empty body": (http(b""), "no chat completion"),
    "a number": (http(b"5"), "no chat completion"),
    "a stream that breaks off": (http(stream(delta("com"), end="")), "breaks off"),
    "a stream with an error": (http(stream(delta("com"), {"error": {"message": "overloaded"}})), "overloaded"),
    "a stream with broken JSON": (http(b"data: {\n\ndata: [DONE]\n\n"), "no chat completion"),
    "no data": (http(b"", "204 No Content"), "no chat completion"),
}


@pytest.mark.parametrize("habit", TROUBLE)
def test_no_body_ends_in_anything_but_our_errors(raw, connect, ask, habit: str) -> None:
    reply, says = TROUBLE[habit]
    client = connect(raw(reply).address, max_attempts=1, concurrency=1)
    try:
        told = client.ask_all([ask("q")], label="test")[0].error
    except LLMError as error:
        told = str(error)
    assert says in told
    assert len(told) < 800


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
def test_a_bomb_takes_little_memory(raw, connect, ask, status: str) -> None:
    server = raw(http(BOMB, status, **ENCODED))
    tracemalloc.start()
    try:
        connect(server.address, max_attempts=1).ask_all([ask("q")], label="test")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_an_attempt_ends_in_its_time_however_the_bytes_are_spread(raw, connect, ask) -> None:
    client = connect(raw(slowly(http(GOOD), 0.2)).address, timeout_s=0.5, max_attempts=1)
    started = time.monotonic()
    (reply,) = client.ask_all([ask("q")], label="test")
    assert "no answer in time" in reply.error
    assert time.monotonic() - started < 3


def moved(status: int, location: str) -> bytes:
    return http(b"", f"{status} Moved", location=location)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_is_asked_is_not_sent_to_whom_a_server_names(raw, connect, ask, status: int) -> None:
    other = raw(http(GOOD))
    client = connect(raw(moved(status, f"{other.address}/chat/completions?x=1")).address)
    with pytest.raises(LLMError, match=rf"set OPENAI_BASE_URL to {other.address}\."):
        client.ask_all([ask("a secret question")], label="test")
    assert not other.requests


@pytest.mark.parametrize("status", [307, 308])
def test_another_path_on_the_same_server_is_learned_once(raw, connect, ask, status: int) -> None:
    server = raw(moved(status, "/v1/chat/completions/"), http(GOOD))
    client = connect(server.address, concurrency=1)
    replies = client.ask_all([ask("one"), ask("two")], label="test")
    assert [reply.answers for reply in replies] == [("comedy",)] * 2
    assert [request.split()[1] for request in server.requests] == [
        b"/v1/chat/completions",
        b"/v1/chat/completions/",
        b"/v1/chat/completions/",
    ]


def test_a_server_that_sends_in_circles_is_left(raw, connect, ask) -> None:
    server = raw(moved(307, "/v1/chat/completions"))
    with pytest.raises(LLMError, match="sends its requests elsewhere"):
        connect(server.address, concurrency=1).ask_all([ask("one")], label="test")
    assert len(server.requests) == 4


def test_a_chats_own_system_turn_joins_the_settings_one() -> None:
    ask = Ask(({"role": "system", "content": "about ann"}, {"role": "user", "content": "what?"}))
    found = {system: request_of(ask, LLM(system=system), 0, 1)["messages"] for system in ("", "be brief")}
    assert found[""] == list(ask.messages)
    assert [turn["content"] for turn in found["be brief"]] == ["be brief\n\nabout ann", "what?"]

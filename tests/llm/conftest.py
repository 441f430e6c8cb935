"""Real servers on free ports, and clients of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from openai import AsyncOpenAI, DefaultAioHttpClient

from hydra_ml.llm.chat import AnswerStore, Ask
from hydra_ml.llm.client import LLMClient
from hydra_ml.params import LLM

KEY = "sk-very-secret-0042"


class RunningServer:
    """An ASGI application on a free port of this machine."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def die(self) -> None:
        """Stop without finishing what is in flight; may be called from within a request."""
        self._server.should_exit = self._server.force_exit = True

    def close(self) -> None:
        self.die()
        self._thread.join(timeout=5)


@pytest.fixture
def start_server() -> Iterator[Callable[[Any], RunningServer]]:
    servers: list[RunningServer] = []

    def start(app: Any) -> RunningServer:
        servers.append(RunningServer(app))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def client_of(address: str, *, cache: AnswerStore | None = None, **settings: Any) -> LLMClient:
    params = LLM(**{"model": "some-model", "max_wait_s": 0.05, "timeout_s": 5.0, **settings})
    return LLMClient(
        AsyncOpenAI(base_url=address, api_key=KEY, http_client=DefaultAioHttpClient()), params, cache=cache
    )


@pytest.fixture
def connect() -> Iterator[Callable[..., LLMClient]]:
    """Clients that are closed after the test."""
    clients: list[LLMClient] = []

    def open_client(address: str, **settings: Any) -> LLMClient:
        clients.append(client_of(address, **settings))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def question(content: str, **sampling: Any) -> Ask:
    return Ask(({"role": "user", "content": content},), **sampling)


@pytest.fixture
def ask() -> Callable[..., Ask]:
    return question

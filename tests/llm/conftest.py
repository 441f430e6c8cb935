"""Clients of real servers on free ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from hydra_ml.io.llm_http import BoundedHttp
from hydra_ml.llm.budget import Night
from hydra_ml.llm.chat import AnswerStore, Ask
from hydra_ml.llm.client import LLMClient
from hydra_ml.params import LLM
from tests.llm.scripted_server import Behave, ScriptedServer

KEY = "sk-very-secret-0042"


def client_of(
    address: str, *, cache: AnswerStore | None = None, books: Night | None = None, **settings: Any
) -> LLMClient:
    params = LLM(**{"model": "some-model", "max_wait_s": 0.05, "timeout_s": 5.0, **settings})
    return LLMClient(
        AsyncOpenAI(base_url=address, api_key=KEY, http_client=BoundedHttp()), params, cache=cache, night=books
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


@pytest.fixture
def scripted(start_server: Callable[..., Any]) -> Callable[..., tuple[ScriptedServer, str]]:
    def start(behave: Behave | None = None) -> tuple[ScriptedServer, str]:
        server = ScriptedServer(behave)
        return server, start_server(server.app).address

    return start

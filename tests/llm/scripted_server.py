"""A server that does what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Behave = Callable[[int, dict[str, Any]], Awaitable[Response]]  # number of the request from 1, its body


class ScriptedServer:
    """A server that answers "<last message> <seed + i>" unless `behave` does something else; it counts."""

    def __init__(self, behave: Behave | None = None) -> None:
        self.models: Response | None = None  # what GET /models gets; None: there is no such path
        self.n_listed = 0  # how often it was asked
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self._behave = behave or answer
        completions = Route("/v1/chat/completions", self._endpoint, methods=["POST"])
        self.app = Starlette(routes=[completions, Route("/v1/models", self._list)])

    async def _list(self, request: Request) -> Response:
        self.n_listed += 1
        return self.models or JSONResponse({"detail": "Not Found"}, 404)

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
    return _choices([f"{said} {body['seed'] + i}" for i in range(n)])


def say(body: dict[str, Any], text: str) -> Response:
    """The same text as often as it was asked for."""
    return _choices([text] * body["n"])


def _choices(texts: list[str]) -> Response:
    choices = [{"index": i, "message": {"role": "assistant", "content": text}} for i, text in enumerate(texts)]
    return JSONResponse({"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 2 * len(texts)}})


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

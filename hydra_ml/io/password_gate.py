"""Who may reach a server of ours on this machine: whoever knows its password, and no web page of another address.

A page open in the operator's browser can send requests to any port of this machine. The browser says in `Origin` whose
page it is, and in `Host` by what name it asked: a page that has its own name point here is told by that.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = "/health"  # answered to anybody: it tells nothing
_LOGIN = 'Basic realm="hydra_ml", charset="UTF-8"'


def own_hosts(port: int) -> tuple[str, ...]:
    """The names that this machine's own browser may use for a server on the port."""
    return tuple(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))


class PasswordGate:
    """An ASGI application in front of another.

    Answers 403 to another Host or Origin than `hosts`, 401 where the password lacks or is wrong, and nothing to
    WebSockets; all else goes through. auth: "user:password".
    """

    def __init__(self, app: ASGIApp, *, auth: str, hosts: Collection[str]) -> None:
        if ":" not in auth or auth.endswith(":"):
            raise ValueError("auth is user:password, neither empty")
        self._app = app
        self._auth = auth.encode()
        self._hosts = {host.lower() for host in hosts}
        self._origins = {f"{scheme}://{host}" for scheme in ("http", "https") for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == HEALTH):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "").lower() not in self._hosts:
            refusal = PlainTextResponse("No server of that name is here.", 403)
        elif headers.get("origin", "").lower() not in {*self._origins, ""}:
            refusal = PlainTextResponse("A page of another address may ask nothing here.", 403)
        elif not self._knows(headers.get("authorization", "")):
            told = 'It wants its password: eval "$(hydra-ml env)" in its project\'s folder.'
            refusal = PlainTextResponse(told, 401, {"WWW-Authenticate": _LOGIN})
        else:
            await self._app(scope, receive, send)
            return
        await refusal(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, value = authorization.partition(" ")
        try:
            given = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, self._auth)

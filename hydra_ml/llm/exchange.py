"""One request and its answer on the wire: the body sent, the whole time it may take, the redirects obeyed.

Wraps a given `openai.AsyncOpenAI`; what goes into a request and what an answer means is known elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from hydra_ml.llm.body import decode_body
from hydra_ml.llm.chat import Ask, request_seed
from hydra_ml.llm.failures import is_crowded
from hydra_ml.llm.faults import LateError
from hydra_ml.llm.lanes import Lanes
from hydra_ml.params import LLM

CONNECT_S = 10.0
LONGER = 4  # times `timeout_s`: as much as an ask that timed out is given at most
MOST_REDIRECTS = 3
_REPEATED = (307, 308)  # say that the same request is wanted elsewhere


class Exchange:
    """Sends requests to one server; the lanes learn from how long it takes."""

    def __init__(self, client: openai.AsyncOpenAI, lanes: Lanes) -> None:
        self._openai = client.with_options(max_retries=0)  # its own retries obey any Retry-After
        self._lanes = lanes
        self._path = "/chat/completions"  # or the address on the same server that it sent us to

    async def send(self, request: dict[str, Any], timeout_s: float) -> object:
        """What the server's answer says, decoded. Raises one of `failures.ATTEMPT_ERRORS`; LateError after timeout_s,
        however the server spreads its bytes."""
        clock = asyncio.get_running_loop().time
        sent_at = clock()
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._post(request, timeout_s)
        except TimeoutError:
            self._lanes.crowded(sent_at, clock())
            raise LateError from None
        except openai.APIError as error:
            if is_crowded(error):
                self._lanes.crowded(sent_at, clock())
            raise
        self._lanes.answered(clock() - sent_at)
        return decode_body(raw)

    async def _post(self, request: dict[str, Any], timeout_s: float) -> bytes:
        timeout = openai.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        for hop in range(MOST_REDIRECTS + 1):
            try:
                # `chat.completions.create` takes twice the time of the whole call to retype every message on the way.
                answer = await self._openai.post(
                    self._path,
                    cast_to=openai.HttpxBinaryResponseContent,
                    body=request,
                    options={"timeout": timeout, "follow_redirects": False},
                )
                return answer.content
            except openai.APIStatusError as error:
                if not (new := _same_server(error)) or hop == MOST_REDIRECTS:
                    raise
                self._path = new
        raise AssertionError("unreachable")


def _same_server(error: openai.APIStatusError) -> str:
    """The address on the very same server that a redirect names; "" where there is none: what is asked is not sent to
    whom a server names."""
    location = error.response.headers.get("location")
    if error.status_code not in _REPEATED or not location:
        return ""
    asked = error.request.url
    wanted = asked.join(location)
    same = (asked.scheme, asked.host, asked.port) == (wanted.scheme, wanted.host, wanted.port)
    return str(wanted) if same else ""


def request_of(ask: Ask, how: LLM, first_sample: int, n: int) -> dict[str, Any]:
    """One request for n of an ask's answers as the params want it, before the server's dialect."""
    own = ask.messages[0]["content"] if ask.messages[0]["role"] == "system" else ""
    said = "\n\n".join(filter(None, (how.system, own)))  # one system turn: most chat templates take no second
    system = [{"role": "system", "content": said}] if said else []
    request: dict[str, Any] = {
        "model": how.model,
        "messages": [*system, *(ask.messages[1:] if own else ask.messages)],
        "n": n,
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
        "seed": request_seed(ask, first_sample),
    }
    request |= {"top_p": how.top_p} if how.top_p is not None else {}
    request |= {"stop": how.stop} if how.stop else {}
    return {name: value for name, value in (request | how.extra_body).items() if name not in how.omit}

"""The HTTP client that LLM servers are asked through: no body is read beyond a bound, and no redirect is followed.

Which redirects are obeyed, and what a body means, is the core's affair (`llm.exchange`, `llm.body`).
"""

from __future__ import annotations

from typing import Any

import aiohttp
from httpx2 import RemoteProtocolError, Request, Response
from openai import DefaultAioHttpClient

from hydra_ml.llm.body import MOST_BYTES
from hydra_ml.llm.faults import MalformedAnswerError

_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")  # no longer true of a body that is read


class BoundedHttp(DefaultAioHttpClient):
    """Reads at most MOST_BYTES of a body, counted after decompression; the connection is dropped there."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"follow_redirects": False, **settings})

    async def send(self, request: Request, *, stream: bool = False, **options: Any) -> Response:
        """The whole response, whatever `stream` says. Raises MalformedAnswerError if its body is too long to be an
        answer; of a longer error the beginning is kept."""
        try:
            response = await super().send(request, stream=True, **options)
            try:
                if _is_short(response):  # as most are: no need to build it anew
                    await response.aread()
                    return response
                body = await _read(response)
            finally:
                await response.aclose()
        except aiohttp.ClientError as error:  # what is no HTTP reaches us as it is
            raise RemoteProtocolError(f"no HTTP: {error}", request=request) from error
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_WIRE]
        return Response(response.status_code, headers=headers, content=body, request=request)


def _is_short(response: Response) -> bool:
    """Whether its head vouches for a body within bounds: the transport reads no further than the head says."""
    length = response.headers.get("content-length", "")
    plain = "content-encoding" not in response.headers and "transfer-encoding" not in response.headers
    return plain and length.isdecimal() and len(length) < len(str(MOST_BYTES))


async def _read(response: Response) -> bytes:
    pieces, size = [], 0
    async for piece in response.aiter_bytes():  # decompressed a mebibyte at a time, never all at once
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            if response.is_success:
                raise MalformedAnswerError(f"longer than {MOST_BYTES >> 20} MiB")
            break
    return b"".join(pieces)[:MOST_BYTES]

"""Opens the black-box LLM that params name: the offline model in process, or the server that the environment names.

The key goes to the client and nowhere else. Which model a run means is `io.llm_environment`'s affair.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template

from openai import APIError, AsyncOpenAI

from hydra_ml.errors import LLMError, ParamsError
from hydra_ml.io.llm_environment import check_server, night, shown, variable
from hydra_ml.io.llm_http import BoundedHttp
from hydra_ml.io.night_ledger import NightLedger
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.llm.client import LLMClient
from hydra_ml.llm.exchange import LONGER
from hydra_ml.llm.failures import read_failure
from hydra_ml.model.interfaces import Encode
from hydra_ml.offline.model import MODEL_NAME
from hydra_ml.params import LLM


@contextmanager
def open_llm(params: LLM, *, cache: Path | None, encode: Encode | None = None) -> Iterator[LLMClient]:
    """A client of the model that params name, with its response cache at `cache` (None: remembers for its life only).

    `offline-minilm` needs `encode` (unit rows, float32 [N, D]) and no network. Any other model is asked of
    OPENAI_BASE_URL with OPENAI_API_KEY. Raises ParamsError if these do not fit; nothing is sent yet.
    """
    client = offline_client(encode) if params.model == MODEL_NAME else server_client(params)
    with ExitStack() as stack:
        store = stack.enter_context(ResponseCache(cache)) if cache is not None else None
        books: NightLedger | None = None
        if cache is not None and night():
            hold_s = 2 * LONGER * params.timeout_s  # of a request that takes as long as one may, and then some
            books = stack.enter_context(NightLedger(cache, night(), hold_s=hold_s))
        tells = params.model != MODEL_NAME  # that one is known by its name alone
        yield stack.enter_context(LLMClient(client, params, cache=store, night=books, tells=tells))


def asked_identity(params: LLM, cache: Path) -> str:
    """Whose answers these are, as the cache's keys have it: asked of the server, where one is named."""
    if params.model == MODEL_NAME or not (variable("OPENAI_BASE_URL") and variable("OPENAI_API_KEY")):
        return params.identity
    with open_llm(params, cache=cache) as client:
        return client.identity()


def offline_client(encode: Encode | None) -> AsyncOpenAI:
    """The openai client, wired to the offline model without a socket."""
    from httpx2 import ASGITransport, AsyncClient

    from hydra_ml.offline.app import build_offline_app

    if encode is None:
        raise ParamsError(f"llm.model: {MODEL_NAME!r} reads with a text encoder, but none was handed in.")
    address = "http://offline-minilm/v1"
    http = AsyncClient(transport=ASGITransport(app=build_offline_app(encode)), base_url=address)
    return AsyncOpenAI(base_url=address, api_key="none-needed", http_client=http)


def server_client(params: LLM) -> AsyncOpenAI:
    """The openai client of the server in the environment. Raises ParamsError that lists everything amiss there."""
    check_server(params)
    address, key = variable("OPENAI_BASE_URL"), variable("OPENAI_API_KEY")
    headers = _with_environment(params.headers)
    return AsyncOpenAI(base_url=address, api_key=key, default_headers=headers, http_client=BoundedHttp())


def _with_environment(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with ${NAME} replaced: secrets stand in the environment, never in params.yaml."""
    try:
        return {name: Template(value).substitute(os.environ) for name, value in headers.items()}
    except (KeyError, ValueError) as error:
        raise ParamsError(
            f"llm.headers: a value names {error}, which the environment does not hold; set it (or write $$ for a $)."
        ) from None


def known_models(params: LLM) -> set[str] | None:
    """The models that the server in the environment lists; None if it answers but lists none.

    Raises ParamsError as `server_client`, LLMError if it cannot be reached or refuses the key.
    """

    async def listed() -> set[str]:
        """Their names."""
        async with server_client(params) as client:
            return {model.id async for model in client.models.list()}

    try:
        return asyncio.run(listed()) or None
    except (APIError, ValueError) as error:
        failure = read_failure(error, secret=variable("OPENAI_API_KEY"))
        status = getattr(error, "status_code", None)
        if status is not None and status not in (401, 402, 403) and status < 500:
            return None
        raise LLMError(f"the LLM at {shown(variable('OPENAI_BASE_URL'))} {failure.what}") from None


def serve(host: str, port: int, encode: Encode) -> None:
    """Serve the offline model on a socket until interrupted: for tests, demonstrations, and other programs."""
    import uvicorn

    from hydra_ml.offline.app import build_offline_app

    uvicorn.run(build_offline_app(encode), host=host, port=port, log_level="warning")

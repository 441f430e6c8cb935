"""LLM calls: 1,000 at 200 ms each with 64 in flight, and the same asks answered from the cache on disk.

The server is aiohttp in a process of its own; it waits and answers. Calls take part in everything the product does with
them: budget, keys, the cache on disk.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import openai
from aiohttp import web
from diskcache import Cache

from benchmarks.compare import Row, Side, compare, share_of_limit
from hydra_ml.io.llm_http import BoundedHttp
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.llm.chat import Ask
from hydra_ml.llm.client import LLMClient
from hydra_ml.params import LLM

LATENCY_S = 0.2
CONCURRENCY = 64
THREADS = 10  # of the client as most people write it
MODEL = "some-model"
PROMPT_CHARS = 1_500  # a LaMP-2 prompt with four records


def rows(*, quick: bool) -> list[Row]:
    """Calls against two plain clients, then cache hits with n = 1 and n = 8 answers a prompt."""
    with tempfile.TemporaryDirectory() as folder:
        with running_server(LATENCY_S) as address:
            called = call_rows(address, Path(folder), n=128 if quick else 1_000, repeats=1 if quick else 4)
        with running_server(0.0) as address:
            hits = [
                row
                for n_samples in (1, 8)
                for row in hit_rows(address, Path(folder), n_samples, n=200 if quick else 2_000)
            ]
    return [*called, *hits]


def call_rows(address: str, folder: Path, *, n: int, repeats: int) -> list[Row]:
    """Our client, with a fresh cache each time, beside the openai package as it comes."""
    asks = [Ask(chat, max_tokens=16) for chat in chats(n)]
    few = asks[: max(THREADS, n * 15 // 100)]  # ten threads at 200 ms make 50 calls/s
    number = count()

    def ours() -> object:
        with opened(address, folder / f"calls-{next(number)}.sqlite") as client:
            return client.ask_all(asks, label="calls")

    ideal = CONCURRENCY / LATENCY_S
    threads, tasks = f"OpenAI, {THREADS} threads", f"AsyncOpenAI, semaphore of {CONCURRENCY}"
    return compare(
        f"LLM calls of {1000 * LATENCY_S:.0f} ms",
        "calls/s",
        Side("LLMClient", ours, n),
        {
            threads: (Side(threads, partial(ask_in_threads, address, few), len(few)), None),
            tasks: (Side(tasks, lambda: asyncio.run(ask_in_tasks(address, asks)), n), None),
        },
        repeats=repeats,
        limit=lambda mine: share_of_limit("concurrency / latency; goal .85", "calls/s", ideal, mine.median),
        notes={
            "calls": n,
            "calls_of_threads": len(few),
            "concurrency": CONCURRENCY,
            "prompt_chars": PROMPT_CHARS,
            "rounds_of_the_last_calls": f"{n} calls are {-(-n // CONCURRENCY)} rounds of {CONCURRENCY}: at best "
            f"{n / (-(-n // CONCURRENCY) * LATENCY_S):.0f} calls/s",
            "peers": "no cache, no budget",
            "openai": openai.__version__,
            "aiohttp": version("aiohttp"),
        },
    )


def hit_rows(address: str, folder: Path, n_samples: int, *, n: int) -> list[Row]:
    """The same asks once more, from a file that has every answer; client and cache are opened anew each time."""
    asks = [Ask(chat, n_samples, float(n_samples > 1), 16) for chat in chats(n)]
    path = folder / f"hits-{n_samples}.sqlite"
    with opened(address, path) as client:
        bodies = [list(reply.answers) for reply in client.ask_all(asks, label="fill")]
    peer = folder / f"diskcache-{n_samples}"
    with Cache(peer) as cache:
        for ask, body in zip(asks, bodies, strict=True):
            cache[json.dumps(request(ask))] = body

    def ours() -> object:
        with opened(address, path) as client:
            replies = client.ask_all(asks, label="hits")
            assert client.usage.calls == 0
            return replies

    def theirs() -> object:
        with Cache(peer) as cache:
            return [cache[json.dumps(request(ask))] for ask in asks]

    found = compare(
        f"LLM cache hits, {n_samples} answers a prompt" if n_samples > 1 else "LLM cache hits",
        "asks/s",
        Side("LLMClient", ours, n),
        {"diskcache, one entry a request": (Side("diskcache", theirs, n), None)},
        notes={"asks": n, "goal": "5,000 asks/s", "prompt_chars": PROMPT_CHARS, "diskcache": version("diskcache")},
    )
    shutil.rmtree(peer)
    return found


def chats(n: int) -> list[tuple[Any, ...]]:
    """Distinct prompts of production's size: four earlier turns and the question."""
    part = "A long story about a film that nobody has seen, told to someone who did not ask for it. " * 10
    turn = PROMPT_CHARS // 5
    found = []
    for i in range(n):
        shown = [{"role": role, "content": part[:turn]} for role in ("user", "assistant") * 2]
        found.append((*shown, {"role": "user", "content": f"{i} {part}"[:turn]}))
    return found


def request(ask: Ask) -> dict[str, Any]:
    """The arguments of `chat.completions.create`."""
    return {
        "model": MODEL,
        "messages": list(ask.messages),
        "n": ask.n,
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
        "seed": ask.seed,
    }


@contextmanager
def opened(address: str, cache: Path) -> Iterator[LLMClient]:
    """Our client as `io.llm` opens it."""
    plain = openai.AsyncOpenAI(base_url=address, api_key="none", http_client=BoundedHttp())
    with ResponseCache(cache) as store, LLMClient(plain, LLM(model=MODEL, concurrency=CONCURRENCY), cache=store) as one:
        yield one


def ask_in_threads(address: str, asks: list[Ask]) -> list[str | None]:
    """The plain client in a pool of threads."""
    with openai.OpenAI(base_url=address, api_key="none") as client, ThreadPoolExecutor(THREADS) as pool:
        replies = pool.map(lambda ask: client.chat.completions.create(**request(ask)), asks)
        return [reply.choices[0].message.content for reply in replies]


async def ask_in_tasks(address: str, asks: list[Ask]) -> list[str | None]:
    """The plain asynchronous client, as many calls in flight as ours."""
    free = asyncio.Semaphore(CONCURRENCY)
    async with openai.AsyncOpenAI(base_url=address, api_key="none") as client:

        async def one(ask: Ask) -> str | None:
            async with free:
                reply = await client.chat.completions.create(**request(ask))
                return reply.choices[0].message.content

        return await asyncio.gather(*map(one, asks))


@contextmanager
def running_server(latency_s: float) -> Iterator[str]:
    """The address of a server that takes so long to answer."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, latency_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def serve(told: Connection, latency_s: float) -> None:
    """Answer chat completions until terminated; the port goes to `told`."""

    async def answer(asked: web.Request) -> web.Response:
        body = await asked.json()
        await asyncio.sleep(latency_s)
        choices = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": f"comedy {i}"}}
            for i in range(body["n"])
        ]
        usage = {"prompt_tokens": 380, "completion_tokens": 2 * body["n"], "total_tokens": 380 + 2 * body["n"]}
        facts = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return web.json_response({**facts, "choices": choices, "usage": usage})

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from hydra_ml.offline.embed import Embedder


class CountingEncoder:
    """Encodes a text as its length; remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        if "poison" in texts:
            raise RuntimeError("cannot read this")
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def test_waiting_texts_are_encoded_together_and_once() -> None:
    encoder = CountingEncoder()

    async def run() -> list[np.ndarray]:
        embedder = Embedder(encoder)
        first = await asyncio.gather(*(embedder.embed(["shared", "x" * n]) for n in range(1, 5)))
        return [*first, await embedder.embed(["x", "shared"])]

    vectors = asyncio.run(run())
    assert encoder.batches == [["shared", "x", "xx", "xxx", "xxxx"]]
    assert vectors[2].tolist() == [[6.0], [3.0]]
    assert vectors[4].tolist() == [[1.0], [6.0]]


def test_the_least_recently_used_is_forgotten() -> None:
    encoder = CountingEncoder()

    async def run() -> None:
        embedder = Embedder(encoder, remembered=2)
        for text in ("a", "bb", "a", "ccc", "a", "bb"):
            await embedder.embed([text])

    asyncio.run(run())
    assert encoder.batches == [["a"], ["bb"], ["ccc"], ["bb"]]


def test_no_texts_no_work() -> None:
    encoder = CountingEncoder()
    assert asyncio.run(Embedder(encoder).embed([])).shape == (0, 0)
    assert encoder.batches == []


def test_a_failing_batch_fails_its_requests_only() -> None:
    async def run() -> np.ndarray:
        embedder = Embedder(CountingEncoder())
        with pytest.raises(RuntimeError, match="cannot read this"):
            await embedder.embed(["poison"])
        return await embedder.embed(["fine"])

    assert asyncio.run(run()).tolist() == [[4.0]]


def test_one_cancelled_request_leaves_the_others_their_text() -> None:
    async def run() -> np.ndarray:
        embedder = Embedder(CountingEncoder())
        impatient = asyncio.create_task(embedder.embed(["text"]))
        patient = asyncio.create_task(embedder.embed(["text"]))
        await asyncio.sleep(0)
        impatient.cancel()
        return await patient

    assert asyncio.run(run()).tolist() == [[4.0]]


def test_an_embedder_outlives_an_event_loop() -> None:
    embedder = Embedder(CountingEncoder())
    assert asyncio.run(embedder.embed(["a"])).tolist() == [[1.0]]
    assert asyncio.run(embedder.embed(["a", "bb"])).tolist() == [[1.0], [2.0]]

"""Text vectors for many requests at once: what they wait for together is encoded together, and remembered.

The encoder is handed in; it runs in a thread, one call at a time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from hydra_ml.model.interfaces import Encode

REMEMBERED = 50_000  # texts; about 80 MB at D = 384


class Embedder:
    """Vectors by text. One event loop at a time."""

    def __init__(self, encode: Encode, *, remembered: int = REMEMBERED) -> None:
        self._encode = encode
        self._remembered = remembered
        self._vectors: OrderedDict[str, np.ndarray] = OrderedDict()  # least recently used first
        self._waited_for: dict[str, asyncio.Future[np.ndarray]] = {}
        self._queue: list[str] = []
        self._worker: asyncio.Task[None] | None = None

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors [N, D] of the texts, in order; [0, 0] for none."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        rows: list[np.ndarray | asyncio.Future[np.ndarray]] = [self._find(text) for text in texts]
        return np.stack([row if isinstance(row, np.ndarray) else await asyncio.shield(row) for row in rows])

    def _find(self, text: str) -> np.ndarray | asyncio.Future[np.ndarray]:
        if text in self._vectors:
            self._vectors.move_to_end(text)
            return self._vectors[text]
        if text not in self._waited_for:
            self._waited_for[text] = asyncio.get_running_loop().create_future()
            self._queue.append(text)
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._drain())
        return self._waited_for[text]

    async def _drain(self) -> None:
        """Encode whatever is queued, until nothing is."""
        await asyncio.sleep(0)  # let the requests of this turn of the loop queue their texts too
        while self._queue:
            texts, self._queue = self._queue, []
            try:
                vectors = await asyncio.to_thread(self._encode, texts)
            except Exception as error:
                for text in texts:
                    self._waited_for.pop(text).set_exception(error)
                continue
            except asyncio.CancelledError:  # the event loop is closing; another may come
                self._waited_for.clear()
                raise
            for text, vector in zip(texts, vectors, strict=True):
                self._vectors[text] = vector
                self._waited_for.pop(text).set_result(vector)
            while len(self._vectors) > self._remembered:
                self._vectors.popitem(last=False)

"""How many requests may be in flight at one server: more while it answers fast, fewer when it is slow or says stop.

A server that works on one request at a time would let most of a long queue time out, and throw away what it had
computed; so the queue grows only while answers come well within the time-out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST = 32  # lanes at the start, if as many are allowed
FAST = 0.25  # of the time-out: answers that come sooner open lanes
SLOW = 0.5  # of the time-out: answers that come later close one


class Lanes:
    """A bound on requests in flight that adapts: additive up, halved on time-outs and on 429."""

    def __init__(self, most: int, timeout_s: float) -> None:
        self._most = most
        self._timeout_s = timeout_s
        self._open = float(min(most, FIRST))
        self._busy = 0
        self._halved_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def open(self) -> int:
        """Requests that may be in flight now, at least 1."""
        return int(self._open)

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[None]:
        """Holds one lane; entered when one is free."""
        while self._busy >= self.open:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._let_in()

    def answered(self, seconds: float) -> None:
        """An answer came after so long."""
        if seconds <= FAST * self._timeout_s:
            # One lane per answer doubles them each round; after trouble one per round feels for the bound again.
            gain = 1.0 if self._halved_at == float("-inf") else 1.0 / self._open
            self._open = min(self._most, self._open + gain)
        elif seconds > SLOW * self._timeout_s:
            self._open = max(1.0, self._open - 1.0)
        self._let_in()

    def crowded(self, sent_at: float, now: float) -> None:
        """A request sent at `sent_at` timed out or was told to wait: halve, once for all that were in flight then."""
        if sent_at > self._halved_at:
            self._halved_at = now
            self._open = max(1.0, self._open / 2)

    def _let_in(self) -> None:
        for _ in range(min(len(self._waiting), max(0, self.open - self._busy))):
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled while it waited
                turn.set_result(None)

"""The allowance of LLM calls and tokens of one client, and the count of what it used.

Tokens are known only after a call, so each call first reserves the most it could take.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hydra_ml.errors import BudgetExceeded


@dataclass(slots=True)
class Usage:
    """Running totals of one client."""

    calls: int = 0  # requests sent, retries included
    cached: int = 0  # asks served wholly from the cache, repeats of an earlier ask included
    failed: int = 0  # asks with an answer missing for good
    unanswered: int = 0  # of these, asks that may be answered when the LLM is well again
    reason: str = ""  # why the last of those was not
    tokens_in: int = 0  # paid for by this client; cached answers cost nothing
    tokens_out: int = 0


class Budget:
    """Lets calls through until the next one could pass the allowance."""

    def __init__(self, usage: Usage, *, max_calls: int | None, max_tokens: int | None) -> None:
        self._usage = usage
        self._max_calls = max_calls
        self._max_tokens = max_tokens
        self._reserved = 0  # tokens that calls in flight may yet take
        self._settled = asyncio.Condition()

    async def reserve(self, tokens: int) -> None:
        """Returns when a call of up to `tokens` may be sent, and counts it; waits for calls in flight if those decide.

        Raises BudgetExceeded if the call could pass the allowance even so.
        """
        if self._max_tokens is not None:
            async with self._settled:
                await self._settled.wait_for(lambda: self._reserved == 0 or self._room(tokens))
                if not self._room(tokens):
                    raise BudgetExceeded(
                        f"The next LLM call could take {tokens} tokens, but {self._used()} of llm.max_tokens = "
                        f"{self._max_tokens} are used. {_WHAT_NEXT}"
                    )
                self._reserved += tokens
        if self._max_calls is not None and self._usage.calls >= self._max_calls:
            raise BudgetExceeded(f"llm.max_calls = {self._max_calls} LLM calls are used up. {_WHAT_NEXT}")
        self._usage.calls += 1

    async def settle(self, reserved: int, *, tokens_in: int, tokens_out: int) -> None:
        """Replace a reservation by what the call took in fact (nothing, if it failed)."""
        self._usage.tokens_in += tokens_in
        self._usage.tokens_out += tokens_out
        if self._max_tokens is not None:
            async with self._settled:
                self._reserved -= reserved
                self._settled.notify_all()

    def _used(self) -> int:
        return self._usage.tokens_in + self._usage.tokens_out

    def _room(self, tokens: int) -> bool:
        return self._max_tokens is None or self._used() + self._reserved + tokens <= self._max_tokens


_WHAT_NEXT = "Answers already bought are kept; raise the limit in params.yaml and run the same command to go on."

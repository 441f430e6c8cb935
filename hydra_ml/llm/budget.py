"""The allowance of LLM calls, tokens and money of one client and of its night, and the count of what it used.

Tokens are known only after a call, so each call first reserves the most it could take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from hydra_ml.errors import BudgetExceeded
from hydra_ml.llm.cost import Cost
from hydra_ml.params import LLM, Allowance


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
    kept_in: int = 0  # tokens of answers kept from before, which were not paid again
    kept_out: int = 0
    shared_in: int = 0  # prompt tokens that samples asked for in one request did not take again
    seconds: float = 0.0  # of asking


class Budget:
    """Lets calls through until the next one could pass the allowance."""

    def __init__(self, usage: Usage, params: LLM, spent: Usage) -> None:
        """spent: what the night had used before this client."""
        self._usage = usage
        self._params = params
        self._spent = spent
        self._reserved_in = self._reserved_out = 0  # tokens that calls in flight may yet take
        self._settled = asyncio.Condition()
        self._bounds_tokens = any(
            limit is not None for limits in (params, params.night) for limit in (limits.max_tokens, limits.max_cost)
        )

    def check_whole(self, cost: Cost, label: str) -> None:
        """Raises BudgetExceeded if what is yet to be asked is sure to pass the allowance, before any of it is."""
        if told := self._over(cost.calls, int(cost.tokens_in * _SURELY), 0):
            raise BudgetExceeded(
                f"{label} would pass the budget, so nothing was asked: it needs at least {told}. {_ASK_LESS}"
            )

    def may_pass(self, cost: Cost) -> str:
        """How the allowance is passed if every answer is as long as it may be; "" if it is not."""
        return self._over(cost.calls, cost.tokens_in, cost.tokens_out)

    async def reserve(self, tokens_in: int, tokens_out: int) -> None:
        """Returns when a call of up to so many tokens may be sent, and counts it; waits for calls in flight if those
        decide. Raises BudgetExceeded if the call could pass the allowance even so."""
        if self._bounds_tokens:
            async with self._settled:
                await self._settled.wait_for(lambda: self._reserved_in == 0 or not self._over(0, tokens_in, tokens_out))
                if told := self._over(0, tokens_in, tokens_out):
                    raise BudgetExceeded(f"The next LLM call could take {told}. {_WHAT_NEXT}")
                self._reserved_in += tokens_in
                self._reserved_out += tokens_out
        if told := self._over(1, 0, 0):
            raise BudgetExceeded(f"The next LLM call is one too many: {told}. {_WHAT_NEXT}")
        self._usage.calls += 1

    async def settle(self, reserved: tuple[int, int], *, tokens_in: int, tokens_out: int) -> None:
        """Replace a reservation by what the call took in fact (nothing, if it failed)."""
        self._usage.tokens_in += tokens_in
        self._usage.tokens_out += tokens_out
        if self._bounds_tokens:
            async with self._settled:
                self._reserved_in -= reserved[0]
                self._reserved_out -= reserved[1]
                self._settled.notify_all()

    def _over(self, calls: int, tokens_in: int, tokens_out: int) -> str:
        """Which bound so much more would pass, with the figures; "" for none."""
        for where, limits, spent in self._limits():
            used_in, used_out = self._usage.tokens_in + spent.tokens_in, self._usage.tokens_out + spent.tokens_out
            used_calls = self._usage.calls + spent.calls
            if calls and limits.max_calls is not None and used_calls + calls > limits.max_calls:
                return f"{calls} calls, but {used_calls} of {where}max_calls = {limits.max_calls} are used"
            more_in, more_out = tokens_in + self._reserved_in, tokens_out + self._reserved_out
            if not (tokens_in or tokens_out):
                continue
            used, more = used_in + used_out, more_in + more_out
            if limits.max_tokens is not None and used + more > limits.max_tokens:
                return f"{more} tokens, but {used} of {where}max_tokens = {limits.max_tokens} are used"
            paid = self._params.money(used_in, used_out)
            price = self._params.money(more_in, more_out)
            if limits.max_cost is not None and (paid or 0) + (price or 0) > limits.max_cost:
                return f"{price:.4f} in money, but {paid:.4f} of {where}max_cost = {limits.max_cost} is spent"
        return ""

    def _limits(self) -> Iterator[tuple[str, Allowance, Usage]]:
        """Each allowance by the name of its section, with what was used of it before this client."""
        yield "llm.", self._params, Usage()
        yield "llm.night.", self._params.night, self._spent


# Of the tokens told from a prompt's length: on news they were a quarter too many, and no tokenizer halves them.
_SURELY = 0.5
_WHAT_NEXT = "Answers already bought are kept; raise the limit in params.yaml and run the same command to go on."
_ASK_LESS = (
    "Raise the limit in params.yaml, or ask for less (annotate.queries_per_user, generate.queries_per_user, "
    "generate.n_samples, evaluate.methods); `hydra-ml run --dry-run` tells what each stage needs."
)

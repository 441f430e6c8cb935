"""The allowance of LLM calls, tokens and money of one client and of its night, and the count of what it used.

Tokens are known only after a call, so each call first reserves the most it could take: with its client, and with its
night, where what others have in flight counts too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

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

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.tokens_in + self.tokens_out

    def __add__(self, other: Usage) -> Usage:
        """Calls and tokens of both."""
        calls, tokens_in = self.calls + other.calls, self.tokens_in + other.tokens_in
        return Usage(calls, tokens_in=tokens_in, tokens_out=self.tokens_out + other.tokens_out)

    def __sub__(self, other: Usage) -> Usage:
        """Calls and tokens of this without those of the other."""
        calls, tokens_in = self.calls - other.calls, self.tokens_in - other.tokens_in
        return Usage(calls, tokens_in=tokens_in, tokens_out=self.tokens_out - other.tokens_out)


class Night(Protocol):
    """What a whole night has used of its allowance, by whoever asks in it: stages one by one, shards at once."""

    def used(self) -> tuple[Usage, Usage]:
        """What requests that came to an end took, and what those in flight may yet take."""
        ...

    def reserve(self, most: Usage, fits: Callable[[Usage, Usage], bool]) -> int | None:
        """A ticket for a request that takes so much at most, if that fits what `used` says at this very moment."""
        ...

    def settle(self, ticket: int | None, took: Usage) -> None:
        """Count what a request took in fact, and give back its ticket if it had one."""
        ...


class OwnNight:
    """The night of a client that keeps no books with others."""

    def __init__(self, spent: Usage | None = None) -> None:
        self._spent = spent or Usage()
        self._in_flight: dict[int, Usage] = {}
        self._n_tickets = 0

    def used(self) -> tuple[Usage, Usage]:
        """What is spent, and what may yet be."""
        return self._spent, sum(self._in_flight.values(), start=Usage())

    def reserve(self, most: Usage, fits: Callable[[Usage, Usage], bool]) -> int | None:
        """A ticket, if it fits."""
        if not fits(*self.used()):
            return None
        self._n_tickets += 1
        self._in_flight[self._n_tickets] = most
        return self._n_tickets

    def settle(self, ticket: int | None, took: Usage) -> None:
        """Spent now."""
        self._spent += took
        if ticket is not None:
            del self._in_flight[ticket]


class Reserved(NamedTuple):
    """One request on its way."""

    most: Usage
    ticket: int | None  # of the night


class Budget:
    """Lets calls through until the next one could pass the allowance."""

    def __init__(self, usage: Usage, params: LLM, night: Night) -> None:
        self._usage = usage
        self._params = params
        self._night = night
        self._in_flight = Usage()  # of this client: tokens that its calls may yet take
        self._settled = asyncio.Condition()
        self._turn = asyncio.Lock()  # one call at a time waits for the night
        self._bounds_tokens = params.max_tokens is not None or params.max_cost is not None
        self._bounds_night = params.night != Allowance()

    def check_whole(self, cost: Cost, label: str) -> None:
        """Raises BudgetExceeded if what is yet to be asked is sure to pass the allowance, before any of it is."""
        if told := self._passed(Usage(cost.calls, tokens_in=int(cost.tokens_in * _SURELY))):
            raise BudgetExceeded(
                f"{label} would pass the budget, so nothing was asked: it needs at least {told}. {_ASK_LESS}"
            )

    def may_pass(self, cost: Cost) -> str:
        """How the allowance is passed if every answer is as long as it may be; "" if it is not."""
        return self._passed(Usage(cost.calls, tokens_in=cost.tokens_in, tokens_out=cost.tokens_out))

    async def reserve(self, tokens_in: int, tokens_out: int) -> Reserved:
        """Returns when a call of up to so many tokens may be sent, and counts it; waits for calls in flight if those
        decide, of whoever asks in this night. Raises BudgetExceeded if the call could pass the allowance even so."""
        most = Usage(1, tokens_in=tokens_in, tokens_out=tokens_out)
        tokens = replace(most, calls=0)
        async with self._settled:
            if self._bounds_tokens:
                await self._settled.wait_for(lambda: not (self._in_flight.tokens and self._over(tokens)))
            if told := self._over(tokens):
                raise BudgetExceeded(f"The next LLM call could take {told}. {_WHAT_NEXT}")
            if told := self._over(Usage(calls=1)):
                raise BudgetExceeded(f"The next LLM call is one too many: {told}. {_WHAT_NEXT}")
            self._in_flight += tokens
            self._usage.calls += 1
        try:
            return Reserved(most, await self._night_ticket(most) if self._bounds_night else None)
        except BaseException:
            self._usage.calls -= 1  # it was not sent
            await self._give_back(tokens)
            raise

    async def settle(self, reserved: Reserved, took: Usage) -> None:
        """Replace a reservation by what the call took in fact (nothing, if it failed)."""
        self._usage.tokens_in += took.tokens_in
        self._usage.tokens_out += took.tokens_out
        if took.calls or reserved.ticket is not None:
            self._night.settle(reserved.ticket, took)
        await self._give_back(replace(reserved.most, calls=0))

    async def _give_back(self, tokens: Usage) -> None:
        async with self._settled:
            self._in_flight -= tokens
            self._settled.notify_all()

    async def _night_ticket(self, most: Usage) -> int:
        """As soon as the night has room for the call."""

        def fits(spent: Usage, in_flight: Usage) -> bool:
            """Whether it has now."""
            return not self._over_night(spent, most + in_flight)

        async with self._turn:
            while (ticket := self._night.reserve(most, fits)) is None:
                spent, _ = self._night.used()
                if told := self._over_night(spent, most):  # whatever becomes of the calls in flight
                    raise BudgetExceeded(f"The next LLM call could take {told}. {_WHAT_NEXT}")
                await asyncio.sleep(NIGHT_WAIT_S)
        return ticket

    def _passed(self, more: Usage) -> str:
        """Which bound so much more would pass, of this client's or the night's; "" for none."""
        spent, _ = self._night.used() if self._bounds_night else (Usage(), None)
        return self._over(more) or self._over_night(spent, more)

    def _over(self, more: Usage) -> str:
        """Which of this client's own bounds so much more would pass."""
        more = more + self._in_flight if more.tokens else more
        return over(self._params, "llm.", self._usage, more, self._params)

    def _over_night(self, spent: Usage, more: Usage) -> str:
        return over(self._params.night, "llm.night.", spent, more, self._params)


def over(limits: Allowance, where: str, used: Usage, more: Usage, prices: LLM) -> str:
    """Which of the limits so much more would pass, with the figures; "" for none. where: their section, for people."""
    if more.calls and limits.max_calls is not None and used.calls + more.calls > limits.max_calls:
        return f"{more.calls} calls, but {used.calls} of {where}max_calls = {limits.max_calls} are used"
    if not more.tokens:
        return ""
    if limits.max_tokens is not None and used.tokens + more.tokens > limits.max_tokens:
        return f"{more.tokens} tokens, but {used.tokens} of {where}max_tokens = {limits.max_tokens} are used"
    paid, price = (prices.money(usage.tokens_in, usage.tokens_out) or 0.0 for usage in (used, more))
    if limits.max_cost is not None and paid + price > limits.max_cost:
        return f"{price:.4f} in money, but {paid:.4f} of {where}max_cost = {limits.max_cost} is spent"
    return ""


NIGHT_WAIT_S = 0.1  # between two looks at what others have in flight
# Of the tokens told from a prompt's length: on news they were a quarter too many, and no tokenizer halves them.
_SURELY = 0.5
_WHAT_NEXT = "Answers already bought are kept; raise the limit in params.yaml and run the same command to go on."
_ASK_LESS = (
    "Raise the limit in params.yaml, or ask for less (annotate.queries_per_user, generate.queries_per_user, "
    "generate.n_samples, evaluate.methods); `hydra-ml run --dry-run` tells what each stage needs."
)

"""Requests that a server fails on or refuses though it is well, told from those that it would answer another day.

What breaks a server takes along whatever is in flight beside it, and an unsteady server fails on anything. So a request
is odd only if it fails alone, too, and others are answered in a row before and after. In an outage nothing is. And a
refused request is to blame only if others are not refused as well: a server may begin to refuse a field in mid-run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from hydra_ml.errors import LLMDown
from hydra_ml.llm.exchange import LONGER
from hydra_ml.llm.failures import Failure, pause_s
from hydra_ml.llm.order import Order
from hydra_ml.params import LLM
from hydra_ml.records import Message

WITNESSES = 3  # others that must be answered in a row, each at its first attempt, for the server to be well
NEUTRAL: tuple[Message, ...] = ({"role": "user", "content": "Which is the first month of the year?"},)

AskOrders = Callable[[Sequence[Order]], Awaitable[None]]
AskOnce = Callable[[Order, float, bool], Awaitable[Failure | None]]  # the order, seconds, whether to keep the answers


async def ask_apart(
    waiting: Sequence[Order], orders: Sequence[Order], ask_orders: AskOrders, ask_once: AskOnce, how: LLM
) -> None:
    """Fill the waiting orders; those that the server fails on, though it answers others, become `odd`.

    orders: all of them, also those filled before. Raises what ask_orders does, and LLMDown only if others are not
    answered either.
    """
    while True:
        outage: LLMDown | None = None
        try:
            await ask_orders([order for order in waiting if order.missing() and not order.error])
        except LLMDown as error:
            outage = error
        await _clear_refused(waiting, orders, ask_once, how)
        suspects = [order for order in waiting if order.is_servers and not order.odd]
        n_settled = await _ask_alone(suspects, orders, ask_once, how)
        if outage is None:
            return
        if not n_settled:
            raise outage


async def _clear_refused(waiting: Sequence[Order], orders: Sequence[Order], ask_once: AskOnce, how: LLM) -> None:
    """Take the blame from refused orders if the server does not answer others either."""
    doubtful = [order for order in waiting if order.refused and order.is_doubtful]
    if doubtful and not await _is_well(doubtful[0], orders, ask_once, how):
        for order in doubtful:
            order.refused = False


async def _ask_alone(suspects: Sequence[Order], orders: Sequence[Order], ask_once: AskOnce, how: LLM) -> int:
    """How many of the suspects were answered after all or are odd; ends with the first that the server is not well
    before or after."""
    for n_settled, order in enumerate(suspects):
        if n_settled == 0 and not await _is_well(order, orders, ask_once, how):
            return 0
        failure = await ask_once(order, LONGER * how.timeout_s, True)
        if failure is not None and not (failure.is_servers and await _is_well(order, orders, ask_once, how)):
            return n_settled
        order.odd = failure is not None
        if not order.odd:
            order.error, order.is_servers = "", False
    return len(suspects)


async def _is_well(like: Order, orders: Sequence[Order], ask_once: AskOnce, how: LLM) -> bool:
    """Whether others are answered in a row, as soon as the server may be back after what broke it."""
    others = _others(like, orders)
    in_a_row = n_failed = 0
    while in_a_row < WITNESSES:
        # Another seed each time, and nothing is kept: what a gateway remembers is no sign of life.
        other = replace(others[in_a_row % len(others)].ask, seed=random.randrange(1 << 20))
        failure = await ask_once(Order(other, like.keys), how.timeout_s, False)
        if failure is None:
            in_a_row += 1
            continue
        in_a_row, n_failed = 0, n_failed + 1
        if failure.kind not in ("busy", "unreachable") or failure.is_late or n_failed == how.max_attempts:
            return False
        await asyncio.sleep(pause_s(n_failed, failure, how.max_wait_s))
    return True


def _others(like: Order, orders: Sequence[Order]) -> list[Order]:
    """Orders that were answered and want as many answers as this one, as long and as warm: a server that cannot give
    that to anybody is not well. Where there are none, a question that nobody has trouble with."""
    fits = [order for order in orders if not order.missing() and _form(order) == _form(like)]
    return fits[:WITNESSES] or [Order(replace(like.ask, messages=NEUTRAL, demos=0), like.keys)]


def _form(order: Order) -> tuple[int, float, int]:
    return order.ask.n, order.ask.temperature, order.ask.max_tokens

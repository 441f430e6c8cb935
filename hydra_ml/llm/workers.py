"""Several workers on one queue of orders, until it is empty or something stops them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hydra_ml.errors import HydraError
from hydra_ml.llm.order import Order


async def fill_all(
    orders: Sequence[Order],
    fill: Callable[[Order], Awaitable[None]],
    done: Callable[[], None],
    stop: asyncio.Future[None],
    *,
    n_workers: int,
) -> None:
    """Fill every order, `done` after each; the first error fails `stop`, ends all work, and is raised."""
    queue = iter(orders)

    async def work() -> None:
        """Fill orders until none are left or one has failed for good."""
        for order in queue:
            if stop.done():
                return
            try:
                await fill(order)
            except HydraError as error:
                if not stop.done():
                    stop.set_exception(error)
                return
            done()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(n_workers, len(orders))):
            group.create_task(work())
    if stop.done():
        stop.result()

"""What asking the LLM takes before it is asked, and what it took: calls, tokens, and money where prices are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from hydra_ml.llm.completion import rough_tokens
from hydra_ml.llm.order import Order
from hydra_ml.params import LLM


@dataclass(frozen=True, slots=True)
class Cost:
    """Of some asks that are yet to be answered."""

    asks: int = 0  # distinct ones
    kept: int = 0  # of these, those that an earlier run bought
    calls: int = 0  # requests, if none fails
    tokens_in: int = 0  # about: by the length of the prompts
    tokens_out: int = 0  # at most

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def told(self, prices: LLM) -> str:
        """In one line."""
        line = (
            f"{self.asks:,} asks, {self.kept:,} kept from before: {self.calls:,} calls, about {self.tokens_in:,} "
            f"tokens in, at most {self.tokens_out:,} out"
        )
        price = prices.money(self.tokens_in, self.tokens_out)
        return line if price is None else f"{line}, at most about {price:,.2f} in money"


def expected_cost(orders: Iterable[Order], most_at_once: int) -> Cost:
    """What the missing answers of distinct orders take; most_at_once: answers that one request may ask for."""
    total = Cost()
    for order in orders:
        n = len(order.missing())
        calls = -(-n // most_at_once)
        prompt = rough_tokens("".join(message["content"] for message in order.ask.messages))
        total += Cost(1, int(n == 0), calls, calls * prompt, n * order.ask.max_tokens)
    return total

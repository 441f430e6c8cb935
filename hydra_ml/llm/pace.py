"""How fast an LLM is asked, and what was spared: told in the progress bar, in the log, and in a stage's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from tqdm import tqdm

from hydra_ml.llm.budget import Usage
from hydra_ml.llm.order import Order
from hydra_ml.params import LLM


class Pace:
    """Of one round of asking, from when it is made."""

    def __init__(self, usage: Usage, orders: Sequence[Order], clock: Callable[[], float]) -> None:
        """usage: the client's, which goes on counting; orders: what is asked for; clock: in seconds."""
        self._usage, self._before = usage, replace(usage)
        self._clock, self._started = clock, clock()
        self._n_kept = sum(not order.missing() for order in orders)
        for order in orders:
            tokens_in, tokens_out = order.kept_tokens()
            usage.kept_in += tokens_in
            usage.kept_out += tokens_out

    def step(self, bar: tqdm[NoReturn]) -> None:
        """One more ask is done."""
        bar.update()
        now, seconds = self._used(), self._seconds()
        rates = {"calls/s": now.calls / seconds, "tokens/s": now.tokens_in / seconds, "out": now.tokens_out / seconds}
        bar.set_postfix(
            {**{name: f"{rate:.0f}" for name, rate in rates.items()}, "cached": self._n_kept}, refresh=False
        )

    def end(self) -> str:
        """In one line what the round took and spared, counted from now on; "" if it was nothing."""
        used, seconds = self._used(), self._seconds()
        self._usage.seconds += seconds if used.calls else 0.0
        parts = []
        if used.calls:
            rates = f"{used.tokens_in / seconds:,.0f} tokens/s in, {used.tokens_out / seconds:,.0f} out"
            parts.append(f"{used.calls:,} calls in {seconds:,.1f} s, {rates}")
        if used.kept_in or used.kept_out:
            parts.append(f"{used.kept_in:,} tokens in and {used.kept_out:,} out spared by answers kept from before")
        if used.shared_in:
            parts.append(f"{used.shared_in:,} in by samples that share a prompt")
        return "; ".join(parts)

    def _seconds(self) -> float:
        return max(self._clock() - self._started, 1e-9)

    def _used(self) -> Usage:
        """By this round."""
        names = ("calls", "tokens_in", "tokens_out", "kept_in", "kept_out", "shared_in")
        return Usage(**{name: getattr(self._usage, name) - getattr(self._before, name) for name in names})


def llm_figures(usage: Usage, prices: LLM) -> dict[str, Any]:
    """What a stage's figures say of the LLM it asked. Rates are None where nothing was asked."""
    seconds = usage.seconds
    return {
        "calls": usage.calls,
        "paid_in": usage.tokens_in,
        "paid_out": usage.tokens_out,
        "cost": prices.money(usage.tokens_in, usage.tokens_out),
        "kept_in": usage.kept_in,
        "kept_out": usage.kept_out,
        "shared_in": usage.shared_in,
        "in_per_s": round(usage.tokens_in / seconds, 1) if seconds else None,
        "out_per_s": round(usage.tokens_out / seconds, 1) if seconds else None,
    }

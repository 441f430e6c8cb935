"""The one way to ask the black-box LLM: many requests at once, each bought once and kept as it arrives.

Wraps a given `openai.AsyncOpenAI`; address, key, cache and model come from its caller. Reads no environment, no files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

import openai
from tqdm import tqdm

from hydra_ml.errors import HydraError, LLMError
from hydra_ml.llm.budget import Budget, Usage
from hydra_ml.llm.chat import Answer, AnswerStore, Ask, MemoryStore, Reply, answer_keys, request_seed
from hydra_ml.llm.completion import read_answers, rough_tokens
from hydra_ml.llm.failures import ATTEMPT_ERRORS, Failure, pause_s, read_failure
from hydra_ml.params import LLM

OUTAGE = 10  # requests given up in a row, none answered between: the server is down, not one request odd
CONNECT_S = 10.0

log = logging.getLogger(__name__)


class LLMClient:
    """Asks one model through one `openai.AsyncOpenAI`, which it closes. Use as a context manager, or call `close`."""

    def __init__(self, client: openai.AsyncOpenAI, params: LLM, *, cache: AnswerStore | None = None) -> None:
        timeout = openai.Timeout(params.timeout_s, connect=min(CONNECT_S, params.timeout_s))
        self._openai = client.with_options(max_retries=0, timeout=timeout)  # its own retries obey any Retry-After
        self._params = params
        self._cache: AnswerStore = MemoryStore() if cache is None else cache
        self._runner = asyncio.Runner()  # one event loop for life: open connections are bound to theirs
        self.usage = Usage()
        self._budget = Budget(self.usage, max_calls=params.max_calls, max_tokens=params.max_tokens)
        self._one_by_one = False  # the server turned out to take n = 1 only
        self._n_answered = 0  # requests answered so far
        self._n_given_up = 0  # requests given up since the last answer
        self._stop: asyncio.Future[None] | None = None  # fails with what ended the asking; no request is sent after it

    @property
    def model(self) -> str:
        """The model's name, as results must state it."""
        return self._params.model

    def ask_all(self, asks: Sequence[Ask], *, label: str) -> list[Reply]:
        """One reply per ask, in order, with a progress bar called `label`.

        Equal asks are asked once. Every answer is in the cache as soon as it arrives, so that whatever ends this call,
        the next one asks only for what is missing. Raises LLMError if the server refuses for good or is down, and
        BudgetExceeded before the call that could pass the budget; calls then in flight are awaited and kept.
        """
        names = [answer_keys(self.model, ask) for ask in asks]
        orders: dict[str, _Order] = {}
        for ask, keys in zip(asks, names, strict=True):
            known = orders.get(keys[0])
            if known is None or known.ask.n < ask.n:
                orders[keys[0]] = _Order(ask, keys)
        stored = self._cache.get_many([key for order in orders.values() for key in order.keys])
        for order in orders.values():
            order.fill_stored(stored)
        waiting = [order for order in orders.values() if order.missing()]
        self.usage.cached += len(asks) - len(waiting)
        with tqdm(total=len(orders), initial=len(orders) - len(waiting), desc=label, unit=" asks") as bar:
            if waiting:
                self._runner.run(self._ask_orders(waiting, bar))
        failed = [order.error for order in waiting if order.error]
        self.usage.failed += len(failed)
        if failed:
            log.warning("%s: %d of %d asks have no answer; the first: %s", label, len(failed), len(orders), failed[0])
        return [orders[keys[0]].reply(ask.n) for ask, keys in zip(asks, names, strict=True)]

    async def _ask_orders(self, orders: Sequence[_Order], bar: tqdm[NoReturn]) -> None:
        """Fill the orders with `concurrency` workers; raises what made them stop."""
        self._stop = stop = asyncio.get_running_loop().create_future()
        calls_before = self.usage.calls
        n_cached = getattr(bar, "initial", 0)  # a bar that is switched off has none
        queue = iter(orders)

        async def work() -> None:
            """Fill orders until none are left or one has failed for good."""
            for order in queue:
                if stop.done():
                    return
                try:
                    await self._fill(order)
                except HydraError as error:
                    if not stop.done():
                        stop.set_exception(error)
                    return
                bar.update()
                elapsed = bar.format_dict["elapsed"] or 1e-9
                rate = (self.usage.calls - calls_before) / elapsed
                bar.set_postfix({"calls/s": f"{rate:.0f}", "cached": n_cached}, refresh=False)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._params.concurrency, len(orders))):
                group.create_task(work())
        if stop.done():
            stop.result()

    async def _fill(self, order: _Order) -> None:
        """Ask until the order is complete, given up, or asking has stopped."""
        attempt = 0
        n_answered_before = 0  # at the first failure of a row
        one_by_one = self._one_by_one
        while (missing := order.missing()) and not self._stopped():
            n = 1 if one_by_one else len(missing)
            order.calls += 1
            try:
                bought = await self._call(order.ask, missing[0], n)
            except ATTEMPT_ERRORS as error:
                failure = read_failure(error, secret=self._openai.api_key)
                if failure.kind == "refused" and n > 1:
                    one_by_one = True  # perhaps only n was refused
                    continue
                if attempt == 0:
                    n_answered_before = self._n_answered
                attempt += 1
                if failure.kind in ("refused", "fatal") or attempt == self._params.max_attempts:
                    order.error = self._give_up(failure, attempt, self._n_answered > n_answered_before)
                    return
                await self._pause(pause_s(attempt, failure, self._params.max_wait_s))
            else:
                attempt = 0
                self._one_by_one = one_by_one
                self._n_answered += 1
                self._n_given_up = 0
                fresh = dict(zip([order.keys[sample_idx] for sample_idx in missing], bought, strict=False))
                self._cache.put_many(fresh)
                order.fill_bought(fresh)

    async def _call(self, ask: Ask, first_sample: int, n: int) -> list[Answer]:
        """One request for n answers: 1 to n of them. Raises one of ATTEMPT_ERRORS, or BudgetExceeded."""
        prompt_tokens = rough_tokens("".join(message["content"] for message in ask.messages))
        most = prompt_tokens + n * ask.max_tokens
        await self._budget.reserve(most)
        answers: list[Answer] = []
        try:
            request = {
                "model": self.model,
                "messages": ask.messages,
                "n": n,
                "temperature": ask.temperature,
                "max_tokens": ask.max_tokens,
                "seed": request_seed(ask, first_sample),
            }
            # `chat.completions.create` takes twice the time of the whole call to retype every message on the way.
            body = await self._openai.post("/chat/completions", cast_to=object, body=request)
            answers = read_answers(body, prompt_tokens)[:n]
        finally:
            tokens_in, tokens_out = sum(answer.tokens_in for answer in answers), sum(a.tokens_out for a in answers)
            await self._budget.settle(most, tokens_in=tokens_in, tokens_out=tokens_out)
        return answers

    def _give_up(self, failure: Failure, attempt: int, others_answered: bool) -> str:
        """Why one order stays without answer. Raises LLMError if it shows that asking on is useless."""
        self._n_given_up += failure.kind == "busy"
        reason = f"The LLM at {self._openai.base_url.netloc.decode()} {failure.what}"
        if attempt > 1:
            reason += f"; {attempt} attempts"
        unreachable = failure.kind == "unreachable" and not others_answered
        if failure.kind == "fatal" or unreachable or self._n_given_up >= OUTAGE:
            what_next = "Answers already given are kept: mend this, then run the same command to go on."
            if unreachable:
                what_next = f"Is the server up, and OPENAI_BASE_URL its address? {what_next}"
            raise LLMError(f"{reason}. {what_next}")
        return f"{reason}."

    async def _pause(self, seconds: float) -> None:
        """Sleep, or less if asking stops meanwhile."""
        assert self._stop is not None
        await asyncio.wait([self._stop], timeout=seconds)

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.done()

    def close(self) -> None:
        """Close the connections and the event loop."""
        self._runner.run(self._openai.close())
        self._runner.close()

    def __enter__(self) -> LLMClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Order:
    """One distinct ask: which of its answers are there, and where they came from."""

    def __init__(self, ask: Ask, keys: tuple[str, ...]) -> None:
        self.ask = ask
        self.keys = keys
        self.error = ""
        self.calls = 0
        self._stored: dict[str, Answer] = {}
        self._bought: dict[str, Answer] = {}

    def fill_stored(self, answers: dict[str, Answer]) -> None:
        self._stored = {key: answers[key] for key in self.keys if key in answers}

    def fill_bought(self, answers: dict[str, Answer]) -> None:
        self._bought.update(answers)

    def missing(self) -> list[int]:
        """Sample indices without an answer."""
        return [idx for idx, key in enumerate(self.keys) if key not in self._stored and key not in self._bought]

    def reply(self, n: int) -> Reply:
        """The first n answers; "" for those that failed."""
        found = [self._stored.get(key) or self._bought.get(key) for key in self.keys[:n]]
        there = [answer for answer in found if answer is not None]
        return Reply(
            answers=tuple(answer.text if answer is not None else "" for answer in found),
            tokens_in=sum(answer.tokens_in for answer in there),
            tokens_out=sum(answer.tokens_out for answer in there),
            cached=all(key in self._stored for key in self.keys[:n]),
            error=self.error if len(there) < n else "",
            calls=self.calls,
        )

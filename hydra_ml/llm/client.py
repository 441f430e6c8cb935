"""The one way to ask the black-box LLM: many requests at once, each bought once and kept as it arrives.

Wraps a given `openai.AsyncOpenAI`; address, key, cache and model come from its caller. Reads no environment, no files.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from types import TracebackType

import openai
from tqdm import tqdm

from hydra_ml.errors import LLMDown, LLMError
from hydra_ml.llm.alone import ask_apart
from hydra_ml.llm.budget import Budget, Night, OwnNight, Usage
from hydra_ml.llm.chat import Answer, AnswerStore, Ask, MemoryStore, Reply, check_nearly_all
from hydra_ml.llm.completion import read_answers, rough_tokens, shared_tokens
from hydra_ml.llm.cost import expected_cost
from hydra_ml.llm.dialect import Dialect
from hydra_ml.llm.exchange import LONGER, Exchange, request_of
from hydra_ml.llm.failures import Failure, pause_s, read_failure
from hydra_ml.llm.faults import ATTEMPT_ERRORS, NoAnswerError
from hydra_ml.llm.lanes import Lanes
from hydra_ml.llm.order import Order, make_orders
from hydra_ml.llm.pace import Pace
from hydra_ml.llm.served import Fingerprints, ask_served, identity_of
from hydra_ml.llm.workers import fill_all
from hydra_ml.params import LLM

OUTAGE = 10  # requests given up in a row, none answered between: the server is down, not one request odd
MOST_AT_ONCE = 128  # what OpenAI's own servers give

log = logging.getLogger(__name__)


class LLMClient:
    """Asks one model through one `openai.AsyncOpenAI`, which it closes. Use as a context manager, or call `close`."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        params: LLM,
        *,
        cache: AnswerStore | None = None,
        night: Night | None = None,
        tells: bool = True,
    ) -> None:
        """night: the books of all who ask in it; None: its own. tells: whether to ask the server what it serves."""
        self._openai = client
        self._params = params
        self._cache: AnswerStore = MemoryStore() if cache is None else cache
        self._runner = asyncio.Runner()  # one event loop for life: open connections are bound to theirs
        self.usage = Usage()
        self._budget = Budget(self.usage, params, night or OwnNight())
        self._identity = "" if tells else params.identity  # "": not asked yet
        self._fingerprints = Fingerprints()
        self._dialect = Dialect()
        self._lanes = Lanes(params.concurrency, params.timeout_s)
        self._exchange = Exchange(client, self._lanes)
        self._most_at_once = MOST_AT_ONCE  # answers that the server gives to one request
        self._n_answered = 0  # requests answered so far
        self._n_given_up = 0  # requests given up since the last answer
        self._n_refused = 0  # requests refused so far
        self._locks: dict[str, asyncio.Lock] = {}  # by first key: who asks the same waits for the answer
        self._has_shortened = False
        self._stop: asyncio.Future[None] | None = None  # fails with what ended the asking; no request is sent after it

    @property
    def model(self) -> str:
        """The model's name, as results must state it."""
        return self._params.model

    def identity(self) -> str:
        """Whose answers it gets, as the cache's keys have it. Asks the server, the first time, what it serves."""
        if not self._identity:
            served = self._runner.run(ask_served(self._openai, self.model, self._cache))
            self._identity = identity_of(self._params, served)
        return self._identity

    def ask_all(self, asks: Sequence[Ask], *, label: str) -> list[Reply]:
        """One reply per ask, in order, with a progress bar called `label`.

        Equal asks are asked once. Every answer is in the cache as soon as it arrives, so that whatever ends this call,
        the next one asks only for what is missing. Raises LLMError if the server refuses for good or is down, and
        BudgetExceeded before the call that could pass the budget; calls then in flight are awaited and kept.
        """
        return self._ask_all(asks, label, in_full=False)

    def ask_each(self, asks: Sequence[Ask], *, label: str) -> list[Reply]:
        """As `ask_all`, for those to whom each answer stands alone: asks that the server fails on though it answers
        others do not count as an outage, and their replies are `odd`."""
        return self._ask_all(asks, label, in_full=False, apart=True)

    def _ask_all(self, asks: Sequence[Ask], label: str, *, in_full: bool, apart: bool = False) -> list[Reply]:
        """in_full: nothing is asked if the budget is sure to end before the last ask. apart: as in `ask_each`."""
        if not asks:
            return []
        of_asks, orders = make_orders(asks, self.identity(), self._cache)
        self._cache.note_owners({key: order.user_ids for order in orders if order.user_ids for key in order.keys})
        if in_full:
            cost = expected_cost(orders, self._most_at_once)
            log.info("%s: %s", label, cost.told(self._params))
            self._budget.check_whole(cost, label)
            if told := self._budget.may_pass(cost):
                log.warning("%s: may pass the budget: if all answers are as long as they may be, %s", label, told)
        waiting = [order for order in orders if order.missing()]
        self.usage.cached += len(asks) - len(waiting)
        pace = Pace(self.usage, orders, self._runner.get_loop().time)
        try:
            with tqdm(total=len(orders), initial=len(orders) - len(waiting), desc=label, unit=" asks") as bar:
                ask_orders = functools.partial(self._ask_orders, done=lambda: pace.step(bar))
                if waiting and apart:
                    self._runner.run(ask_apart(waiting, orders, ask_orders, self._ask_once, self._params))
                elif waiting:
                    self._runner.run(ask_orders(waiting))
        finally:
            if told := pace.end():
                log.info("%s: %s", label, told)
        failed = [order.error for order in waiting if order.error]
        self.usage.failed += len(failed)
        for order in waiting:
            if order.error and not order.refused:
                self.usage.unanswered += 1
                self.usage.reason = order.error
        if failed:
            log.warning("%s: %d of %d asks have no answer; the first: %s", label, len(failed), len(orders), failed[0])
        return [order.reply(ask.n) for ask, order in zip(asks, of_asks, strict=True)]

    def ask_nearly_all(self, asks: Sequence[Ask], *, label: str) -> list[Reply]:
        """As `ask_all`, for those who learn from the answers: raises LLMError, with the server's own reason, if more
        than a share `max_failed_share` of the answers is missing: a failed answer is no result.
        Raises BudgetExceeded before the first call if the budget is sure to be passed."""
        replies = self._ask_all(asks, label, in_full=True)
        check_nearly_all(replies, self._params.max_failed_share, label)
        return replies

    async def _ask_orders(self, orders: Sequence[Order], done: Callable[[], None]) -> None:
        """Fill the orders with `concurrency` workers, `done` after each; raises what made them stop."""
        self._stop = stop = asyncio.get_running_loop().create_future()
        self._locks.clear()
        await fill_all(orders, self._complete, done, stop, n_workers=self._params.concurrency)

    async def _complete(self, order: Order) -> None:
        """Fill the order, its prompt shortened by whole demos as far as the model's context asks for it."""
        while True:
            async with self._locks.setdefault(order.keys[0], asyncio.Lock()):
                if self._has_shortened:  # then one order may have become what another asks, or an earlier run did
                    order.fill_stored(self._cache.get_many(order.keys))
                await self._fill(order)
            if not order.is_too_long:
                return
            order.shorten(self._identity)
            self._cache.note_owners(dict.fromkeys(order.keys, order.user_ids))
            self._has_shortened = True

    async def _fill(self, order: Order) -> None:
        """Ask until the order is complete, given up, too long, or asking has stopped."""
        attempt, n_late = 0, 0
        n_answered_before = 0  # at the first failure of a row
        most = self._most_at_once
        while (missing := order.missing()) and not self._stopped():
            n = min(most, len(missing))
            known = self._dialect.n_learned
            try:
                async with self._lanes.lane():
                    if self._stopped():
                        return
                    order.calls += 1
                    timeout_s = self._params.timeout_s * min(LONGER, 2**n_late)
                    bought = await self._call(order.ask, missing[0], n, timeout_s)
            except ATTEMPT_ERRORS as error:
                failure = self._read_failure(error, order.ask)
                if failure.kind == "too long" and order.ask.demos:
                    order.is_too_long = True
                    return
                if refused := self._dialect.learn(error, request_of(order.ask, self._params, missing[0], n)):
                    log.warning("%s: the server does not take %s; asked without from now on", self.model, refused)
                if self._dialect.n_learned > known:
                    continue  # learned from this refusal, or from another while this one was on its way
                about_n = failure.kind == "refused" and not failure.is_filtered
                if about_n and n > 1 and isinstance(error, openai.APIStatusError):
                    most = n // 2  # perhaps only so many at once were refused
                    continue
                if attempt == 0:
                    n_answered_before = self._n_answered
                attempt += 1
                n_late += failure.is_late
                if failure.kind in ("refused", "cut off", "too long", "fatal") or attempt == self._params.max_attempts:
                    self._give_up(order, failure, attempt, self._n_answered > n_answered_before)
                    return
                await self._pause(pause_s(attempt, failure, self._params.max_wait_s))
            else:
                attempt = 0
                self._take_at_once(most)
                self._take(order, missing, bought)

    def _take(self, order: Order, missing: Sequence[int], bought: Sequence[Answer], *, keep: bool = True) -> None:
        """The answers to the first of the missing samples have arrived."""
        self._n_answered += 1
        self._n_given_up = 0
        fresh = dict(zip([order.keys[sample_idx] for sample_idx in missing], bought, strict=False))
        if keep:
            self._cache.put_many(fresh)
        order.fill_bought(fresh)

    async def _ask_once(self, order: Order, timeout_s: float, keep: bool) -> Failure | None:
        """What the order lacks, with one attempt at each request; why it failed, or None. keep: in the cache."""
        while missing := order.missing():
            n = min(self._most_at_once, len(missing))
            order.calls += 1
            try:
                async with self._lanes.lane():
                    bought = await self._call(order.ask, missing[0], n, timeout_s)
            except ATTEMPT_ERRORS as error:
                return self._read_failure(error, order.ask)
            self._take(order, missing, bought, keep=keep)
        return None

    def _take_at_once(self, most: int) -> None:
        """Ask for no more answers in one request than the server turned out to give."""
        if most < self._most_at_once:
            self._most_at_once = most
            log.warning("%s: the server gives at most %d answers to a request; it is asked again", self.model, most)

    async def _call(self, ask: Ask, first_sample: int, n: int, timeout_s: float) -> list[Answer]:
        """One request for n answers: 1 to n of them. Raises one of ATTEMPT_ERRORS, or BudgetExceeded."""
        request = request_of(ask, self._params, first_sample, n)
        stops = request["stop"] if "stop" in request and "stop" in self._dialect.omitted else ()
        prompt_tokens = rough_tokens("".join(message["content"] for message in request["messages"]))
        reserved = await self._budget.reserve(prompt_tokens, n * ask.max_tokens)
        took = Usage()
        try:
            body = await self._exchange.send(self._dialect.spoken(request), timeout_s)
            if changed := self._fingerprints.changed(body):
                log.warning(
                    "%s: the server's system_fingerprint was %s: its answers may differ now", self.model, changed
                )
            answers = read_answers(body, prompt_tokens, stops)[:n]
            self.usage.shared_in += shared_tokens(body, len(answers), prompt_tokens)
            tokens_in, tokens_out = (sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers))
            took = Usage(1, tokens_in=tokens_in, tokens_out=tokens_out)
        except NoAnswerError as error:
            took = Usage(1, tokens_in=error.tokens[0], tokens_out=error.tokens[1])
            raise
        finally:
            await self._budget.settle(reserved, took)
        return answers

    def _read_failure(self, error: Exception, ask: Ask) -> Failure:
        """What an attempt's exception means, told without the key and without the ask's texts."""
        texts = [self._params.system, *(message["content"] for message in ask.messages)]
        prompt = "" if self._params.log_texts else "\n".join(texts)
        return read_failure(error, secret=self._openai.api_key, prompt=prompt)

    def _give_up(self, order: Order, failure: Failure, attempt: int, others_answered: bool) -> None:
        """The order stays without answer. Raises LLMError if that shows that asking on is useless."""
        order.refused = failure.kind in ("refused", "cut off", "too long")
        order.is_doubtful = failure.kind in ("refused", "cut off") and not failure.is_filtered
        order.is_servers = failure.is_servers
        self._n_given_up += failure.kind == "busy"
        # Where answers are kept from before, those that never come are all that a run started again still asks.
        self._n_refused += order.refused and not (failure.is_reply and self.usage.cached)
        reason = f"The LLM at {self._openai.base_url.netloc.decode()} {failure.what}"
        if attempt > 1:
            reason += f"; {attempt} attempts"
        order.error = f"{reason.rstrip('.')}."
        unreachable = failure.kind == "unreachable" and not others_answered
        # More refusals than were ever in flight, and not one answer: what it refuses is not this one request.
        refuses_all = not self._n_answered and self._n_refused >= self._params.concurrency + OUTAGE
        if failure.kind == "fatal" or unreachable or refuses_all or self._n_given_up >= OUTAGE:
            what_next = "Answers already given are kept: mend this, then run the same command to go on."
            if unreachable:
                what_next = f"Is the server up, and OPENAI_BASE_URL its address? {what_next}"
            is_down = failure.kind != "fatal" and not refuses_all
            raise (LLMDown if is_down else LLMError)(f"{reason}. {what_next}")

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

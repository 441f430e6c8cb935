"""One distinct ask on its way: which of its answers are there, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_ml.llm.chat import Answer, AnswerStore, Ask, Reply, answer_keys


class Order:
    """An ask with its keys; filled by the store and by what is bought."""

    def __init__(self, ask: Ask, keys: tuple[str, ...]) -> None:
        self.ask = ask
        self.keys = keys
        self.user_ids: set[str] = {ask.user_id} - {""}  # whom it is about; equal asks of several share it
        self.error = ""
        self.refused = False  # the request itself is to blame
        self.is_doubtful = False  # refused, but not for what it says: who knows whether others would be answered
        self.is_servers = False  # the error is of the server's making, which asked for no patience
        self.odd = False  # and the server answers others: see `alone`
        self.calls = 0
        self.dropped = 0
        self.is_too_long = False  # as it stands, for the model's context
        self._stored: dict[str, Answer] = {}
        self._bought: dict[str, Answer] = {}

    def shorten(self, model: str) -> None:
        """Ask without the least useful demo from now on: under other keys, with no answer yet."""
        self.ask = self.ask.shorter()
        self.keys = answer_keys(model, self.ask)
        self.dropped += 1
        self.is_too_long = False
        self._stored, self._bought = {}, {}

    def fill_stored(self, answers: dict[str, Answer]) -> None:
        """Take what an earlier run bought."""
        self._stored = {key: answers[key] for key in self.keys if key in answers}

    def kept_tokens(self) -> tuple[int, int]:
        """Of prompt and answers that an earlier run bought."""
        kept = self._stored.values()
        return sum(answer.tokens_in for answer in kept), sum(answer.tokens_out for answer in kept)

    def fill_bought(self, answers: dict[str, Answer]) -> None:
        """Take what was bought now."""
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
            refused=self.refused and len(there) < n,
            odd=self.odd and len(there) < n,
            calls=self.calls,
            dropped=self.dropped,
        )


def make_orders(asks: Sequence[Ask], model: str, store: AnswerStore) -> tuple[list[Order], list[Order]]:
    """The order that answers each ask, in order, and the distinct orders: equal asks share one, for the most answers
    that any of them wants. What the store holds is filled in."""
    names = [answer_keys(model, ask) for ask in asks]
    distinct: dict[str, Order] = {}
    for ask, keys in zip(asks, names, strict=True):
        known = distinct.get(keys[0])
        if known is None or known.ask.n < ask.n:
            distinct[keys[0]] = Order(ask, keys)
            distinct[keys[0]].user_ids |= known.user_ids if known is not None else set()
        else:
            known.user_ids |= {ask.user_id} - {""}
    stored = store.get_many([key for order in distinct.values() for key in order.keys])
    for order in distinct.values():
        order.fill_stored(stored)
    return [distinct[keys[0]] for keys in names], list(distinct.values())


def n_not_kept(asks: Sequence[Ask], model: str, store: AnswerStore) -> int:
    """How many distinct asks the store lacks an answer to; nothing is asked."""
    return sum(bool(order.missing()) for order in make_orders(asks, model, store)[1])

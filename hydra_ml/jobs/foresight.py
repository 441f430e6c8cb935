"""What writing of users will take, before the LLM is asked: as much as it may where answers are not kept."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from hydra_ml.answering.written import Writing
from hydra_ml.llm.chat import AnswerStore, Ask, Reply
from hydra_ml.llm.order import make_orders


class Foresight:
    """Stands in for the LLM before it is asked: replies kept from before, else ones as long as they may be; remembers
    what it was asked."""

    def __init__(self, identity: str, store: AnswerStore) -> None:
        self.asks: dict[Writing, list[Ask]] = {}
        self._identity, self._store = identity, store

    def __call__(self, asks: list[Ask], writing: Writing) -> list[Reply]:
        """A reply per ask; those not kept have an error."""
        self.asks.setdefault(writing, []).extend(asks)
        orders = make_orders(asks, self._identity, self._store)[0]
        unseen = [Reply((_as_long(ask.max_tokens),), 0, 0, cached=False, error="yet to be asked") for ask in asks]
        return [one if order.missing() else order.reply(1) for one, order in zip(unseen, orders, strict=True)]


def as_foreseen(written: pd.DataFrame, writings: Iterable[Writing]) -> pd.DataFrame:
    """What `write_texts` gave by foresight, with texts that are not known yet as long as they may be, no two alike."""
    longest = {writing.name: writing.longest for writing in writings}
    facts = zip(written["writing"], written["text"], written["n_failed"], strict=True)
    texts = [f"{i} {_as_long(longest[name] // 5)}" if failed else text for i, (name, text, failed) in enumerate(facts)]
    return written.assign(text=texts)


def _as_long(words: int) -> str:
    return ("word " * words).strip()

"""One distinct ask on its way: which of its answers are there, and where they came from."""

from __future__ import annotations

from hydra_ml.llm.chat import Answer, Ask, Reply, answer_keys


class Order:
    """An ask with its keys; filled by the store and by what is bought."""

    def __init__(self, ask: Ask, keys: tuple[str, ...]) -> None:
        self.ask = ask
        self.keys = keys
        self.error = ""
        self.refused = False
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
            calls=self.calls,
            dropped=self.dropped,
        )

"""What is asked of the black-box LLM, what comes back, and the keys that name an answer for ever.

Knows neither HTTP nor files; the client, the on-disk cache and the stages speak in these terms.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hydra_ml.errors import LLMError
from hydra_ml.records import Message

SEED_STRIDE = 1009  # more than any n: sample i of one seed is no sample of the next seed


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for `n` answers to a chat. Greedy (temperature 0) is asked for once: n is 1.

    demos: so many turn pairs, most useful first, stand before the last turn and may be left out if the model's context
    is too short for all; the last of them first. user_id: whom it is about, so that the answer can be forgotten with
    them; "" for nobody. It is not sent, and no part of the answer's name.
    """

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 0.0
    max_tokens: int = 64
    seed: int = 0
    demos: int = 0
    user_id: str = ""

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("an Ask needs at least one message; found none")
        if self.n < 1 or (self.temperature == 0 and self.n != 1):
            raise ValueError(
                f"n is {self.n} at temperature {self.temperature}; allowed: 1 at temperature 0, else 1 or more"
            )

    def shorter(self) -> Ask:
        """The same ask without its least useful demo. Raises ValueError if it has none to spare."""
        if self.demos < 1:
            raise ValueError("an Ask without demos cannot be made shorter")
        return replace(self, messages=(*self.messages[:-3], self.messages[-1]), demos=self.demos - 1)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it was bought."""

    text: str
    tokens_in: int  # of the whole call, on its first answer; 0 on the call's other answers
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answers to one Ask, exactly `n`; one that failed for good is "" and `error` says why."""

    answers: tuple[str, ...]
    tokens_in: int  # as bought, be it now or in an earlier run
    tokens_out: int
    cached: bool  # every answer came from the cache
    error: str = ""
    refused: bool = False  # the request itself is to blame for the error: asking again would not help
    odd: bool = False  # the server failed on it, also when asked for nothing else, and answered others right after
    calls: int = 0  # requests sent for it now, repeats included; every reply to an equal ask says the same
    dropped: int = 0  # demos left out of its prompt, for the model's context was too short


def check_nearly_all(replies: Sequence[Reply], most: float, label: str) -> None:
    """Raises LLMError, with the server's own reason, if more than a share `most` of the answers is missing."""
    missing = sum(not answer for reply in replies for answer in reply.answers)
    share = missing / max(1, sum(len(reply.answers) for reply in replies))
    if share > most:
        reasons = Counter(reply.error for reply in replies if reply.error)
        reason, count = reasons.most_common(1)[0]
        raise LLMError(
            f"{label}: {share:.1%} of the answers are missing, more than llm.max_failed_share = {most} allows; {count} "
            f"of {len(replies)} times because: {reason} Answers already given are kept: mend this, then run the same "
            "command to go on."
        )


class AnswerStore(Protocol):
    """Where bought answers are kept, by `answer_keys`."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The stored answers among `keys`."""
        ...

    def put_many(self, answers: Mapping[str, Answer]) -> None:
        """Keep these answers; durable against a kill of the process when it returns."""
        ...

    def note_owners(self, owners: Mapping[str, Collection[str]]) -> None:
        """Keep whom the answers of these keys are about: user ids by key, beside those noted before."""
        ...

    def told(self, name: str) -> str:
        """What was last kept by `tell` under this name; "" for nothing."""
        ...

    def tell(self, name: str, served: str) -> None:
        """Keep what a server says of its model. name: 32 hex digits, of its address and the model."""
        ...


class MemoryStore:
    """An AnswerStore that lives and dies with its client."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._told: dict[str, str] = {}

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The stored answers among `keys`."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def put_many(self, answers: Mapping[str, Answer]) -> None:
        """Keep these answers."""
        self._answers.update(answers)

    def note_owners(self, owners: Mapping[str, Collection[str]]) -> None:
        """Nothing: it is forgotten as a whole."""

    def told(self, name: str) -> str:
        """What was last kept under this name."""
        return self._told.get(name, "")

    def tell(self, name: str, served: str) -> None:
        """Keep what a server says of its model."""
        self._told[name] = served


def answer_keys(model: str, ask: Ask) -> tuple[str, ...]:
    """One key of 32 hex digits per sample of the ask: a digest of model, chat, sampling parameters and sample index.

    `n` is no part of it, so that eight samples after four share their first four keys.
    """
    chat = [[message["role"], message["content"]] for message in ask.messages]
    what = json.dumps([model, chat, float(ask.temperature), ask.max_tokens, ask.seed], separators=(",", ":"))
    shared = hashlib.blake2b(what.encode(), digest_size=16)
    keys = []
    for sample_idx in range(ask.n):
        one = shared.copy()
        one.update(f"#{sample_idx}".encode())
        keys.append(one.hexdigest())
    return tuple(keys)


def request_seed(ask: Ask, sample_idx: int) -> int:
    """The seed to send when samples from `sample_idx` on are asked for.

    A server that draws its i-th choice from seed + i (the offline model does) thus gives each sample index the same
    answer, however the samples were split over requests; any other server at least does not repeat itself.
    """
    return ask.seed * SEED_STRIDE + sample_idx

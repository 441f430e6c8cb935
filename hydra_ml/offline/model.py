"""The embedded model `offline-minilm`: small, honest about what it is, and useful enough to run the whole product on.

It reads the messages and nothing else. Closed questions it answers by likeness of texts, free ones with the text's own
words. Equal requests get equal answers, whatever else is in flight.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from random import Random

import numpy as np

from hydra_ml.model.interfaces import Encode
from hydra_ml.offline.choice import (
    TONES,
    draw,
    grade_logits,
    option_logits,
    option_phrase,
    reference_logits,
    sentences,
    tone,
    tone_axis,
)
from hydra_ml.offline.embed import Embedder
from hydra_ml.offline.prompt import Prompt, read_prompt
from hydra_ml.offline.text import Writer
from hydra_ml.offline.voice import Voice
from hydra_ml.records import Message

MODEL_NAME = "offline-minilm"
FINGERPRINT = "offline-minilm-1"  # raise the number with every change of what it answers
_TOKEN = re.compile(r"\w+|[^\w\s]")

Answerer = Callable[[float, Random], str]  # temperature, source of chance -> one answer


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One answer of the model, cut at the request's max_tokens."""

    text: str
    n_tokens: int
    cut: bool


class OfflineModel:
    """Answers chats. The encoder gives unit rows, float32 [N, D], for texts."""

    def __init__(self, encode: Encode) -> None:
        self._embedder = Embedder(encode)

    async def answer(
        self, messages: Sequence[Message], *, n: int = 1, temperature: float = 1.0, max_tokens: int = 64, seed: int = 0
    ) -> list[ModelAnswer]:
        """n answers to a chat; the i-th is what seed + i alone would give. At temperature 0 all are the best one."""
        answerer = await self._answerer(read_prompt(messages))
        chat = json.dumps([[message["role"], message["content"]] for message in messages]).encode()
        content = hashlib.blake2b(chat, digest_size=8).hexdigest()
        answers = []
        for sample_idx in range(n):
            rng = Random(f"{content} {temperature} {seed + sample_idx}")
            answers.append(cut_at(answerer(temperature, rng), max_tokens))
        return answers

    async def _answerer(self, prompt: Prompt) -> Answerer:
        if prompt.form == "text":
            writer = Writer(prompt.query, prompt.examples, prompt.background)
            return writer.write
        if prompt.form == "rephrase":
            voice = Voice(prompt.examples)
            return lambda temperature, rng: voice.write(prompt.query, temperature, rng)
        if prompt.form == "references":
            logits = await self._reference_logits(prompt)
        elif prompt.form == "scale":
            logits = await self._grade_logits(prompt)
        else:
            logits = await self._option_logits(prompt)
        return lambda temperature, rng: prompt.options[draw(logits, temperature, rng.random())]

    async def _option_logits(self, prompt: Prompt) -> np.ndarray:
        phrases = [option_phrase(option, prompt.noun) for option in prompt.options]
        vectors = await self._embedder.embed([prompt.query, *phrases, *(text for text, _ in prompt.examples)])
        query, options, examples = vectors[0], vectors[1 : 1 + len(phrases)], vectors[1 + len(phrases) :]
        background = prompt.background.casefold()
        mentions = [background.count(option.casefold()) for option in prompt.options]
        return option_logits(query, options, examples, answer_indices(prompt), mentions)

    async def _grade_logits(self, prompt: Prompt) -> np.ndarray:
        texts = [prompt.query, *(text for text, _ in prompt.examples)]
        spoken = [sentences(text) for text in texts]
        poles = [phrase for pair in TONES for phrase in pair]
        vectors = await self._embedder.embed([*poles, *texts, *chain.from_iterable(spoken)])
        axis = tone_axis(vectors[: len(poles)].reshape(len(TONES), 2, -1))
        likeness = vectors[len(poles) + 1 : len(poles) + len(texts)] @ vectors[len(poles)]
        starts = np.cumsum([len(poles) + len(texts), *map(len, spoken)])
        tones = [tone(vectors[start:stop], axis) for start, stop in pairwise(starts)]
        return grade_logits(len(prompt.options), tones[0], tones[1:], likeness, answer_indices(prompt))

    async def _reference_logits(self, prompt: Prompt) -> np.ndarray:
        vectors = await self._embedder.embed([*prompt.references, *(prompt.titles or [prompt.query])])
        n = len(prompt.references)
        return reference_logits(vectors[:n], vectors[n:])


def answer_indices(prompt: Prompt) -> list[int | None]:
    """Which option each example's answer is; None for one that is no option."""
    idx_of = {option.casefold(): idx for idx, option in enumerate(prompt.options)}
    return [idx_of.get(answer.strip(" .\"'").casefold()) for _, answer in prompt.examples]


def count_tokens(text: str) -> int:
    """Words and punctuation marks: what this model calls a token."""
    return len(_TOKEN.findall(text))


def cut_at(text: str, max_tokens: int) -> ModelAnswer:
    """The text's first `max_tokens` tokens."""
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) <= max_tokens:
        return ModelAnswer(text, len(tokens), cut=False)
    return ModelAnswer(text[: tokens[max_tokens - 1].end()], max_tokens, cut=True)

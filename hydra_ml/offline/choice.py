"""How the offline model chooses among given answers: labels, grades, references.

Text vectors in (unit rows), one logit per option out. The weights were tuned on the train and dev parts of real news
categories (LaMP-2N form): examples count more than the label's name does, but do not drown it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

LABEL_WEIGHT = 12.0  # logit per unit of cosine between the text and an option's phrase
EXAMPLE_WEIGHT = 1.5  # logit per example at cosine 1 - EXAMPLE_BASE
EXAMPLE_BASE = 0.3  # an example of another topic still tells what its author tends to answer
BACKGROUND_WEIGHT = 0.7  # logit per doubling of an option's mentions in the system turn
TONE_WEIGHT = 6.0  # per unit of cosine, before it saturates: one very bad sentence is one bad sentence
TONE_REACH = 1.25  # half scales per unit of tone
GRADE_SPREAD = 0.75  # grades
GRADE_PRIOR = 0.6  # examples' worth of trust in the tone alone
REFERENCE_WEIGHT = 10.0
MAX_SENTENCES = 10  # of a review whose tone is read

# The same thing said in blame and in praise: their differences point from bad to good, whatever the topic.
TONES = (
    ("The product is terrible and I hate it.", "The product is excellent and I love it."),
    ("I am unhappy and disappointed with it.", "I am happy and delighted with it."),
    ("This is bad.", "This is good."),
    ("A waste of money, I regret buying it.", "A great value, I recommend buying it."),
    ("It works badly, poor quality.", "It works great, high quality."),
)
_SENTENCE_GAP = re.compile(r"(?<=[.!?])\s+")


def option_phrase(option: str, noun: str) -> str:
    """What is encoded for a label: a sentence sits closer to texts than a bare word does."""
    return f"This {noun} is about {option}."


def option_logits(
    query: np.ndarray, phrases: np.ndarray, examples: np.ndarray, answers: Sequence[int | None], mentions: Sequence[int]
) -> np.ndarray:
    """Logits [O] of labels for a query [D], from label phrases [O, D] and examples [E, D] with their option indices.

    An example whose answer is no option (None) has no vote. `mentions` counts each option in the system turn.
    """
    logits = LABEL_WEIGHT * (phrases @ query) + BACKGROUND_WEIGHT * np.log2(1.0 + np.asarray(mentions))
    for vector, answer in zip(examples, answers, strict=True):
        if answer is not None:
            logits[answer] += EXAMPLE_WEIGHT * (EXAMPLE_BASE + max(float(vector @ query), 0.0))
    return np.asarray(logits)


def sentences(text: str) -> list[str]:
    """The first MAX_SENTENCES sentences of a text, at least one."""
    return _SENTENCE_GAP.split(text.strip())[:MAX_SENTENCES]


def tone_axis(pairs: np.ndarray) -> np.ndarray:
    """The unit direction [D] from blame to praise, from the vectors of TONES [P, 2, D]."""
    steps = pairs[:, 1] - pairs[:, 0]
    axis = (steps / np.linalg.norm(steps, axis=1, keepdims=True)).mean(axis=0)
    return np.asarray(axis / np.linalg.norm(axis))


def tone(sentence_vectors: np.ndarray, axis: np.ndarray) -> float:
    """How a text sounds, from -1 (blame) to 1 (praise): the mean over its sentences [S, D]."""
    return float(np.tanh(TONE_WEIGHT * (sentence_vectors @ axis)).mean())


def grade_logits(
    n: int, tone: float, example_tones: Sequence[float], likeness: np.ndarray, answers: Sequence[int | None]
) -> np.ndarray:
    """Logits [n] of grades: the text's own tone, moved by how far examples' grades lie from the tone of their texts.

    `likeness` [E] is the cosine of each example to the text, `answers` its grade counted from 0, None for no grade.
    """
    half = (n - 1) / 2
    moved, weights = 0.0, GRADE_PRIOR
    for example_tone, alike, answer in zip(example_tones, likeness, answers, strict=True):
        if answer is not None:
            weight = EXAMPLE_BASE + max(float(alike), 0.0)
            moved += weight * (answer - half * (1 + TONE_REACH * example_tone))
            weights += weight
    mean = half * (1 + TONE_REACH * tone) + moved / weights
    return np.asarray(-((np.arange(n) - min(max(mean, 0.0), n - 1.0)) ** 2) / (2 * GRADE_SPREAD**2))


def reference_logits(references: np.ndarray, titles: np.ndarray) -> np.ndarray:
    """Logits [R] of references [R, D] for an author's titles [T, D]: their nearest title counts as much as the mean."""
    if not len(titles):
        return np.zeros(len(references))
    likeness = references @ titles.T  # [R, T]
    return np.asarray(REFERENCE_WEIGHT * (likeness.max(axis=1) + likeness.mean(axis=1)) / 2)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Shares that sum to 1."""
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def draw(logits: np.ndarray, temperature: float, chance: float) -> int:
    """The option that `chance` (0 to 1) falls on at this temperature; the best one at temperature 0."""
    if temperature == 0:
        return int(np.argmax(logits))
    return min(int(np.searchsorted(np.cumsum(softmax(logits / temperature)), chance, side="right")), len(logits) - 1)

"""How the offline model chooses among given answers: labels, grades, references.

Text vectors in (unit rows), one logit per option out. The weights were tuned on the train and dev parts of real news
categories (LaMP-2N form): examples count more than the label's name does, but do not drown it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LABEL_WEIGHT = 12.0  # logit per unit of cosine between the text and an option's phrase
EXAMPLE_WEIGHT = 1.5  # logit per example at cosine 1 - EXAMPLE_BASE
EXAMPLE_BASE = 0.3  # an example of another topic still tells what its author tends to answer
BACKGROUND_WEIGHT = 0.7  # logit per doubling of an option's mentions in the system turn
GRADE_WEIGHT = 14.0
GRADE_SPREAD = 0.75  # grades
GRADE_PRIOR = 0.6  # examples' worth of trust in the zero-shot reading of a scale
REFERENCE_WEIGHT = 6.0

# From the lowest grade to the highest; a scale of another length takes the nearest of them.
GRADE_PHRASES = (
    "Terrible, a complete waste of money. It broke, I hate it and I want a refund.",
    "Disappointing and poor. It has serious problems and I would not buy it again.",
    "It is okay, average. Some good points and some bad points, nothing special.",
    "Good, I like it. It works well apart from a small flaw.",
    "Excellent, perfect, I love it! The best I ever had, highly recommended.",
)


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


def grade_logits(
    query: np.ndarray, phrases: np.ndarray, examples: np.ndarray, answers: Sequence[int | None]
) -> np.ndarray:
    """Logits [G] of grades: the text's own tone, moved by how far examples' grades lie from the tone of their texts."""
    grades = np.arange(len(phrases))
    mean = _tone(query, phrases)
    moved, weights = 0.0, GRADE_PRIOR
    for vector, answer in zip(examples, answers, strict=True):
        if answer is not None:
            weight = EXAMPLE_BASE + max(float(vector @ query), 0.0)
            moved += weight * (answer - _tone(vector, phrases))
            weights += weight
    mean = min(max(mean + moved / weights, 0.0), len(phrases) - 1.0)
    return np.asarray(-((grades - mean) ** 2) / (2 * GRADE_SPREAD**2))


def _tone(text: np.ndarray, phrases: np.ndarray) -> float:
    """The expected grade index of a text taken alone."""
    shares = softmax(GRADE_WEIGHT * (phrases @ text))
    return float(shares @ np.arange(len(phrases)))


def grade_phrases(n: int) -> list[str]:
    """One phrase per grade of an n-grade scale, lowest first."""
    step = (len(GRADE_PHRASES) - 1) / max(n - 1, 1)
    return [GRADE_PHRASES[round(grade * step)] for grade in range(n)]


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

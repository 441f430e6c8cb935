"""One thing a sample user writes or judges, and the label habit that two of the domains share.

Knows nothing of dates, questions or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

Taste = dict[str, Any]  # what is planted in one user; plain JSON values, written to the truth file only

NOISE = 0.06  # share of labels that break the habit: people are not machines, and an oracle should not reach 1
N_FAVOURITES = 4


@dataclass(frozen=True)
class Piece:
    """One history item before it has an id and a date."""

    item: dict[str, str]  # LaMP's own keys for this task
    answer: str  # the gold, were the item asked as a question
    cues: Any  # what a reader could see in the text, as plain JSON values; for the truth file
    input: str | None = None  # the whole input, where it cannot be made from the item alone (LaMP-1, LaMP-7)


def draw_priority(rng: Random, weights: Mapping[str, int]) -> Taste:
    """An order over all labels, earlier ones more likely to be those of greater weight."""
    order = sorted(
        weights, key=lambda label: rng.random() ** (1.0 / weights[label]), reverse=True
    )  # Efraimidis-Spirakis
    return {"priority": order, "favourites": order[:N_FAVOURITES]}


def draw_cues(rng: Random, taste: Taste, clashes: frozenset[frozenset[str]]) -> list[str]:
    """Two or three labels that one text carries, in the order they are told; mostly two of them are favourites.

    Two favourites in one text is what makes the habit visible: the text alone does not say which of them wins.
    """
    n_favourites = 2 if rng.random() < 0.95 else 1
    n_cues = 3 if rng.random() < 0.3 else 2
    while True:
        favourites = rng.sample(taste["favourites"], n_favourites)
        cues = favourites + rng.sample(taste["priority"][N_FAVOURITES:], n_cues - n_favourites)
        if not any(frozenset((a, b)) in clashes for a in cues for b in cues if a != b):
            rng.shuffle(cues)
            return cues


def choose_by_priority(rng: Random, taste: Taste, cues: Sequence[str]) -> str:
    """The user's label for a text that carries `cues`: the first in the user's order, now and then another one."""
    ranked = sorted(cues, key=taste["priority"].index)
    return rng.choice(ranked[1:]) if rng.random() < NOISE else ranked[0]

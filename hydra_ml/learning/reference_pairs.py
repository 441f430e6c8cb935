"""LaMP-1 questions made of one author's papers: which of two titles goes with this paper?

Right is the author's most similar other paper, standing in for citations that history does not hold; wrong is a
reference of someone else's question. Neither comes from another user's history. Knows nothing of rows or tables.

Legend: R records of one user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hydra_ml.learning.history import Evaluated, LampQuestion, seeded_number
from hydra_ml.records import Record, normalized
from hydra_ml.tasks.citation import CitationTask
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class References:
    """Reference titles of the train split's questions, from which LaMP-1's wrong references are drawn."""

    titles: Sequence[str] = ()
    of_user: Mapping[str, frozenset[str]] = field(default_factory=dict)  # normalized titles of a user's own questions


def collect_references(task: Task, questions: Mapping[str, Sequence[LampQuestion]], evaluated: Evaluated) -> References:
    """Wrong references to draw from: those of train questions (by user), less what is evaluated. Only for LaMP-1."""
    if task.kind != "choice":
        return References()
    titles: dict[str, str] = {}
    of_user: dict[str, frozenset[str]] = {}
    for user_id, asked in questions.items():
        own = [task.answer_text(label, question.input) for question in asked for label in task.labels]
        of_user[user_id] = frozenset(map(normalized, own))
        titles.update((normalized(title), title) for title in own)
    return References([title for key, title in titles.items() if key not in evaluated.texts], of_user)


class ReferencePairs:
    """Makes the questions of one user's papers."""

    def __init__(self, task: CitationTask, records: Sequence[Record], references: References, seed: int) -> None:
        self.task = task
        self.records = records
        self.titles = [normalized(record.input) for record in records]
        self.words = [frozenset(title.split()) for title in self.titles]
        self.references = references
        self.seed = seed

    def question(self, i: int, seen: np.ndarray) -> tuple[str, str, int] | None:
        """Input, gold and position of the right reference for record i; None if either reference cannot be had."""
        wrong = self._wrong_title(self.records[i])
        if wrong is None or not seen.any():
            return None
        right = max(np.flatnonzero(seen).tolist(), key=lambda j: (self._similarity(i, j), j))
        titles = [self.records[right].input, wrong]
        right_place = seeded_number(self.seed, "place", self.records[i].user_id, self.records[i].record_id) % 2
        input = self.task.pair_input(self.records[i].input, *(titles if right_place == 0 else titles[::-1]))
        return input, self.task.labels[right_place], right

    def other_titles(self, i: int) -> np.ndarray:
        """bool [R]: the records whose title differs from that of record i."""
        return np.array([title != self.titles[i] for title in self.titles])

    def _similarity(self, i: int, j: int) -> float:
        """Share of common words, 0 to 1."""
        return len(self.words[i] & self.words[j]) / max(len(self.words[i] | self.words[j]), 1)

    def _wrong_title(self, record: Record) -> str | None:
        titles = self.references.titles
        own = self.references.of_user.get(record.user_id, frozenset())  # one of each pair is right: never wrong here
        start = seeded_number(self.seed, "wrong", record.user_id, record.record_id)
        for step in range(len(titles)):
            title = titles[(start + step) % len(titles)]
            if normalized(title) not in own and normalized(title) not in self.titles:
                return title
        return None

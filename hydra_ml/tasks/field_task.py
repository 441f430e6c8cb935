"""The usual task: one field of a history item is asked about, another holds the user's answer.

All of LaMP's tasks but citation (LaMP-1) and tweet (LaMP-7), and whatever tasks people declare, are plain instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hydra_ml.records import Reading
from hydra_ml.tasks.answers import closed_answer, one_line, spelling, whole_number
from hydra_ml.tasks.chatty_answers import named_label, named_rating, told_line, told_text
from hydra_ml.tasks.task import Item, Read, Task


@dataclass(frozen=True)
class FieldTask(Task):
    """A task told by field names alone."""

    document_keys: tuple[str, ...] = ()  # what retrieval reads, in this order
    input_key: str = ""  # what the question is about
    answer_key: str = ""  # what the user answered
    synonyms: tuple[tuple[str, str], ...] = ()  # (other spelling, label)
    read: Read = "first_line"

    def is_closed(self, key: str) -> bool:
        """Whether this field of a history item holds one of the labels."""
        return key == self.answer_key and bool(self.labels)

    def record_text(self, item: Item) -> str:
        """The document fields joined by a space."""
        return " ".join(item[key] for key in self.document_keys)

    def record_input(self, item: Item) -> str:
        """The item's input field as a question of the task."""
        return self.question(item[self.input_key])

    def record_answer(self, item: Item) -> str:
        """The item's answer field; scores as whole numbers, labels as the task spells them."""
        return self.spelled(item[self.answer_key])

    def spelled(self, answer: str) -> str:
        """The answer as the task spells it; one outside a closed set as it is."""
        if self.kind == "rating":
            return whole_number(answer.strip())
        return self._spelled.get(spelling(answer), answer) if self.kind == "label" else answer

    def parse_answer(self, raw: str, input: str, reading: Reading = "lenient") -> str | None:
        """One label of the closed set, or text; None when the LLM's text is neither."""
        if not self.labels:
            if self.read == "whole_text":
                return (raw.strip() or None) if reading == "strict" else told_text(raw)
            return one_line(raw) if reading == "strict" else told_line(raw)
        if self.kind == "rating":
            strict = closed_answer(whole_number(raw), self.labels)
            return strict if strict or reading == "strict" else named_rating(raw, self.labels)
        names = (*self.labels, *(name for name, _ in self.synonyms))
        found = closed_answer(raw, names)
        if found is None and reading == "lenient":
            found = named_label(raw, names, self._spelled)
        return found and self._spelled[spelling(found)]

    @cached_property
    def _spelled(self) -> dict[str, str]:
        """Each label by its normalized spellings."""
        named = [*self.synonyms, *((label, label) for label in reversed(self.labels))]
        return {spelling(name): label for name, label in named}

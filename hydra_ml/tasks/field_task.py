"""The usual LaMP task: one field of a history item is asked about, another holds the user's answer.

All tasks but citation (LaMP-1) and tweet (LaMP-7) are plain instances of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ml.records import Reading
from hydra_ml.tasks.answers import closed_answer, one_line, whole_number
from hydra_ml.tasks.chatty_answers import named_label, named_rating, told_line
from hydra_ml.tasks.task import Item, Task


@dataclass(frozen=True)
class FieldTask(Task):
    """A task told by field names alone."""

    document_keys: tuple[str, ...] = ()  # what retrieval reads, in this order
    input_key: str = ""  # what the question is about
    answer_key: str = ""  # what the user answered

    def record_text(self, item: Item) -> str:
        """The document fields joined by a space."""
        return " ".join(item[key] for key in self.document_keys)

    def record_input(self, item: Item) -> str:
        """The official template around the item's input field."""
        return self.templated(item[self.input_key])

    def record_answer(self, item: Item) -> str:
        """The item's answer field; scores as whole numbers."""
        answer = item[self.answer_key]
        return whole_number(answer) if self.kind == "rating" else answer

    def parse_answer(self, raw: str, input: str, reading: Reading = "lenient") -> str | None:
        """One label of the closed set, or one line of text; None when the LLM's text is neither."""
        if not self.labels:
            return one_line(raw) if reading == "strict" else told_line(raw)
        if self.kind == "rating":
            strict, lenient = closed_answer(whole_number(raw), self.labels), named_rating
        else:
            strict, lenient = closed_answer(raw, self.labels), named_label
        return strict if strict or reading == "strict" else lenient(raw, self.labels)

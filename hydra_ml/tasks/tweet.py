"""LaMP-7, tweet paraphrase: put a plain sentence into the user's own voice.

A history item is a tweet and nothing else. LaMP made its questions by letting an LLM paraphrase the gold tweet; for
history, `neutral_form` stands in for that paraphrase, so that a record reads (plain words -> this user's words).
"""

from __future__ import annotations

from hydra_ml.records import Reading
from hydra_ml.tasks.answers import one_line
from hydra_ml.tasks.chatty_answers import told_line
from hydra_ml.tasks.field_task import FieldTask
from hydra_ml.tasks.neutral import neutral_form
from hydra_ml.tasks.task import Item


class TweetTask(FieldTask):
    """The task whose history is answers without questions."""

    def record_text(self, item: Item) -> str:
        """The tweet."""
        return item["text"]

    def record_input(self, item: Item) -> str:
        """The official template around the tweet's neutral form."""
        return self.templated(neutral_form(item["text"]))

    def record_answer(self, item: Item) -> str:
        """The tweet as its user wrote it."""
        return item["text"]

    def parse_answer(self, raw: str, input: str, reading: Reading = "lenient") -> str | None:
        """One line of text; None if there is none."""
        return one_line(raw) if reading == "strict" else told_line(raw)

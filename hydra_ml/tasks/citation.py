"""LaMP-1, citation identification: which of two papers an author would cite in a paper of a given title.

History items are the author's own papers and hold no answer; the candidate answers are the two references.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra_ml.records import Message, PromptForm, Reading, Record
from hydra_ml.tasks.answers import closed_answer
from hydra_ml.tasks.chatty_answers import named_reference
from hydra_ml.tasks.field_task import FieldTask
from hydra_ml.tasks.task import Item

# From lead-in to lead-in, never from quote to quote: titles hold quotation marks of their own.
_REFERENCES = re.compile(r'\[1\]:\s*"(?P<first>.*?)"\s*\[2\]:\s*"(?P<second>.*)"\s*$', re.DOTALL)
_ASK = "which reference is related? Just answer with [1] or [2] without explanation."


class CitationTask(FieldTask):
    """The one task answered by pointing: "[1]" or "[2]"."""

    def references(self, input: str) -> tuple[str, str] | None:
        """The titles of references [1] and [2]; None if the input does not follow the template."""
        found = _REFERENCES.search(input)
        return (found["first"].strip(), found["second"].strip()) if found else None

    def query_text(self, input: str) -> str:
        """Both reference titles, joined by a space, without the citing paper's own; else the whole input."""
        return " ".join(self.references(input) or (input.strip(),))

    def record_text(self, item: Item) -> str:
        """Title and abstract of one of the author's papers."""
        return f"{item['title']} {item['abstract']}"

    def record_input(self, item: Item) -> str:
        """The bare title: one paper alone makes no question. `pair_input` makes one from three titles."""
        return item["title"]

    def pair_input(self, title: str, reference_1: str, reference_2: str) -> str:
        """The official question: which of two references goes with the author's paper of that title."""
        return f'{self.instruction}{title}", {_ASK} [1]: "{reference_1}" [2]: "{reference_2}"'

    def record_answer(self, item: Item) -> str:
        """Always "": the author's papers answer nothing."""
        return ""

    def parse_answer(self, raw: str, input: str, reading: Reading = "lenient") -> str | None:
        """ "[1]" or "[2]", also from a bare "1" or "2"; read leniently, the one of them that is named; else None."""
        bare = closed_answer(raw, ("1", "2"))
        strict = f"[{bare}]" if bare else closed_answer(raw, self.labels)
        return strict if strict or reading == "strict" else named_reference(raw)

    def answer_text(self, answer: str, input: str) -> str:
        """The title that "[1]" or "[2]" points to; the answer itself where there is no such reference."""
        pair = self.references(input)
        return pair[self.labels.index(answer)] if pair and answer in self.labels else answer

    def messages(self, input: str, demos: Sequence[Record], form: PromptForm = "lamp") -> list[Message]:
        """One user turn, whatever the form: the author's own titles, most useful first, then the question. Records have
        no answers."""
        if not demos:
            return [{"role": "user", "content": input}]
        titles = "\n".join(f'- "{record.input}"' for record in demos)
        return [{"role": "user", "content": f"The author has also written these papers:\n{titles}\n\n{input}"}]

"""What a LaMP task is to the rest of the system: how its inputs, records and answers read, and how it is measured.

One module of this package per task declares one `Task`; the shared behaviour is here. Source of every template and
rule: LaMP (arXiv 2304.11406) and its released code. Knows nothing of files, retrieval, models or LLM clients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra_ml.records import Message, PromptForm, Reading, Record

Kind = Literal["label", "rating", "text", "choice"]
Item = Mapping[str, str]  # one raw history item of a LaMP file

TEXT_TOKENS = 64  # a headline, a title, a tweet
TALK_TOKENS = 16  # "The article belongs to the category of", before or after a label
CHARS_A_TOKEN = 2  # of labels, at the least: half as many as in running English


@dataclass(frozen=True)
class Task(ABC):
    """One LaMP task. Subclasses override only what differs from "instruction, marker, text -> one answer"."""

    name: str  # as reports print it: "LaMP-2N"
    folder: str  # as folders and dvc stages spell it: "LaMP_2N"
    kind: Kind
    instruction: str  # everything of the input up to and including the marker
    marker: str  # the query text is what follows its first occurrence: "article:"
    item_keys: tuple[str, ...]  # the keys every raw history item must have, all strings
    measures: tuple[str, ...]  # primary measure first
    labels: tuple[str, ...] = ()  # the closed answer set of label, rating and choice tasks, official order

    def query_text(self, input: str) -> str:
        """The input without its template; all of it when the marker is missing (one official question lacks it)."""
        head, found, tail = input.partition(self.marker)
        return tail.strip() if found else head.strip()

    def templated(self, text: str) -> str:
        """The task input around a bare text: what `query_text` undoes."""
        return f"{self.instruction} {text}"

    def asks(self, input: str) -> bool:
        """Whether the input begins as the task's own do: the first four words tell all tasks apart."""
        return input[:80].split()[:4] == self.instruction[:80].split()[:4]

    @abstractmethod
    def record_text(self, item: Item) -> str:
        """What retrieval reads of a raw history item (LaMP section 6, "Document")."""

    @abstractmethod
    def record_input(self, item: Item) -> str:
        """The task input that would have been asked for this item: the pseudo-query it becomes."""

    @abstractmethod
    def record_answer(self, item: Item) -> str:
        """What the user answered there: the gold of the pseudo-query."""

    @abstractmethod
    def parse_answer(self, raw: str, input: str, reading: Reading = "lenient") -> str | None:
        """The answer an LLM's text stands for, in the task's own spelling; None when it stands for none."""

    def answer_tokens(self, given: int | None) -> int:
        """The most tokens an LLM may write for an answer: those given, else what the task's kind of answer needs."""
        if given is not None:
            return given
        longest = max(map(len, self.labels), default=0)
        return TALK_TOKENS + -(-longest // CHARS_A_TOKEN) if self.labels else TEXT_TOKENS

    def answer_text(self, answer: str, input: str) -> str:
        """What an encoder reads for this answer: the answer itself, or what it points to (LaMP-1)."""
        return answer

    def messages(self, input: str, demos: Sequence[Record], form: PromptForm = "lamp") -> list[Message]:
        """The chat that asks the LLM: each record an earlier turn pair, most useful first, the input last."""
        chat: list[Message] = []
        for record in demos:
            asked = record.input if form == "lamp" else self.query_text(record.input)
            chat += [{"role": "user", "content": asked}, {"role": "assistant", "content": record.answer}]
        chat.append({"role": "user", "content": input})
        return chat

"""What a task is to the rest of the system: how its inputs, records and answers read, and how it is measured.

A YAML file declares each (`definition`), LaMP's in `lamp/`; the shared behaviour is here. Source of LaMP's templates
and rules: LaMP (arXiv 2304.11406) and its released code. Knows nothing of retrieval, models or LLM clients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra_ml.records import Message, PromptForm, Reading, Record

Kind = Literal["label", "rating", "text", "choice"]
Read = Literal["first_line", "whole_text"]  # how much of an LLM's text is a free answer
Demos = Literal["turns", "block"]  # records as earlier turns of the chat, or as text before the question
Item = Mapping[str, str]  # one raw history item: a row of a LaMP profile or of a table

TEXT_TOKENS = 64  # a headline, a title, a tweet
TALK_TOKENS = 16  # "The article belongs to the category of", before or after a label
CHARS_A_TOKEN = 2  # of labels, at the least: half as many as in running English


@dataclass(frozen=True)
class Task(ABC):
    """One task. Subclasses override only what differs from "instruction, text -> one answer"."""

    name: str  # as reports print it: "LaMP-2N"
    folder: str  # as folders and dvc stages spell it: "LaMP_2N"
    kind: Kind
    instruction: str  # everything of the input before its text
    item_keys: tuple[str, ...]  # the keys every raw history item must have, all strings
    measures: tuple[str, ...]  # primary measure first
    after: str = ""  # everything of the input behind its text
    marker: str = ""  # questions come written out, their text after its first occurrence; "": they come bare
    labels: tuple[str, ...] = ()  # the closed answer set of label, rating and choice tasks, official order
    system: str = ""  # a system turn before every chat
    demos: Demos = "turns"
    most_tokens: int | None = None  # of an answer; None: what its kind needs
    user_key: str = "user_id"  # of a row of a table, as is the next
    date_key: str | None = "date"  # None: a user's rows stand in order
    definition: str = ""  # the YAML it was made from, as JSON

    def query_text(self, input: str) -> str:
        """The input without its template; all of it when the marker is missing (one official question lacks it)."""
        head, found, tail = input.partition(self.marker) if self.marker else (input, "", "")
        return tail.strip() if found else head.strip()

    def templated(self, text: str) -> str:
        """What the LLM is asked about a bare text."""
        return f"{self.instruction}{text}{self.after}"

    def question(self, text: str) -> str:
        """The task input of a bare text: itself, unless questions come written out. What is kept of records and
        requests is bare, so that a task asks as its file says now, whenever they came."""
        return self.templated(text) if self.marker else text

    def asked(self, input: str) -> str:
        """What the LLM is asked for a task input."""
        return input if self.marker else self.templated(input.strip())

    def asks(self, input: str) -> bool:
        """Whether the input is written out as the task's own are: the first four words tell LaMP's tasks apart."""
        return bool(self.marker) and input[:80].split()[:4] == self.instruction[:80].split()[:4]

    def is_closed(self, key: str) -> bool:
        """Whether this field of a history item holds one of the labels."""
        return False

    def spelled(self, answer: str) -> str:
        """The answer as the task spells it; one outside a closed set as it is."""
        return answer

    def row_names(self, row: Mapping[str, object]) -> dict[str, object]:
        """A row of a table with the task's own names of user and date as everybody else has them, user_id and date. The
        task's own columns win over others that are called so."""
        own = {"user_id": self.user_key, "date": self.date_key}
        return {**row, **{name: row[key] for name, key in own.items() if key is not None and key in row}}

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
        if given is not None or self.most_tokens is not None:
            return given or self.most_tokens or TEXT_TOKENS
        longest = max(map(len, self.labels), default=0)
        return TALK_TOKENS + -(-longest // CHARS_A_TOKEN) if self.labels else TEXT_TOKENS

    def answer_text(self, answer: str, input: str) -> str:
        """What an encoder reads for this answer: the answer itself, or what it points to (LaMP-1)."""
        return answer

    def messages(self, input: str, demos: Sequence[Record], form: PromptForm = "lamp") -> list[Message]:
        """The chat that asks the LLM: each record an earlier turn pair, most useful first, the input last; or all of
        it in one turn, the records' texts and answers before the question."""
        chat: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        question = self.asked(input)
        if self.demos == "block":
            shown = [f"{self.query_text(record.input)}\n=> {record.answer}" for record in demos]
            return [*chat, {"role": "user", "content": "\n\n".join([*shown, question])}]
        for record in demos:
            said = self.asked(record.input) if form == "lamp" else self.query_text(record.input)
            chat += [{"role": "user", "content": said}, {"role": "assistant", "content": record.answer}]
        return [*chat, {"role": "user", "content": question}]

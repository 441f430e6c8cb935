"""Looks at a task's file, and at a table with it, before anything is learned: what is wrong, what would be read, and
what the LLM would be asked, word for word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_ml.errors import ParamsError
from hydra_ml.io.own_records import FEWEST, checked_row
from hydra_ml.io.record_reader import Fault
from hydra_ml.io.row_files import read_rows
from hydra_ml.io.task_files import name_problems, read_definition, told
from hydra_ml.learning.history import read_record
from hydra_ml.measures import per_query
from hydra_ml.records import Message, Record
from hydra_ml.tasks.task import Task

PREVIEWS = 3
SHOWN_RECORDS = 2  # before each previewed question
HELD = 400  # records looked at for previews
MOST_SHOWN = 20  # labels and reasons, by how often they occur


@dataclass
class TableFacts:
    """What a task makes of a table."""

    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first_refused: dict[str, int] = field(default_factory=dict)  # by reason: its first row
    per_user: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)  # of closed sets
    odd_answers: Counter[str] = field(default_factory=Counter)  # outside the set
    longest: int = 0  # characters of an input
    columns: tuple[str, ...] = ()  # of the first row
    some: list[Record] = field(default_factory=list)  # of a few users who have several


def checked_task(path: Path) -> Task:
    """The task in a file, wherever it lies. Raises ParamsError with all that is wrong, measures and classes too."""
    definition = read_definition(path)
    problems = name_problems(definition, path)
    if problems:
        raise ParamsError(told(path, problems, {}))
    task = definition.task()
    answers = [*task.labels[:2]] or ["an answer", "another"]  # measures of one's own are called once
    per_query(task, answers, answers[::-1])
    return task


def table_facts(task: Task, table: Path) -> TableFacts:
    """What the task makes of the table's rows. Raises DataError if it cannot be read."""
    facts = TableFacts()
    held: dict[str, list[Record]] = {}
    for row in read_rows(table, ids=(task.user_key,)):
        facts.rows += 1
        if not facts.columns and isinstance(row.value, dict):
            facts.columns = tuple(map(str, row.value))
        try:
            user_id, item = checked_row(row, task)
        except Fault as fault:
            facts.refused[str(fault)] += 1
            facts.first_refused.setdefault(str(fault), row.number)
            _note_odd(row.value, task, facts)
            continue
        record = read_record(task, user_id, item)
        facts.per_user[user_id] += 1
        facts.longest = max(facts.longest, len(task.query_text(record.input)))
        if task.labels:
            facts.answers[record.answer] += 1
        if sum(map(len, held.values())) < HELD or user_id in held:
            held.setdefault(user_id, []).append(record)
    rich = sorted((records for records in held.values() if len(records) > SHOWN_RECORDS), key=len, reverse=True)
    facts.some = [record for records in rich[:PREVIEWS] for record in records[-SHOWN_RECORDS - 1 :]]
    return facts


def _note_odd(value: Any, task: Task, facts: TableFacts) -> None:
    """Count an answer that is none of the task's."""
    given = value.get(getattr(task, "answer_key", "")) if isinstance(value, Mapping) else None
    if task.labels and given is not None and str(given) not in task.labels:
        facts.odd_answers[str(given)[:60]] += 1


def previews(facts: TableFacts, task: Task) -> Iterator[tuple[Record, list[Message]]]:
    """A few records as questions, each with the chat that would ask it."""
    for start in range(0, len(facts.some), SHOWN_RECORDS + 1):
        *shown, asked = facts.some[start : start + SHOWN_RECORDS + 1]
        yield asked, task.messages(asked.input, shown)


def task_text(task: Task) -> str:
    """What the file says, for people."""
    closed = f", {len(task.labels)} answers: {', '.join(task.labels)}" if task.labels else ""
    lines = [f"{task.name} is sound: kind {task.kind}{closed}."]
    lines.append(
        f"  folders data/*/{task.folder}, MLflow models {task.name.lower()}.*, measured by {', '.join(task.measures)}"
    )
    lines.append(
        f"  reads columns {', '.join(dict.fromkeys([task.user_key, *filter(None, [task.date_key]), *task.item_keys]))}"
    )
    return "\n".join(lines)


def facts_text(facts: TableFacts, task: Task) -> str:
    """What it makes of the table, for people."""
    records, users = sum(facts.per_user.values()), len(facts.per_user)
    lines = [f"{facts.rows:,} rows: {records:,} records of {users:,} users."]
    if facts.per_user:
        counts = sorted(facts.per_user.values())
        few = sum(count < FEWEST for count in counts)
        lines.append(f"  records a user: {counts[0]} to {counts[-1]}, median {counts[len(counts) // 2]}")
        lines += [f"  {few:,} users have fewer than {FEWEST}: they are learned from, never asked"] if few else []
        lines.append(f"  the longest input has {facts.longest:,} characters")
    for reason, count in facts.refused.most_common(MOST_SHOWN):
        lines.append(f"  {count:,} rows would be refused: {reason} (first: row {facts.first_refused[reason]})")
    if facts.refused and not facts.per_user:
        lines.append(f"  the table's columns are {', '.join(facts.columns)}")
    shown = facts.answers.most_common(MOST_SHOWN)
    lines += [f"  {count:,} times {answer!r}" for answer, count in shown]
    never = [label for label in task.labels if label not in facts.answers]
    lines += [f"  never: {', '.join(never)}"] if never and facts.answers else []
    for answer, count in facts.odd_answers.most_common(MOST_SHOWN):
        lines.append(f"  {count:,} times {answer!r}, which is no answer of the task: add it to labels or synonyms")
    return "\n".join(lines)


def preview_text(asked: Record, chat: list[Message]) -> str:
    """A chat as it is sent, and what the user answered."""
    turns = [f"  [{message['role']}]\n" + _indented(message["content"]) for message in chat]
    return "\n".join([*turns, f"  the user's own answer\n{_indented(asked.answer)}"])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())

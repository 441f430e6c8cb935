"""LaMP's own question and output files, read strictly and written whole.

User-based files (no user ids, no dates) and time-based ones (both) are told apart by content. Turning questions into
users, queries and records is `stages.prepare`'s work.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_ml.errors import DataError
from hydra_ml.io.files import atomic_path
from hydra_ml.io.lamp.checks import (
    Problems,
    checked_date,
    checked_item,
    checked_object,
    checked_text,
    load_document,
    shown,
)
from hydra_ml.tasks import TASKS
from hydra_ml.tasks.answers import whole_number
from hydra_ml.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a LaMP file with the history it may be answered from."""

    question_id: str
    input: str  # template included
    profile: tuple[dict[str, str], ...]  # raw items with "id", the task's keys and, in dated files, "date"
    user_id: str | None = None  # None in undated (user-based) files
    date: str = ""  # "" where the file has none; official files date only their items


def questions_path(folder: Path, split: str) -> Path:
    """Where a task folder keeps a split's questions."""
    return folder / split / f"{split}_questions.json"


def outputs_path(folder: Path, split: str) -> Path:
    """Where a task folder keeps a split's gold answers."""
    return folder / split / f"{split}_outputs.json"


def split_files(folder: Path, split: str) -> dict[str, Path]:
    """Both files of a split: "questions" and "outputs"."""
    return {"questions": questions_path(folder, split), "outputs": outputs_path(folder, split)}


def read_questions(path: Path, task: Task) -> list[Question]:
    """The questions of a file, in file order, every text checked. Raises DataError that lists what is wrong with it."""
    document = _question_list(path)
    held = _held_task(document)
    if held is not None and held.folder != task.folder:
        twins = " LaMP calls both of these tasks LaMP_2." if {held.folder, task.folder} == {"LaMP_2", "LaMP_2N"} else ""
        raise DataError(
            f"{path}: holds questions of {held.name} (the first reads {shown(_first_input(document))}), not of "
            f"{task.name}.{twins} Put these files into a folder named {held.folder}."
        )
    problems = Problems(path)
    dated = any(isinstance(entry, dict) and "user_id" in entry for entry in document)
    questions: list[Question] = []
    first_index: dict[str, int] = {}
    for index, raw in enumerate(document):
        question = _checked_question(raw, index, task, dated, problems)
        if question is None:
            continue
        earlier = first_index.setdefault(question.question_id, index)
        if earlier != index:
            problems.add(f"question {question.question_id!r}", f"id repeated: entries {earlier} and {index}")
        questions.append(question)
    problems.raise_if_any(_remedy(task))
    return questions


def read_golds(path: Path) -> dict[str, str]:
    """Gold answers by question id, from an outputs file. Raises DataError that lists what is wrong with it."""
    document = load_document(path)
    golds = document.get("golds") if isinstance(document, dict) else None
    if not isinstance(golds, list):
        found = f"an object with {shown(list(document))}" if isinstance(document, dict) else shown(document)
        raise DataError(
            f"{path}: top level is {found}; an outputs file is an object "
            '{"task": "LaMP_n", "golds": [{"id": ..., "output": ...}, ...]}.'
        )
    problems = Problems(path)
    answers: dict[str, str] = {}
    for index, raw in enumerate(golds):
        entry = checked_object(raw, f"gold {index}", problems)
        if entry is None:
            continue
        question_id = checked_text(entry, "id", f"gold {index}", problems)
        if question_id in answers:
            problems.add(f"gold {question_id!r}", f"id repeated at entry {index}")
        answers[question_id] = checked_text(entry, "output", f"gold {question_id or index!r}", problems)
    problems.raise_if_any("Mend or remove these golds, and their questions with them.")
    return answers


def read_split(
    folder: Path, split: str, task: Task, *, need_golds: bool = True
) -> tuple[list[Question], dict[str, str]]:
    """Questions and golds (by question id) of `folder/split`, matched one to one; scores as whole numbers.

    With `need_golds` False a missing outputs file gives {}; one that is there must match all the same.
    Raises DataError naming the ids that stand on one side only, and golds outside a closed answer set.
    """
    questions = read_questions(questions_path(folder, split), task)
    path = outputs_path(folder, split)
    if not need_golds and not path.exists():
        return questions, {}
    golds = read_golds(path)
    if task.kind == "rating":
        golds = {question_id: whole_number(gold) for question_id, gold in golds.items()}
    problems = Problems(path)
    asked = {question.question_id for question in questions}
    for question in questions:
        if question.question_id not in golds:
            problems.add(f"question {question.question_id!r}", "has no gold here")
    for question_id, gold in golds.items():
        if question_id not in asked:
            problems.add(f"gold {question_id!r}", f"belongs to no question of {split}_questions.json")
        if task.labels and gold not in task.labels:
            problems.add(f"gold {question_id!r}", f"answer {shown(gold)} is outside the task's set")
    problems.raise_if_any(f"Questions and outputs must name the same ids. {_remedy(task)}")
    return questions, golds


def is_dated(questions: Sequence[Question]) -> bool:
    """Whether these are time-based questions (user ids, dated items); False if there are none. DataError if mixed."""
    with_user = sum(question.user_id is not None for question in questions)
    if 0 < with_user < len(questions):
        odd = next(question.question_id for question in questions if question.user_id is None)
        raise DataError(
            f"{with_user} of {len(questions)} questions have a user_id, question {odd!r} has none: time-based and "
            "user-based files cannot be mixed. Keep each kind in a data folder of its own."
        )
    return with_user > 0


def write_split(
    folder: Path, split: str, task: Task, questions: Sequence[Question], golds: Mapping[str, str] | None
) -> None:
    """Write a split as LaMP does, one question a line, both files or neither; `golds` None leaves no outputs file."""
    official = task.folder.removesuffix("N")  # LaMP's own outputs call news categories LaMP_2 too
    with ExitStack() as files:
        asked = files.enter_context(atomic_path(questions_path(folder, split)))
        asked.write_text(f"[{_json_lines([_entry(question) for question in questions])}]\n", "utf-8")
        if golds is not None:
            answered = files.enter_context(atomic_path(outputs_path(folder, split)))
            answers = _json_lines([{"id": question_id, "output": gold} for question_id, gold in golds.items()])
            answered.write_text(f'{{"task": {json.dumps(official)}, "golds": [{answers}]}}\n', "utf-8")
    if golds is None:
        outputs_path(folder, split).unlink(missing_ok=True)


def _question_list(path: Path) -> list[Any]:
    document = load_document(path)
    if not isinstance(document, list):
        raise DataError(
            f"{path}: top level is {shown(document)}; a questions file is a list of "
            '{"id": ..., "input": ..., "profile": [...]}. Are questions and outputs swapped?'
        )
    if not document:
        raise DataError(f"{path}: holds no question.")
    return document


def _checked_question(raw: object, index: int, task: Task, dated: bool, problems: Problems) -> Question | None:
    """One entry as a Question; None, with problems noted, if it is not fit."""
    entry = checked_object(raw, f"question {index}", problems)
    if entry is None:
        return None
    question_id = checked_text(entry, "id", f"question {index}", problems)
    where = f"question {question_id!r}" if question_id else f"question {index}"
    text = checked_text(entry, "input", where, problems)
    user_id = checked_text(entry, "user_id", where, problems) if dated else None
    date = checked_date(entry, where, problems) if "date" in entry else ""
    profile = entry.get("profile")
    if not isinstance(profile, list):
        problems.add(where, f"'profile' is {shown(profile)}, not a list" if "profile" in entry else "lacks 'profile'")
        return None
    items = [
        item
        for number, raw_item in enumerate(profile)
        if (item := checked_item(raw_item, task, dated, f"{where}, item {number}", problems)) is not None
    ]
    if len({item["id"] for item in items}) < len(items):
        twice = [item_id for item_id, count in Counter(item["id"] for item in items).items() if count > 1]
        problems.add(where, f"profile repeats the item id(s) {', '.join(map(repr, twice[:5]))}")
    return Question(question_id, text, tuple(items), user_id, date) if question_id else None


def _held_task(document: Sequence[Any]) -> Task | None:
    """The task most inputs' first words name; without any, the one task whose item keys these are; else None."""
    inputs = (entry.get("input") for entry in document if isinstance(entry, dict))
    votes = Counter(asked.folder for text in inputs if isinstance(text, str) and (asked := _asked_task(text)))
    if votes:
        return TASKS[votes.most_common(1)[0][0]]
    profiles = (entry.get("profile") for entry in document if isinstance(entry, dict))
    item = next((profile[0] for profile in profiles if isinstance(profile, list) and profile), None)
    keys = set(item) - {"id", "date"} if isinstance(item, dict) else set()
    fitting = [task for task in TASKS.values() if set(task.item_keys) == keys]
    return fitting[0] if len(fitting) == 1 else None  # LaMP-1 and 5, and 4 and 6, share their keys


def _asked_task(input: str) -> Task | None:
    return next((task for task in TASKS.values() if task.asks(input)), None)


def _first_input(document: Sequence[Any]) -> object:
    return document[0].get("input") if isinstance(document[0], dict) else document[0]


def _remedy(task: Task) -> str:
    allowed = f"Allowed answers: {', '.join(task.labels)}. " if task.labels else ""
    return f"{allowed}Mend or remove these records, or fetch the file again."


def _entry(question: Question) -> dict[str, Any]:
    """A question as its file spells it: user_id and date only where there are any."""
    entry: dict[str, Any] = {"id": question.question_id}
    if question.user_id is not None:
        entry["user_id"] = question.user_id
    if question.date:
        entry["date"] = question.date
    return {**entry, "input": question.input, "profile": list(question.profile)}


def _json_lines(entries: Sequence[Mapping[str, Any]]) -> str:
    """The entries as JSON, a line each."""
    return ",".join("\n" + json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in entries) + "\n"

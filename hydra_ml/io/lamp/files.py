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
    Leave,
    Problems,
    checked_date,
    checked_item,
    checked_object,
    checked_text,
    drop_empty_dates,
    load_document,
    shown,
)
from hydra_ml.io.lamp.folders import files_of
from hydra_ml.io.record_reader import has_date
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


def read_questions(path: Path, task: Task, leave: Leave | None = None) -> list[Question]:
    """The questions of a file, in file order, every text checked. Raises DataError that lists what is wrong with it.

    leave: what may be left out; None for nothing. With it, a file that names users may date none of their items.
    """
    document = _question_list(path)
    held = _held_task(document)
    if held is not None and held.folder != task.folder:
        twins = " LaMP calls both of these tasks LaMP_2." if {held.folder, task.folder} == {"LaMP_2", "LaMP_2N"} else ""
        raise DataError(
            f"{path}: holds questions of {held.name} (the first reads {shown(_first_input(document))}), not of "
            f"{task.name}.{twins} Put these files into a folder named {held.folder}."
        )
    problems = Problems(path, leave)
    dated = any(isinstance(entry, dict) and "user_id" in entry for entry in document)
    if leave is not None and dated and drop_empty_dates(document):
        leave.undated.append(path)
        item_dated = False
    else:
        item_dated = dated
    questions: list[Question] = []
    first_index: dict[str, int] = {}
    for index, raw in enumerate(document):
        question = _checked_question(raw, index, task, (dated, item_dated), problems)
        if question is None:
            continue
        earlier = first_index.setdefault(question.question_id, index)
        if earlier != index:
            problems.add(
                f"question {question.question_id!r}", f"id repeated: entries {earlier} and {index}", fatal=True
            )
        questions.append(question)
    problems.raise_if_any(_remedy(task))
    return questions


def read_golds(path: Path, leave: Leave | None = None) -> dict[str, str]:
    """Gold answers by question id, from an outputs file; without space around them. leave: as for `read_questions`.
    Raises DataError that lists what is wrong with it."""
    document = load_document(path)
    golds = document.get("golds") if isinstance(document, dict) else None
    if not isinstance(golds, list):
        found = f"an object with {shown(list(document))}" if isinstance(document, dict) else shown(document)
        raise DataError(
            f"{path}: top level is {found}; an outputs file is an object "
            '{"task": "LaMP_n", "golds": [{"id": ..., "output": ...}, ...]}.'
        )
    problems = Problems(path, leave)
    problems.n_records = len(golds)
    answers: dict[str, str] = {}
    for index, raw in enumerate(golds):
        entry = checked_object(raw, f"gold {index}", problems)
        if entry is None:
            continue
        question_id = checked_text(entry, "id", f"gold {index}", problems)
        if question_id in answers:
            problems.add(f"gold {question_id!r}", f"id repeated at entry {index}", fatal=True)
        answer = checked_text(entry, "output", f"gold {question_id or index!r}", problems).strip()
        if leave is not None and not answer:
            leave.question_ids.add(question_id)
        else:
            answers[question_id] = answer
    problems.raise_if_any("Mend or remove these golds, and their questions with them.")
    return answers


def read_split(
    folder: Path, split: str, task: Task, *, need_golds: bool = True, leave: Leave | None = None
) -> tuple[list[Question], dict[str, str]]:
    """Questions and golds (by question id) of `folder/split`, matched one to one; scores as whole numbers.

    With `need_golds` False a missing outputs file gives {}; one that is there must match all the same.
    Raises DataError naming the ids that stand on one side only, and golds outside a closed answer set. leave: as for
    `read_questions`; a question and its gold are left out together.
    """
    files = files_of(folder, split)
    path = files["outputs"]
    if leave is not None:
        leave.question_ids.clear()
    questions = read_questions(files["questions"], task, leave)
    if not need_golds and not path.exists():
        return questions, {}
    golds = read_golds(path, leave)
    if task.kind == "rating":
        golds = {question_id: whole_number(gold) for question_id, gold in golds.items()}
    left = set() if leave is None else leave.question_ids
    problems = Problems(path, leave)
    problems.n_records = len({*golds, *(question.question_id for question in questions)})
    _check_match(questions, golds, task, left, problems)
    problems.raise_if_any(f"Questions and outputs must name the same ids. {_remedy(task)}")
    if leave is not None:
        questions = [question for question in questions if question.question_id not in left]
        golds = {question.question_id: golds[question.question_id] for question in questions}
    return questions, golds


def _check_match(
    questions: Sequence[Question], golds: Mapping[str, str], task: Task, left: set[str], problems: Problems
) -> None:
    """Note what stands on one side only and golds outside a closed set; adds their ids to those left out."""
    asked = {question.question_id for question in questions}
    bad = set()
    for question_id in (question.question_id for question in questions):
        if question_id not in golds and question_id not in left:
            problems.add(f"question {question_id!r}", "has no gold here")
            bad.add(question_id)
    for question_id, gold in golds.items():
        if question_id in left:
            continue
        if question_id not in asked:
            problems.add(f"gold {question_id!r}", f"belongs to no question of {problems.path.name[:-12]}questions.json")
            bad.add(question_id)
        if task.labels and gold not in task.labels:
            problems.add(f"gold {question_id!r}", f"answer {shown(gold)} is outside the task's set")
            bad.add(question_id)
    left |= bad


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


def _checked_question(
    raw: object, index: int, task: Task, dated: tuple[bool, bool], problems: Problems
) -> Question | None:
    """One entry as a Question without its unfit items; None, with problems noted, if it is not fit. dated: whether it
    must name its user, and whether items must have dates."""
    problems.n_records += 1
    before = problems.count
    entry = checked_object(raw, f"question {index}", problems)
    if entry is None:
        return None
    question_id = checked_text(entry, "id", f"question {index}", problems)
    where = f"question {question_id!r}" if question_id else f"question {index}"
    text = checked_text(entry, "input", where, problems)
    user_id = checked_text(entry, "user_id", where, problems) if dated[0] else None
    date = checked_date(entry, where, problems) if has_date(entry) else ""
    profile = entry.get("profile")
    if not isinstance(profile, list):
        problems.add(where, f"'profile' is {shown(profile)}, not a list" if "profile" in entry else "lacks 'profile'")
        profile = []
    is_fit = problems.count == before
    problems.n_records += len(profile)
    items = [
        item
        for number, raw_item in enumerate(profile)
        if (item := checked_item(raw_item, task, dated[1], f"{where}, item {number}", problems)) is not None
    ]
    if len({item["id"] for item in items}) < len(items):
        twice = [item_id for item_id, count in Counter(item["id"] for item in items).items() if count > 1]
        problems.add(where, f"profile repeats the item id(s) {', '.join(map(repr, twice[:5]))}")
        is_fit = False
    if not is_fit and problems.leave is not None:
        problems.leave.question_ids.add(question_id)
    return Question(question_id, text, tuple(items), user_id, date) if question_id and is_fit else None


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

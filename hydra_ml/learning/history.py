"""A user's history pooled from questions, who learns and who is new, and which records must stay out of training.

Knows nothing of files or tables: `stages.prepare` reads and writes them, `pseudo_queries` turns histories into rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hydra_ml.params import Prepare
from hydra_ml.records import Cohort, Record, content_digest, normalized
from hydra_ml.tasks.task import Item, Task


class LampQuestion(Protocol):
    """A question as LaMP's files hold it (`io.lamp.files.Question` is one)."""

    @property
    def question_id(self) -> str: ...
    @property
    def input(self) -> str: ...
    @property
    def profile(self) -> Sequence[Item]: ...
    @property
    def date(self) -> str: ...


@dataclass(frozen=True)
class Cohorts:
    """Whom bases learn from, and whose questions are evaluated."""

    known: frozenset[str]
    evaluated: frozenset[str]

    def of(self, user_id: str) -> Cohort:
        """ "known" if bases learn from this user, else "new"."""
        return "known" if user_id in self.known else "new"


@dataclass(frozen=True)
class History:
    """One user's records, and which of them each question was given."""

    records: Sequence[Record]  # oldest first; undated: in file order
    profiles: Mapping[str, np.ndarray]  # question id -> ascending positions in `records` of that question's own profile


@dataclass(frozen=True)
class Evaluated:
    """What the evaluated questions ask and answer, normalized: nothing equal to it may be learned from."""

    texts: frozenset[str]
    answers: frozenset[str]  # empty for closed answer sets, where equal answers mean nothing


def seeded_number(seed: int, *names: str) -> int:
    """A number that looks drawn (128 bits) but depends on the seed and the names alone."""
    return int(content_digest("\x1f".join((str(seed), *names))), 16)


def draw(user_ids: Iterable[str], count: int | None, *, seed: int, purpose: str) -> list[str]:
    """`count` of the users (None: all) in drawn order, which depends neither on their order here nor on each other."""
    return sorted(set(user_ids), key=lambda user_id: seeded_number(seed, purpose, user_id))[:count]


def draw_order(query_id: str, seed: int) -> str:
    """A query's luck where `draws.draw_per_user` draws a few of a user's: the lowest are drawn."""
    return content_digest(f"{seed} {query_id}")


def choose_cohorts(
    train_users: Collection[str], evaluate_users: Collection[str], params: Prepare, *, dated: bool, seed: int
) -> Cohorts:
    """Who is known and who is evaluated.

    Undated files: the train split's users are known, the evaluated split's are new. Dated files hold the same users in
    both: a share `new_user_share` of the evaluated ones is new; of the rest at most `train_users` are known, evaluated
    users first, so that known-user quality can be measured. Whoever finds no place among them counts as new.
    """
    evaluated = draw(evaluate_users, params.evaluate_users, seed=seed, purpose="evaluate")
    if not dated:
        known = draw(train_users, params.train_users, seed=seed, purpose="train")
        return Cohorts(frozenset(known), frozenset(evaluated))
    new = draw(evaluated, round(params.new_user_share * len(evaluated)), seed=seed, purpose="new")
    learners = draw(set(evaluated) - set(new), None, seed=seed, purpose="train")
    others = draw({*train_users, *evaluate_users} - set(evaluated), None, seed=seed, purpose="train")
    return Cohorts(frozenset([*learners, *others][: params.train_users]), frozenset(evaluated))


def pool_history(
    task: Task,
    user_id: str,
    questions: Sequence[LampQuestion],
    *,
    chosen: Sequence[LampQuestion],
    limit: int,
    arrived: Sequence[Record] = (),
) -> History:
    """The user's history over all their questions, each item once, oldest first.

    Kept are the `limit` newest records of the user and of the own profile of each question in `chosen` (the evaluated
    ones), lest those asked early lose their history to later ones. Items with equal text, answer and date are one.
    Records that `arrived` after the files join the history, but no question's own profile.
    """
    records: dict[str, Record] = {}  # by id, in order of first appearance
    given: dict[str, set[str]] = {}  # question id -> record ids
    read: dict[tuple[str, ...], Record] = {}  # questions of one user repeat most items: read each once
    for question in questions:
        given[question.question_id] = set()
        for item in question.profile:
            content = (item.get("date", ""), *(item[key] for key in task.item_keys))
            if content not in read:
                read[content] = read_record(task, user_id, item)
            record = records.setdefault(read[content].record_id, read[content])
            given[question.question_id].add(record.record_id)
    for record in arrived:
        records.setdefault(record.record_id, record)
    ordered = sorted(records.values(), key=lambda record: record.date)  # stable: equal dates by first appearance
    own = {
        question_id: np.array([i for i, record in enumerate(ordered) if record.record_id in ids], dtype=np.int64)
        for question_id, ids in given.items()
    }
    kept = np.zeros(len(ordered), dtype=bool)
    kept[-limit:] = True
    for question in chosen:
        kept[own[question.question_id][-limit:]] = True
    position = np.cumsum(kept) - 1  # of a kept record among the kept
    profiles = {question_id: position[some[kept[some]]] for question_id, some in own.items()}
    return History([record for record, keep in zip(ordered, kept, strict=True) if keep], profiles)


def read_record(task: Task, user_id: str, item: Item) -> Record:
    """The record that a raw history item is; its id names the content, whatever id the file gave the item."""
    text, answer, date = task.record_text(item), task.record_answer(item), item.get("date", "")
    return made_record(user_id, text=text, input=task.record_input(item), answer=answer, date=date)


def made_record(user_id: str, *, text: str, input: str, answer: str, date: str) -> Record:
    """A record whose id names its content."""
    content = "\x1f".join((user_id, normalized(text), normalized(answer), date))
    return Record(content_digest(content)[:16], user_id, text, input, answer, date)


def strictly_earlier(date: str, than: str) -> bool:
    """Whether `date` surely lies before `than`: not if blank, equal, or a shorter form of the same day ("2020-05")."""
    return date < than and not than.startswith(date)


def record_asks(task: Task, record: Record) -> str:
    """What the record asks when it is made a pseudo-query, normalized: equal ones are the same question."""
    return normalized(task.query_text(record.input))


def question_asks(task: Task, input: str) -> frozenset[str]:
    """The normalized texts that a record must not repeat to be shown to this question: its text, or both references."""
    if task.kind == "choice":
        return frozenset(normalized(task.answer_text(label, input)) for label in task.labels)
    return frozenset({normalized(task.query_text(input))})


def evaluated_content(task: Task, questions: Sequence[LampQuestion], golds: Mapping[str, str]) -> Evaluated:
    """What no training row may hold, from every question of the evaluated split, drawn for evaluation or not."""
    texts = {text for question in questions for text in question_asks(task, question.input)}
    texts |= {normalized(task.query_text(question.input)) for question in questions}
    # Two users do not write the same free text by chance: an equal answer is the same item (co-authors, reposts).
    answers = {normalized(golds[question.question_id]) for question in questions} if task.kind == "text" else set()
    return Evaluated(frozenset(texts), frozenset(answers))


def held_out(task: Task, records: Sequence[Record], evaluated: Evaluated) -> np.ndarray:
    """bool [R]: records that ask or answer the same as some evaluated question, of whatever user."""
    same = [record_asks(task, r) in evaluated.texts or normalized(r.answer) in evaluated.answers for r in records]
    return np.array(same, dtype=bool)


def too_late(records: Sequence[Record], evaluated: Sequence[LampQuestion]) -> np.ndarray:
    """bool [R]: a user's dated records that are not strictly earlier than all of that user's evaluated questions.

    A question without a date lies after the newest record of its profile; one without either, before everything.
    """
    late = np.zeros(len(records), dtype=bool)
    for question in evaluated:
        if question.date:
            found = [not strictly_earlier(record.date, question.date) for record in records]
        else:
            newest = max((item.get("date", "") for item in question.profile), default="")
            found = [not "" < record.date <= newest for record in records]
        late |= np.array(found, dtype=bool)  # typed: an empty list would not be one of bool
    return late

"""What would give an answer away: checks of tables as they lie, whatever wrote them.

`stages.validate` applies the contracts to what queries may see, `stages.evaluate` to what prompts showed. The rules
that `prepare` follows stand in `history`; a breach of one is a fault. Repeats by chance or by habit, which real files
hold, are nobody's fault and are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hydra_ml.learning.history import question_asks, strictly_earlier
from hydra_ml.records import Message, Record, normalized
from hydra_ml.tasks.task import Task

# What must hold of a query and what it may see, by the name of `query_contracts`.
QUERY_CONTRACTS = {
    "profile_is_own": "profile holds records of the query's own user only",
    "profile_lacks_source": "profile lacks the record that the query was made from",
    "profile_lacks_own_text": "profile holds no record that asks what the query asks",
    "profile_is_earlier": "profile holds only records strictly earlier than a dated query",
    "profile_may_be_learned": "profile of a train row holds no held-out record",
    "text_may_be_learned": "text of a train row equals no evaluated text",
}
SHINGLE = 3  # words in a row
NEAR = 0.8  # from this share of common shingles on, two texts are near duplicates


def query_contracts(queries: pd.DataFrame, records: pd.DataFrame, task: Task, *, dated: bool) -> dict[str, list[bool]]:
    """The columns QUERY_CONTRACTS, True where the contract holds."""
    queries = queries.fillna({"text": "", "input": "", "date": "", "source_record_id": ""})
    records = records.fillna({"input": "", "date": ""})
    asked = [normalized(task.query_text(input)) for input in records["input"]]
    own: dict[str, dict[str, tuple[str, str, bool]]] = {}  # user -> record -> what it asks, its date, held out
    for user_id, record_id, *facts in zip(
        records["user_id"], records["record_id"], asked, records["date"], records["held_out"], strict=True
    ):
        own.setdefault(user_id, {})[record_id] = (facts[0], facts[1], bool(facts[2]))
    is_train = queries["role"] == "train"
    evaluated = {normalized(text) for text in queries.loc[~is_train, "text"]}

    columns: dict[str, list[bool]] = {name: [] for name in QUERY_CONTRACTS}
    names = ("user_id", "source_record_id", "input", "text", "date", "profile")
    for train, user_id, source, input, text, date, profile in zip(is_train, *(queries[n] for n in names), strict=True):
        history = own.get(user_id, {})
        seen = [history[record_id] for record_id in profile if record_id in history]
        asks = question_asks(task, input)
        columns["profile_is_own"].append(len(seen) == len(profile))
        columns["profile_lacks_source"].append(source not in profile)
        columns["profile_lacks_own_text"].append(not any(ask in asks for ask, _, _ in seen))
        # Official time-based files date records only: a question's own profile is earlier by the file's word.
        exempt = not dated or (not date and not source)
        columns["profile_is_earlier"].append(exempt or all(strictly_earlier(day, date) for _, day, _ in seen))
        columns["profile_may_be_learned"].append(not train or not any(held for _, _, held in seen))
        columns["text_may_be_learned"].append(not train or normalized(text) not in evaluated)
    return columns


def shingles(text: str) -> frozenset[str]:
    """Every run of SHINGLE words of the normalized text; a shorter text is one shingle. Empty for none."""
    words = normalized(text).split()
    if len(words) <= SHINGLE:
        return frozenset({" ".join(words)} if words else ())
    return frozenset(" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1))


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard similarity of two shingle sets, exact; 0 if either is empty. What MinHash would estimate."""
    return len(one & other) / len(one | other) if one and other else 0.0


@dataclass(frozen=True)
class Repeats:
    """Queries that something in their own profile or wording nearly gives away, by id, in the order of the queries."""

    near_duplicates: list[str]  # a record asks nearly what the query asks
    repeated_answers: list[str]  # free texts: a record's answer is the gold answer, word for word
    quoted_answers: list[str]  # free texts: the question's own text holds the gold answer


def repeats(queries: pd.DataFrame, records: pd.DataFrame, task: Task) -> Repeats:
    """What repeats itself, for rows query_id, user_id, input, gold, profile and rows user_id, record_id, input, answer.

    A profile is a few dozen records, so every pair is compared.
    """
    own: dict[str, dict[str, tuple[frozenset[str], str]]] = {}  # user -> record -> what it asks, its answer
    columns = (records[name] for name in ("user_id", "record_id", "input", "answer"))
    for user_id, record_id, input, answer in zip(*columns, strict=True):
        own.setdefault(user_id, {})[record_id] = (shingles(task.query_text(input)), normalized(answer))
    found = Repeats([], [], [])
    columns = (queries[name] for name in ("query_id", "user_id", "input", "gold", "profile"))
    for query_id, user_id, input, gold, profile in zip(*columns, strict=True):
        history = own.get(user_id, {})
        seen = [history[record_id] for record_id in profile if record_id in history]
        asks = [shingles(ask) for ask in question_asks(task, input)]
        if any(likeness(ask, of_record) >= NEAR for ask in asks for of_record, _ in seen):
            found.near_duplicates.append(query_id)
        answer = normalized(gold)
        if task.kind == "text" and answer:
            if any(answer == given for _, given in seen):
                found.repeated_answers.append(query_id)
            if answer in normalized(task.query_text(input)):
                found.quoted_answers.append(query_id)
    return found


def is_told(messages: Sequence[Message], input: str, shown: Sequence[Record], gold: str, task: Task) -> bool:
    """Whether the prompt holds the gold answer anywhere but in the question's own input and in the records shown."""
    answers = {record.answer for record in shown}
    rest = "\n".join(message["content"] for message in messages if message["content"] not in answers)
    inputs = [input, *(record.input for record in shown)]
    asked = {way(text) for text in inputs for way in (str, task.asked, task.query_text)}
    for text in sorted(filter(None, asked), key=len, reverse=True):  # the longest first: some hold others
        rest = rest.replace(text, "\n")
    return bool(normalized(gold)) and normalized(gold) in normalized(rest)

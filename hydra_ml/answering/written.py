"""What an LLM writes of a user before that user's questions are answered: a profile, a memory, a table of factors.

A writing asks in rounds, all users at once, and makes of the replies one text, which then stands first in the prompts
of the arms that name it. It reads the user's own records alone, those that every evaluated question of theirs may see.
Knows no files and no client: whoever asks is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from hydra_ml.llm.chat import Ask, Reply
from hydra_ml.records import GREEDY, Record, content_digest
from hydra_ml.tasks.task import Task

Rounds = Generator[
    list[str], list[str], str
]  # prompts of a round; a reply to each, "" if it failed; in the end the text
WRITTEN_COLUMNS = ("writing", "user_id", "text", "read", "n_failed", "tokens_in", "tokens_out")


@dataclass(frozen=True)
class Writing:
    """One way to have a text written of a user."""

    name: str
    rounds: Callable[[Task, Sequence[Record], int], Rounds]  # of a user's records, some, oldest first; and the seed
    reply_tokens: int  # of each reply, at most
    longest: int  # characters of the text, at most


AskRound = Callable[[list[Ask], Writing], Sequence[Reply]]  # a reply per ask of a round


def brief_record(record: Record, task: Task, words: int) -> str:
    """A record as a line of a prompt: what it asked, cut to so many words, and the user's answer where it has one."""
    asked = " ".join(task.query_text(record.input).split()[:words])
    return f'"{asked}" => {record.answer}' if record.answer else f'"{asked}"'


def readable_records(queries: pd.DataFrame, records: pd.DataFrame) -> dict[str, list[Record]]:
    """By user of an evaluated query the records that each of these queries may see, oldest first: earlier than all of
    them, and none that asks what one of them asks. queries: role, user_id, profile."""
    seen: dict[str, set[str]] = {}
    evaluated = queries[queries["role"] == "evaluate"]
    for user_id, profile in zip(evaluated["user_id"], evaluated["profile"], strict=True):
        seen[user_id] = seen[user_id] & set(profile) if user_id in seen else set(profile)
    found: dict[str, list[Record]] = {user_id: [] for user_id in sorted(seen)}
    columns = (records[name] for name in ("record_id", "user_id", "text", "input", "answer", "date"))
    for record_id, user_id, *facts in zip(*columns, strict=True):
        if record_id in seen.get(user_id, ()):
            found[user_id].append(Record(record_id, user_id, *facts))
    return found


def write_texts(
    writings: Iterable[Writing], readable: Mapping[str, Sequence[Record]], task: Task, ask: AskRound, *, seed: int
) -> pd.DataFrame:
    """WRITTEN_COLUMNS, a row per writing and user; text "" and nothing asked for users without records. read: ids of
    the records that the text may be from."""
    rows = [row for writing in writings for row in _write(writing, readable, task, ask, seed)]
    return pd.DataFrame(rows, columns=list(WRITTEN_COLUMNS))


def _write(
    writing: Writing, readable: Mapping[str, Sequence[Record]], task: Task, ask: AskRound, seed: int
) -> list[dict[str, object]]:
    rows = {
        user_id: {"writing": writing.name, "user_id": user_id, "text": "", "read": [r.record_id for r in records]}
        for user_id, records in readable.items()
    }
    counts = {user_id: dict.fromkeys(("n_failed", "tokens_in", "tokens_out"), 0) for user_id in rows}
    running = {user_id: writing.rounds(task, records, seed) for user_id, records in readable.items() if records}
    heard: dict[str, list[str]] = {}
    while running:
        asked: dict[str, list[str]] = {}
        for user_id, rounds in list(running.items()):
            try:
                asked[user_id] = rounds.send(heard[user_id]) if user_id in heard else next(rounds)
            except StopIteration as end:
                rows[user_id]["text"] = str(end.value).strip()[: writing.longest]
                del running[user_id]
        asks = [
            Ask(({"role": "user", "content": prompt},), max_tokens=writing.reply_tokens, seed=seed, user_id=user_id)
            for user_id, prompts in asked.items()
            for prompt in prompts
        ]
        replies = iter(ask(asks, writing) if asks else ())
        for user_id, prompts in asked.items():
            own = [next(replies) for _ in prompts]
            heard[user_id] = [reply.answers[0].strip() for reply in own]
            counts[user_id]["n_failed"] += sum(reply.error != "" for reply in own)
            counts[user_id]["tokens_in"] += sum(reply.tokens_in for reply in own)
            counts[user_id]["tokens_out"] += sum(reply.tokens_out for reply in own)
    return [{**row, **counts[user_id]} for user_id, row in rows.items()]


def writing_bill(written: pd.DataFrame, queries: pd.DataFrame, arms: Mapping[str, str]) -> pd.DataFrame:
    """What writing took as rows of `answer_table` that a bill counts: each user's under their first evaluated query.
    arms: by name of an arm its writing's."""
    first = queries.drop_duplicates("user_id").set_index("user_id")["query_id"]
    asked = written[written["user_id"].isin(first.index) & (written["tokens_in"] > 0)]
    parts = [asked[asked["writing"] == writing].assign(arm=arm) for arm, writing in arms.items()]
    rows = pd.concat([asked.iloc[:0].assign(arm=""), *parts], ignore_index=True)
    prompts = [
        content_digest(f"{writing} {user}") for writing, user in zip(rows["writing"], rows["user_id"], strict=True)
    ]
    rows = rows.assign(query_id=rows["user_id"].map(first), prompt=prompts, sample_idx=GREEDY)
    return rows[["query_id", "arm", "prompt", "sample_idx", "tokens_in", "tokens_out"]]

"""From queries and chosen records to the LLM's chats: one place, so training and serving prompts cannot differ.

Knows nothing of how records were chosen or who answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from hydra_ml.records import Message, Record
from hydra_ml.tasks.task import Task

RecordBook = Mapping[tuple[str, str], Record]  # (user_id, record_id) -> record


def record_book(records: pd.DataFrame) -> RecordBook:
    """Every record by user and id: a prompt can only be built from the query's own user's records."""
    columns = (records[name] for name in ("record_id", "user_id", "text", "input", "answer", "date"))
    return {
        (record.user_id, record.record_id): record for record in (Record(*row) for row in zip(*columns, strict=True))
    }


def top_records(ranking: pd.DataFrame, k: int) -> dict[str, list[str]]:
    """The first k record ids of each query, best first, from rows query_id, rank (0-based), record_id."""
    top = ranking[ranking["rank"] < k].sort_values(["query_id", "rank"])
    return {str(query_id): ids.tolist() for query_id, ids in top.groupby("query_id")["record_id"]}


def build_prompts(
    queries: pd.DataFrame, demos: Sequence[Sequence[str]], book: RecordBook, task: Task
) -> list[list[Message]]:
    """One chat per query row (user_id, input), with the records named in `demos` (same order) as demos, best first."""
    return [
        task.messages(input, [book[user_id, record_id] for record_id in record_ids])
        for user_id, input, record_ids in zip(queries["user_id"], queries["input"], demos, strict=True)
    ]


def parse_answers(answers: Sequence[str], inputs: Sequence[str], task: Task) -> tuple[list[str], list[bool]]:
    """Answers in the task's own spelling, and whether each could be parsed; one that could not stays as it came."""
    parsed = [task.parse_answer(answer, input) for answer, input in zip(answers, inputs, strict=True)]
    kept = [raw.strip() if value is None else value for raw, value in zip(answers, parsed, strict=True)]
    return kept, [value is not None for value in parsed]

"""From queries and chosen records to the LLM's chats, and from its replies to answers: one place, so that training and
serving cannot differ.

Knows nothing of how records were chosen or who answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hydra_ml.errors import LLMError
from hydra_ml.llm.chat import Ask, Reply
from hydra_ml.params import Generate
from hydra_ml.records import GREEDY, Message, PromptForm, Reading, Record, content_digest
from hydra_ml.tasks.task import Task

ANSWER_COLUMNS = (
    "query_id",
    "arm",
    "prompt",
    "sample_idx",
    "answer",
    "is_parsed",
    "error",
    "n_dropped",
    "tokens_in",
    "tokens_out",
)
RecordBook = Mapping[tuple[str, str], Record]  # (user_id, record_id) -> record


def record_book(records: pd.DataFrame) -> RecordBook:
    """Every record by user and id: a prompt can only be built from the query's own user's records."""
    columns = (records[name] for name in ("record_id", "user_id", "text", "input", "answer", "date"))
    return {
        (record.user_id, record.record_id): record for record in (Record(*row) for row in zip(*columns, strict=True))
    }


def top_records(ranking: pd.DataFrame, k: int, column: str = "record_id") -> dict[str, list[str]]:
    """The first k record ids of each query, best first, from rows query_id, rank (0-based), record_id; or what another
    column says of these."""
    top = ranking[ranking["rank"] < k].sort_values(["query_id", "rank"])
    return {str(query_id): ids.tolist() for query_id, ids in top.groupby("query_id")[column]}


def build_prompts(
    queries: pd.DataFrame,
    demos: Sequence[Sequence[str]],
    book: RecordBook,
    task: Task,
    form: PromptForm,
    texts: Sequence[str] | None = None,
) -> list[list[Message]]:
    """One chat per query row (user_id, input), with the records named in `demos` (same order) as demos, best first; a
    text of `texts` that says something stands before it all, as a system turn. Records are the query's own user's,
    unless the row says whose (owners)."""
    chats = [
        task.messages(input, records, form)
        for input, records in zip(queries["input"], shown_records(queries, demos, book), strict=True)
    ]
    return chats if texts is None else [_headed(text, chat) for text, chat in zip(texts, chats, strict=True)]


def _headed(text: str, chat: list[Message]) -> list[Message]:
    """The chat with a text first, in its one system turn."""
    if not text:
        return chat
    own = chat[0]["content"] if chat[0]["role"] == "system" else ""
    said = "\n\n".join(filter(None, (text, own)))
    return [{"role": "system", "content": said}, *(chat[1:] if own else chat)]


def shown_records(queries: pd.DataFrame, demos: Sequence[Sequence[str]], book: RecordBook) -> list[list[Record]]:
    """The records that each row of `build_prompts` shows."""
    if "owners" in queries:
        owners = queries["owners"].tolist()
    else:
        owners = [[user_id] * len(ids) for user_id, ids in zip(queries["user_id"], demos, strict=True)]
    return [
        [book[owner, record_id] for owner, record_id in zip(of_row, ids, strict=True)]
        for of_row, ids in zip(owners, demos, strict=True)
    ]


def parse_answers(
    answers: Sequence[str], inputs: Sequence[str], task: Task, reading: Reading
) -> tuple[list[str], list[bool]]:
    """Answers in the task's own spelling, and whether each could be parsed; one that could not stays as it came."""
    parsed = [task.parse_answer(answer, input, reading) for answer, input in zip(answers, inputs, strict=True)]
    kept = [raw.strip() if value is None else value for raw, value in zip(answers, parsed, strict=True)]
    return kept, [value is not None for value in parsed]


def check_readable(answers: Sequence[str], is_parsed: Sequence[bool], most: float, where: str) -> None:
    """Raises LLMError, with three of them, if more than a share `most` of the answers with text could not be read."""
    told = [(answer, ok) for answer, ok in zip(answers, is_parsed, strict=True) if answer.strip()]
    unread = [answer for answer, ok in told if not ok]
    if len(unread) > most * len(told):
        examples = [repr(" ".join(answer.split())[:60]) for answer in [*dict.fromkeys(unread)][:3]]
        raise LLMError(
            f"{where}: {len(unread)} of {len(told)} answers name no answer of the task, more than "
            f"llm.max_unparsed_share = {most} allows, for example {', '.join(examples)}. Is llm.model one that follows "
            "instructions? `prompts: once` is easier on small ones; llm.stop ends those that run on."
        )


def build_asks(
    prompts: Sequence[Sequence[Message]],
    sampled: Sequence[bool],
    task: Task,
    settings: Generate,
    *,
    seed: int,
    user_ids: Sequence[str],
) -> tuple[list[Ask], list[int]]:
    """The asks of the prompts, and each one's position among the prompts: the greedy answer of every prompt, and the
    samples of those that are `sampled`. user_ids: whom each prompt is about."""
    asks, owners = [], []
    room = task.answer_tokens(settings.max_tokens)
    for row, (prompt, is_sampled, user_id) in enumerate(zip(prompts, sampled, user_ids, strict=True)):
        messages = tuple(prompt)
        demos = sum(message["role"] == "assistant" for message in messages)  # turn pairs before the question
        asks.append(Ask(messages, max_tokens=room, seed=seed, demos=demos, user_id=user_id))
        owners.append(row)
        if is_sampled:
            asks.append(Ask(messages, settings.n_samples, settings.temperature, room, seed, demos, user_id))
            owners.append(row)
    return asks, owners


def answer_table(
    asked: pd.DataFrame, asks: Sequence[Ask], replies: Sequence[Reply], task: Task, reading: Reading
) -> pd.DataFrame:
    """One row per answer, from one row of `asked`, one Ask and one Reply each, in the same order.

    prompt: digest of the chat that was asked; arms that show the same records share it, and its answers. n_dropped:
    records that its prompt left out, the last in rank, for the LLM's context. tokens_in, tokens_out: of the
    whole ask as it was bought, on its first row; 0 on its others.
    """
    samples = [[GREEDY] if ask.temperature == 0 else list(range(1, ask.n + 1)) for ask in asks]
    table = asked[["query_id", "arm", "input"]].assign(
        prompt=[content_digest(repr(ask.messages)) for ask in asks],
        error=[reply.error for reply in replies],
        n_dropped=np.array([reply.dropped for reply in replies], dtype=np.int16),
        tokens_in=[reply.tokens_in for reply in replies],
        tokens_out=[reply.tokens_out for reply in replies],
    )
    table["sample_idx"] = samples
    table["answer"] = [list(reply.answers) for reply in replies]
    table = table.explode(["sample_idx", "answer"])
    table.loc[table.index.duplicated(), ["tokens_in", "tokens_out"]] = 0
    table = table.reset_index(drop=True)
    answers, is_parsed = parse_answers(table["answer"].tolist(), table["input"].tolist(), task, reading)
    table = table.assign(answer=answers, is_parsed=is_parsed, sample_idx=table["sample_idx"].astype("int16"))
    return table[list(ANSWER_COLUMNS)]

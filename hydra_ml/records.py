"""The vocabulary: a user's history records, the queries asked of them, and the tables the stages hand on.

Knows nothing of files, models or LLMs; everything else in the package speaks in these terms.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypedDict

Role = Literal["train", "evaluate"]
Cohort = Literal["known", "new"]
PromptForm = Literal["lamp", "once"]  # every turn in LaMP's official template, or the instruction on the last alone
Reading = Literal["lenient", "strict"]  # of an LLM's text: as a person would read it, or as LaMP's figures do
GREEDY = 0  # sample_idx of the temperature-0 answer; the samples are 1..n


class Message(TypedDict):
    """One chat turn, as any OpenAI-compatible server takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """One thing a user wrote or judged in the past: what was asked, and what the user answered."""

    record_id: str  # unique within the user, stable across runs
    user_id: str
    text: str  # what retrieval reads (LaMP: docs of lamp task, e.g. title + text)
    input: str  # the task's own input made from this record, as the LLM would have been asked
    answer: str  # the user's own answer; "" where the task has none (LaMP-1)
    date: str = ""  # sorts chronologically as a string; "" in undated (user-based) files


@dataclass(frozen=True, slots=True)
class Query:
    """One question to be answered for a user."""

    query_id: str
    user_id: str
    input: str  # the full task input, template included
    text: str  # the input without its template: what retrieval and the models read
    gold: str | None = None  # None when the answer is unknown (scoring)
    date: str = ""


# Columns of the tables that `prepare` writes; later stages join on query_id and (user_id, record_id).
QUERY_COLUMNS = (
    "query_id",
    "user_id",
    "role",  # Role: "train" rows may be fitted on, "evaluate" rows never
    "cohort",  # Cohort of the user: "new" users' rows never enter a base
    "source_record_id",  # the record this pseudo-query was made from; "" for a question of the file
    "input",
    "text",
    "gold",
    "date",
    "profile",  # list of record_ids this query may see; decided once, in prepare
)
RECORD_COLUMNS = ("user_id", "record_id", "text", "input", "answer", "date")


def content_digest(text: str) -> str:
    """32 hex digits that name a text: the key of feature caches and of duplicate checks."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def normalized(text: str) -> str:
    """The text with case folded and white space collapsed: two texts equal under it count as the same text."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True, slots=True)
class Request:
    """One question of one user, to be answered now."""

    request_id: str
    user_id: str
    input: str
    line: int  # in its file, from 1; of Parquet: its row
    history: tuple[Record, ...] | None  # the user's records as sent; None: those we keep


def shard_of_user(user_id: str, n_shards: int) -> int:
    """The shard a user lives in, the same on every machine and run."""
    return int.from_bytes(hashlib.blake2b(user_id.encode("utf-8"), digest_size=8).digest(), "big") % n_shards

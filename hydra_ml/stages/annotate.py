"""annotate: asks the LLM with one record as the only demo, to learn which records help.

For a draw of each user's training queries, every retrieved candidate is tried alone at temperature 0. Answers already
bought are read from the response cache, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hydra_ml.answering.prompts import build_prompts, check_readable, parse_answers, record_book
from hydra_ml.errors import LLMError
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.llm import open_llm
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.learning.draws import draw_per_user
from hydra_ml.llm.chat import Ask, Reply
from hydra_ml.llm.pace import llm_figures
from hydra_ml.params import Params
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task

WORTH_ITS_CALLS = 0.25  # right answers; at .18 and .19 (SmolLM2, real news) reranking was worth nothing
log = logging.getLogger(__name__)


def annotate(
    *, prepared: Path, retrieved: Path, out: Path, cache: Path, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write out/annotations.parquet: query_id, record_id, answer, is_parsed, gold, tokens_in, tokens_out, one
    row per candidate answered."""
    drawn, rows, asks = annotate_asks(prepared, retrieved, task, params)
    encode = open_encoder(params.encoder, cache, progress="").encode  # the offline model's; loaded if it is asked
    with open_llm(params.llm, cache=cache / "responses.sqlite", encode=encode) as llm:
        replies = llm.ask_nearly_all(asks, label=f"annotate {task.name}")

    answers, is_parsed = parse_answers(
        [reply.answers[0] for reply in replies], rows["input"].tolist(), task, params.answers
    )
    check_readable(answers, is_parsed, params.llm.max_unparsed_share, f"annotate {task.name}")
    table = rows[["query_id", "record_id"]].assign(answer=answers, is_parsed=is_parsed, gold=rows["gold"])
    table = table.assign(
        tokens_in=[reply.tokens_in for reply in replies], tokens_out=[reply.tokens_out for reply in replies]
    )
    table = rows_with_record(table, replies, f"annotate {task.name}")
    right = share_right(table, task)
    if right is not None and right < WORTH_ITS_CALLS:
        log.warning(
            "annotate %s: shown one record, the LLM answers %.0f %% right. Which record helped is mostly luck then, "
            "and the reranker learns noise: annotation is not worth its calls with this LLM. Name a stronger one, or "
            "ask for none (annotate.queries_per_user: 0, the default: records are shown as first ranked).",
            task.name,
            100 * right,
        )
    save_table(table, out / "annotations.parquet")
    return {
        "queries": len(drawn),
        "rows": len(table),
        "unparsed": int((~table["is_parsed"]).sum()),
        "right": right,
        "too_long": sum(reply.dropped > 0 for reply in replies),
        "failed": sum(bool(reply.error) for reply in replies),
        "cached": sum(reply.cached for reply in replies),
        **llm_figures(llm.usage, params.llm),
    }


def rows_with_record(table: pd.DataFrame, replies: Sequence[Reply], where: str) -> pd.DataFrame:
    """The rows, one per reply, whose answers say something of their record: they did not fail, and the prompt had room
    for it. Raises LLMError if the LLM's context had room for no record at all."""
    if replies and all(reply.dropped for reply in replies):
        raise LLMError(
            f"{where}: none of {len(replies)} prompts fits into the LLM's context with a record in it, so there is "
            "nothing to learn from and nothing to personalize with. Give the model a longer context, or name another."
        )
    kept = np.array([not reply.error and not reply.dropped for reply in replies], dtype=bool)
    return table[kept]


def share_right(table: pd.DataFrame, task: Task) -> float | None:
    """The share of answers that are the user's own, for tasks with a closed set of them; None for texts, of none."""
    return round(float((table["answer"] == table["gold"]).mean()), 4) if task.labels and len(table) else None


class Plan(NamedTuple):
    """What the stage asks."""

    drawn: pd.DataFrame  # the queries
    rows: pd.DataFrame  # one per ask: query_id, record_id, user_id, input, gold
    asks: list[Ask]


def annotate_asks(prepared: Path, retrieved: Path, task: Task, params: Params) -> Plan:
    """Every retrieved candidate of a draw of training queries, as the only demo of its query."""
    queries = load_table(prepared / "queries.parquet")
    candidates = load_table(retrieved / "candidates.parquet")
    candidates = candidates[candidates["ranker"] == params.retrieve.ranker]
    askable = queries[(queries["role"] == "train") & queries["query_id"].isin(candidates["query_id"])]
    drawn = draw_per_user(askable, params.annotate.queries_per_user, params.seed)
    columns = ["query_id", "user_id", "input", "gold"]
    rows = candidates[["query_id", "record_id"]].merge(drawn[columns], on="query_id", validate="many_to_one")

    book = record_book(load_table(prepared / "records.parquet"))
    prompts = build_prompts(rows, [[record_id] for record_id in rows["record_id"]], book, task, params.prompts)
    room = task.answer_tokens(params.annotate.max_tokens)
    asks = [
        Ask(tuple(prompt), max_tokens=room, seed=params.seed, demos=int(task.demos == "turns"), user_id=user_id)
        for prompt, user_id in zip(prompts, rows["user_id"], strict=True)
    ]
    return Plan(drawn, rows, asks)


main = stage_command(annotate, asks_llm=True)

if __name__ == "__main__":
    raise SystemExit(main(None))

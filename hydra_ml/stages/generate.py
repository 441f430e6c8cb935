"""generate: the LLM's answers under every prompt that a chosen method needs: the frozen cache of the evaluation.

Evaluated queries are asked under every such prompt ("arm"), training queries under those that are served. Some
methods first have texts written of users, which stand in their prompts. Answers already bought are read from the
response cache, so a killed run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hydra_ml.answering.arms import rankings_by_name, writings_of
from hydra_ml.answering.prompts import answer_table, build_asks, build_prompts, check_readable, record_book
from hydra_ml.answering.written import AskRound, readable_records, write_texts
from hydra_ml.evaluation.methods import arms_of, askable, chosen_methods
from hydra_ml.evaluation.shown import shown_prompts
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.files import save_json
from hydra_ml.io.llm import open_llm
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.llm.chat import Ask
from hydra_ml.llm.pace import llm_figures
from hydra_ml.llm.served import served_of
from hydra_ml.params import Params
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def generate(
    *, prepared: Path, retrieved: Path, reranked: Path, out: Path, cache: Path, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write out/answers.parquet, as `answer_table` gives it; sample_idx is 0 for greedy, 1..n for sampled answers. And
    out/written.parquet, as `write_texts` gives it, and out/llm.json: which model answered, as far as its server tells.
    """
    candidates, ranking = load_table(retrieved / "candidates.parquet"), load_table(reranked / "ranking.parquet")
    encode = open_encoder(params.encoder, cache, progress="").encode  # the offline model's; loaded if it is asked
    with open_llm(params.llm, cache=cache / "responses.sqlite", encode=encode) as llm:
        written = texts_written(
            prepared, task, params, lambda asks, what: llm.ask_nearly_all(asks, label=f"{what.name} {task.name}")
        )
        asked, asks, owners = generate_asks(prepared, candidates, ranking, task, params, written)
        replies = llm.ask_nearly_all(asks, label=f"generate {task.name}")
        served = served_of(llm.identity())

    table = answer_table(asked.iloc[owners], asks, replies, task, params.answers)
    answers, is_parsed = table["answer"].tolist(), table["is_parsed"].tolist()
    check_readable(answers, is_parsed, params.llm.max_unparsed_share, f"generate {task.name}")
    save_json({"model": params.llm.model, "served": served}, out / "llm.json")
    save_table(written, out / "written.parquet")
    save_table(table, out / "answers.parquet")
    return {
        "written": len(written),
        "prompts": len(asked),
        "asks": len(asks),
        "answers": len(table),
        "unparsed": int((~table["is_parsed"]).sum()),
        "failed": int((table["error"] != "").sum()),
        "shortened": sum(reply.dropped > 0 for reply in replies),
        "cached": sum(reply.cached for reply in replies),
        **llm_figures(llm.usage, params.llm),
        "tokens_in": sum(reply.tokens_in for reply in replies),
        "tokens_out": sum(reply.tokens_out for reply in replies),
    }


class Plan(NamedTuple):
    """What the stage asks."""

    asked: pd.DataFrame  # the prompts: rows of `prompt_rows`
    asks: list[Ask]
    owners: list[int]  # of each ask, the prompt's position


def texts_written(prepared: Path, task: Task, params: Params, ask: AskRound) -> pd.DataFrame:
    """Every text the chosen methods need, of every user with an evaluated question, asked for by `ask`."""
    writings = writings_of(arms_of(askable(chosen_methods(params.evaluate.methods), params.llm)))
    queries = load_table(prepared / "queries.parquet", ["user_id", "role", "profile"])
    readable = readable_records(queries, load_table(prepared / "records.parquet")) if writings else {}
    return write_texts(writings, readable, task, ask, seed=params.seed)


def generate_asks(
    prepared: Path, candidates: pd.DataFrame, ranking: pd.DataFrame, task: Task, params: Params, written: pd.DataFrame
) -> Plan:
    """Every prompt the chosen methods need: records as `retrieve` and `rerank` ranked them, texts as written."""
    queries = load_table(prepared / "queries.parquet", ["query_id", "user_id", "role", "input", "profile"])
    # What was picked from a list is learned from that list: nothing is to be asked.
    queries = queries[~queries["query_id"].isin(load_table(prepared / "choices.parquet", ["query_id"])["query_id"])]
    rankings = rankings_by_name(candidates, ranking)
    methods = askable(chosen_methods(params.evaluate.methods), params.llm)
    asked = shown_prompts(queries, rankings, methods, written, k=params.rerank.k, seed=params.seed)

    book = record_book(load_table(prepared / "records.parquet"))
    texts = asked["written"].tolist()
    prompts = build_prompts(asked, asked["demos"].tolist(), book, task, params.prompts, texts)
    is_sampled, user_ids = asked["is_sampled"].tolist(), asked["user_id"].tolist()
    asks, owners = build_asks(prompts, is_sampled, task, params.generate, seed=params.seed, user_ids=user_ids)
    return Plan(asked, asks, owners)


main = stage_command(generate, asks_llm=True)

if __name__ == "__main__":
    raise SystemExit(main(None))

"""generate: the LLM's answers under every prompt that any method needs: the frozen candidate cache of the evaluation.

Evaluated queries are asked under seven prompts ("arms"), training queries under the reranked one alone. Answers already
bought are read from the response cache, so a killed run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.answering.prompts import answer_table, build_asks, build_prompts, record_book, top_records
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.llm import open_llm
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.params import Params
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task

# Arm -> whether it is also sampled: the adapter chooses among samples, the other methods give the greedy answer.
ARMS = {
    "zero_shot": False,
    "icl_random": False,
    "recency": False,
    "rag_k1": False,
    "rag_k4": True,
    "hydra_shared": True,
    "hydra": True,
}


def generate(
    *, prepared: Path, retrieved: Path, reranked: Path, out: Path, cache: Path, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write out/answers.parquet: query_id, arm, sample_idx (0 greedy, 1..n sampled), answer, is_parsed, error."""
    queries = load_table(prepared / "queries.parquet", ["query_id", "user_id", "role", "input"])
    candidates = load_table(retrieved / "candidates.parquet")
    ranking = load_table(reranked / "ranking.parquet")
    asked = prompt_table(queries, candidates, ranking, k=params.rerank.k)

    book = record_book(load_table(prepared / "records.parquet"))
    prompts = build_prompts(asked, asked["demos"].tolist(), book, task)
    sampled = [ARMS[arm] for arm in asked["arm"]]
    asks, owners = build_asks(prompts, sampled, params.generate, seed=params.seed)
    encode = open_encoder(params.encoder, cache, progress="").encode  # the offline model's; loaded if it is asked
    with open_llm(params.llm, cache=cache / "responses.sqlite", encode=encode) as llm:
        replies = llm.ask_all(asks, label=f"generate {task.name}")

    table = answer_table(asked.iloc[owners], asks, replies, task)
    save_table(table, out / "answers.parquet")
    return {
        "prompts": len(prompts),
        "asks": len(asks),
        "answers": len(table),
        "unparsed": int((~table["is_parsed"]).sum()),
        "failed": int((table["error"] != "").sum()),
        "cached": sum(reply.cached for reply in replies),
        "calls": llm.usage.calls,
        "paid_in": llm.usage.tokens_in,
        "paid_out": llm.usage.tokens_out,
        "tokens_in": sum(reply.tokens_in for reply in replies),
        "tokens_out": sum(reply.tokens_out for reply in replies),
    }


def prompt_table(queries: pd.DataFrame, candidates: pd.DataFrame, ranking: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """One row per prompt: query_id, user_id, input, arm, demos (record ids, best first; none where history is empty).

    rag_k4 means k = 4 by name; the other demo arms take k.
    """
    rankings = dict(iter(candidates.groupby("ranker")))
    hydra = dict(iter(ranking.groupby("arm")))
    empty = candidates.iloc[:0]
    demos = {
        "zero_shot": {},
        "icl_random": top_records(rankings.get("random", empty), k),
        "recency": top_records(rankings.get("recency", empty), k),
        "rag_k1": top_records(rankings.get("bm25", empty), 1),
        "rag_k4": top_records(rankings.get("bm25", empty), 4),
        "hydra_shared": top_records(hydra.get("hydra_shared", empty), k),
        "hydra": top_records(hydra.get("hydra", empty), k),
    }
    evaluated = queries[queries["role"] == "evaluate"]
    train = queries[(queries["role"] == "train") & queries["query_id"].isin(demos["hydra"])]
    parts = [evaluated.assign(arm=arm) for arm in ARMS] + [train.assign(arm="hydra")]
    table = pd.concat(parts, ignore_index=True)
    table["demos"] = [
        demos[arm].get(query_id, []) for arm, query_id in zip(table["arm"], table["query_id"], strict=True)
    ]
    return table.drop(columns="role")


main = stage_command(generate, asks_llm=True)

if __name__ == "__main__":
    raise SystemExit(main(None))

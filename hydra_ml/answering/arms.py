"""Arms: what of a user a prompt shows, records and a written text, and whether its answer is also sampled.

Written once: `retrieve` ranks for them, `generate` and serving ask them, methods take their answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from hydra_ml.answering.prompts import top_records
from hydra_ml.answering.written import Writing

PERSONAL, SHARED = "hydra", "hydra_shared"  # rankings by the reranker: with the user's own head, with nobody's
RERANKINGS = (PERSONAL, SHARED)
NEIGHBOURS = "neighbours"  # the one ranking that holds other users' records


@dataclass(frozen=True)
class Arm:
    """One prompt per query."""

    name: str
    ranking: str | None  # whose best records are shown: a first ranker's or one of RERANKINGS; None: no record
    k: int | None = None  # how many; None: `rerank.k`
    sampled: bool = False  # its answer is also sampled, for methods that choose among answers
    writing: Writing | None = None  # whose text of the user stands first in the prompt
    of_stranger: bool = False  # the text is of another user: a control


ZERO_SHOT = Arm("zero_shot", None)
ICL_RANDOM = Arm("icl_random", "random")
RECENCY = Arm("recency", "recency")
RAG_K1 = Arm("rag_k1", "bm25", 1)
RAG_K4 = Arm("rag_k4", "bm25", 4, sampled=True)
HYDRA_SHARED = Arm("hydra_shared", SHARED, sampled=True)
HYDRA = Arm("hydra", PERSONAL, sampled=True)
SERVED = (HYDRA, RAG_K4)  # whose answers are pooled: what plain RAG would say is always a candidate


def first_rankers(arms: Iterable[Arm]) -> list[str]:
    """The rankers of a user's own records that need no fit among those the arms show records of, each once."""
    return [
        name for name in dict.fromkeys(arm.ranking for arm in arms) if name and name not in (*RERANKINGS, NEIGHBOURS)
    ]


def rankings_by_name(candidates: pd.DataFrame, ranking: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every ranking by the name arms know it by, from rows of `retrieve` (ranker) and of `rerank` (arm)."""
    parts = (*candidates.groupby("ranker"), *ranking.groupby("arm"))
    return {str(name): rows for name, rows in parts}


def prompt_rows(
    queries: pd.DataFrame, arms: Iterable[Arm], rankings: Mapping[str, pd.DataFrame], *, k: int
) -> pd.DataFrame:
    """One row per prompt, each arm's queries in order: query_id, user_id, input, arm, is_sampled, demos (record ids,
    best first; none where a ranking has nothing of the query), owners (of each: the user, but under NEIGHBOURS).
    k: records shown by arms that leave it open."""
    none = queries[["query_id", "user_id", "input"]].iloc[:0]
    parts = [none.assign(arm="", is_sampled=False, demos=None, owners=None)]
    for arm in arms:
        ranking = rankings.get(arm.ranking or "")
        shown = {} if ranking is None else top_records(ranking, arm.k or k)
        part = queries[["query_id", "user_id", "input"]].assign(arm=arm.name, is_sampled=arm.sampled)
        part["demos"] = [shown.get(query_id, []) for query_id in part["query_id"]]
        part["owners"] = [[user_id] * len(ids) for user_id, ids in zip(part["user_id"], part["demos"], strict=True)]
        if ranking is not None and arm.ranking == NEIGHBOURS:
            owners = top_records(ranking, arm.k or k, "owner_id")
            part["owners"] = [owners.get(query_id, []) for query_id in part["query_id"]]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def asked_prompts(
    queries: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    arms: Sequence[Arm],
    *,
    k: int,
    taught: Sequence[Arm] = SERVED,
) -> pd.DataFrame:
    """Rows of `prompt_rows`: evaluated queries under every arm, and the training queries that were reranked under
    `taught` alone: the adapter learns from the very pool it will choose from."""
    evaluated = queries[queries["role"] == "evaluate"]
    reranked: Collection[str] = set(rankings[PERSONAL]["query_id"]) if PERSONAL in rankings else ()
    train = queries[(queries["role"] == "train") & queries["query_id"].isin(reranked)]
    parts = [prompt_rows(evaluated, arms, rankings, k=k), prompt_rows(train, taught, rankings, k=k)]
    return pd.concat(parts, ignore_index=True)


def writings_of(arms: Iterable[Arm]) -> list[Writing]:
    """What the arms need written, each once."""
    return list(dict.fromkeys(arm.writing for arm in arms if arm.writing))


def with_texts(
    asked: pd.DataFrame, arms: Sequence[Arm], written: pd.DataFrame, stranger_of: Mapping[str, str]
) -> pd.DataFrame:
    """Rows of `prompt_rows` with written, what stands first in the prompt, and read, ids of the user's own records that
    it was written from: "" and none for arms without a writing. A stranger's text names no record."""
    columns = (written[name] for name in ("writing", "user_id", "text", "read"))
    found = {(writing, user_id): (text, list(read)) for writing, user_id, text, read in zip(*columns, strict=True)}
    texts: list[str] = []
    read: list[list[str]] = []
    by_name = {arm.name: arm for arm in arms}
    for name, user_id in zip(asked["arm"], asked["user_id"], strict=True):
        arm = by_name.get(name)
        writing = arm.writing.name if arm and arm.writing else ""
        of_stranger = arm is not None and arm.of_stranger
        text, ids = found.get((writing, stranger_of.get(user_id, "") if of_stranger else user_id), ("", []))
        texts.append(text)
        read.append([] if of_stranger else ids)
    return asked.assign(written=texts, read=pd.Series(read, index=asked.index, dtype=object))
